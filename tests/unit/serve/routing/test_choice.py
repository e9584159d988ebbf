"""Who gets a canary, and which replica answers: hashes that hold still while shares and replicas change."""

from dataclasses import dataclass

import pytest

from serve.relaying.call import prefix_of
from serve.routing.choice import AFFINITY_SLACK, Split, StickyBy, least_busy, unit_of

UNITS = [f"user {number}" for number in range(20_000)]


@dataclass(eq=False)
class Replica:
    port: int
    in_flight: int = 0
    is_ready: bool = True
    host: str = "127.0.0.1"


def test_a_share_of_the_units_is_taken_and_stays_taken_when_it_grows() -> None:
    small = {unit for unit in UNITS if Split("v2", 0.1).takes(unit)}
    large = {unit for unit in UNITS if Split("v2", 0.5).takes(unit)}
    assert abs(len(small) / len(UNITS) - 0.1) < 0.01
    assert abs(len(large) / len(UNITS) - 0.5) < 0.02
    assert small < large


def test_another_canary_takes_other_units() -> None:
    both = [unit for unit in UNITS if Split("v2", 0.1).takes(unit) and Split("v3", 0.1).takes(unit)]
    assert abs(len(both) / len(UNITS) - 0.01) < 0.004


@pytest.mark.parametrize(
    ("sticky_by", "key_id", "user_id", "unit"),
    [
        ("request", "k", "u", "r"),
        ("user", "k", "u", "u"),
        ("user", "k", "", "k"),
        ("user", "", "", "r"),
        ("key", "k", "u", "k"),
        ("key", "", "u", "r"),
    ],
)
def test_what_is_dealt_as_one(sticky_by: StickyBy, key_id: str, user_id: str, unit: str) -> None:
    assert unit_of(sticky_by, request_id="r", key_id=key_id, user_id=user_id) == unit


def test_a_prefix_stays_with_its_replica_until_that_is_too_busy() -> None:
    replicas = [Replica(port) for port in range(4)]
    homes = {prefix: least_busy(replicas, prefix) for prefix in UNITS[:200]}
    assert {home.port for home in homes.values() if home} == {0, 1, 2, 3}
    assert all(least_busy(replicas, prefix) is home for prefix, home in homes.items())
    home = homes[UNITS[0]]
    assert home is not None
    home.in_flight = AFFINITY_SLACK
    assert least_busy(replicas, UNITS[0]) is home
    home.in_flight = AFFINITY_SLACK + 1
    assert least_busy(replicas, UNITS[0]) is not home


def test_a_lost_replica_moves_only_its_own_prefixes() -> None:
    replicas = [Replica(port) for port in range(4)]
    before = {prefix: least_busy(replicas, prefix) for prefix in UNITS[:200]}
    replicas[0].is_ready = False
    moved = [prefix for prefix, home in before.items() if least_busy(replicas, prefix) is not home]
    assert all(before[prefix] is replicas[0] for prefix in moved)
    assert moved


def test_without_a_prefix_the_least_busy_answers_and_none_if_none_is_ready() -> None:
    replicas = [Replica(1, 3), Replica(2, 1), Replica(3, 0, is_ready=False)]
    assert least_busy(replicas, "") is replicas[1]
    assert least_busy([], "x") is None
    assert least_busy([Replica(1, is_ready=False)], "x") is None


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [
        ({"prompt": "p" * 300}, "p" * 256),
        ({"messages": [{"role": "user", "content": "hi"}]}, "user:hi\n"),
        ({}, ""),
        ({"messages": ["broken"]}, ""),
    ],
)
def test_the_beginning_of_a_prompt(fields: dict[str, object], prefix: str) -> None:
    assert prefix_of(fields) == prefix
