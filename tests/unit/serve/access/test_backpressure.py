"""Nobody makes the gateway hold more, or wait longer, than its numbers say. The long form: tests/suites/attack.py."""

import pytest

from serve.access.backpressure import SMALL_BODY_BYTES, Backpressure
from serve.http.messages import Request
from serve.refusals import RequestRefused
from serve.routing.table import EngineRoute


def load() -> Backpressure:
    return Backpressure(max_body_bytes=1 << 20, max_held_bytes=100_000, max_connections=10, max_in_flight=4)


def test_large_bodies_share_what_may_be_held_and_small_ones_always_pass() -> None:
    shared, large, small = load(), [Request(), Request()], Request()
    assert shared.take(large[0], 90_000)
    assert not shared.take(large[1], SMALL_BODY_BYTES + 1)
    assert shared.take(small, SMALL_BODY_BYTES)
    shared.give_back(large[0])
    shared.give_back(large[0])
    assert shared.held_bytes == SMALL_BODY_BYTES
    assert shared.take(large[1], 30_000)


def test_an_engine_has_so_many_places_and_a_key_half_of_them() -> None:
    shared, route = load(), EngineRoute("v1", "127.0.0.1", 1, "v1")
    shared.enter(route, "a")
    shared.enter(route, "a")
    with pytest.raises(RequestRefused) as refused:
        shared.enter(route, "a")
    assert (refused.value.status, dict(refused.value.headers)["retry-after"]) == (429, "2")
    shared.enter(route, "b")
    shared.leave("a")
    shared.enter(route, "a")
    route.in_flight = 4
    with pytest.raises(RequestRefused) as full:
        shared.enter(route, "c")
    assert (full.value.status, dict(full.value.headers)["retry-after"]) == (503, "2")
