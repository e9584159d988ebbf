"""The ledger's records become the right lists, tiles and words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from dashboard import queries
from dashboard.queries import TrafficFilter
from driftwheel.records import Alias, DriftVerdict
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-5, "5 s ahead of this clock"),
    ],
)
def test_age_is_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert queries.age(NOW - timedelta(seconds=seconds), NOW) == text


def test_an_empty_ledger_has_seven_empty_stations_and_a_gray_lamp(ledger: Ledger, settings: Settings) -> None:
    assert [s.id for s in queries.stations(ledger, settings)] == [None] * 7
    assert queries.lamp(queries.latest_check(ledger, settings.project)) == "gray"


def test_stations_show_the_newest_records(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    stations = queries.stations(ledger, settings)
    assert stations[0].id == seeded["dataset"]
    assert stations[2].id == seeded["rejected"]
    assert stations[2].status == "rejected"
    assert stations[3].title == "support to v1"
    assert stations[4].title == "150 requests"
    assert stations[5].status == DriftVerdict.DRIFTED
    assert stations[6].status == "retrain, awaiting approval"


def test_the_lamp_is_red_after_an_alarm(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    signals = queries.latest_check(ledger, settings.project)
    assert {s.check_id for s in signals} == {"check_5"}
    assert queries.lamp(signals) == "red"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "serving"),
        ({"observed_at": None}, "silent"),
        ({"observed_error": "no"}, "refused"),
        ({"observed_version_id": "v0"}, "moving"),
        ({"observed_at": NOW - timedelta(minutes=5)}, "stale"),
    ],
)
def test_desired_against_observed_has_one_word(changes: dict[str, object], word: str) -> None:
    alias = Alias(id="p/a", project="p", name="a", version_id="v1", fence=1, observed_version_id="v1", observed_at=NOW)
    assert queries.gateway_state(replace(alias, **changes), NOW)[0] == word  # type: ignore[arg-type]


def test_minutes_hold_every_request_once(seed: ModuleType, ledger: Ledger, settings: Settings) -> None:
    seed.fill(settings, ledger, NOW)
    minutes = queries.minutes(ledger, settings.project, now=NOW)
    assert len(minutes) == 30
    assert minutes[-1].at == NOW.replace(second=0)
    assert minutes[-1].requests == 2
    assert sum(m.requests for m in minutes) == 150
    assert sum(m.failed for m in minutes) == 5


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (TrafficFilter(), 150),
        (TrafficFilter(text="CARD NUMBER 149 is"), 1),
        (TrafficFilter(text="100%"), 0),
        (TrafficFilter(outcome="failed"), 4),
        (TrafficFilter(outcome="cut off"), 1),
        (TrafficFilter(outcome="answered"), 145),
        (TrafficFilter(feedback="thumb down"), 8),
        (TrafficFilter(feedback="labelled"), 8),
        (TrafficFilter(feedback="none"), 142),
        (TrafficFilter(version_id="nobody"), 0),
    ],
)
def test_search_counts_what_matches(
    wanted: TrafficFilter, count: int, seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    rows, total = queries.search_traffic(ledger, settings.project, wanted, limit=10)
    assert total == count
    assert len(rows) == min(10, count)


def test_nested_values_get_dotted_names() -> None:
    values = {"seed": 0, "train": {"method": "lora", "class_weights": {}, "lora": {"r": 8}}, "sources": [{"a": 1}]}
    assert queries.flat(values) == {
        "seed": 0,
        "train.method": "lora",
        "train.class_weights": {},
        "train.lora.r": 8,
        "sources": [{"a": 1}],
    }
