"""How the gateway answers now is read from the newest requests alone, and says since when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.pace import NEWEST_ROWS, Pace, pace, percentile
from driftwheel.identity import new_id
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.versions import answered_request

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def asked(settings: Settings, number: int, at: datetime, **fields: object) -> Traffic:
    row = answered_request(
        new_id("req", number, at),
        project=settings.project,
        created_at=at,
        alias=settings.serve.alias,
        version_id="version_1",
        prompt="hello",
        answer="x",
        completion_tokens=10,
    )
    return replace(row, **fields)  # type: ignore[arg-type]  # any field of a request


def test_a_loop_without_requests_of_the_last_half_hour_has_no_pace(settings: Settings, ledger: Ledger) -> None:
    ledger.add(asked(settings, 1, NOW - timedelta(minutes=31)))
    assert pace(ledger, settings.project, NOW) == Pace()


def test_refusals_do_not_make_a_slow_engine_look_fast(settings: Settings, ledger: Ledger) -> None:
    at = NOW - timedelta(seconds=100)
    slow = [asked(settings, i, at, latency_seconds=3.0, time_to_first_token_seconds=1.0) for i in range(2)]
    refused = [asked(settings, i, at, status_code=429, latency_seconds=0.001, answer="") for i in range(10, 50)]
    failed = [asked(settings, 99, at, status_code=503, error="no engine", completion_tokens=0)]
    ledger.add(*slow, *(replace(r, completion_tokens=0) for r in refused), *failed)
    found = pace(ledger, settings.project, NOW)
    assert (found.latency_p95_seconds, found.first_token_p95_seconds) == (3.0, 1.0)
    assert (found.requests, found.failed, found.since) == (43, 1, at)
    assert found.tokens_per_second == pytest.approx(20 / 100)


def test_only_the_newest_requests_are_read(settings: Settings, ledger: Ledger) -> None:
    old = NOW - timedelta(minutes=20)
    ledger.add(*(asked(settings, i, old, status_code=503, error="down") for i in range(30)))
    ledger.add(*(asked(settings, 1000 + i, NOW - timedelta(seconds=60)) for i in range(NEWEST_ROWS)))
    found = pace(ledger, settings.project, NOW)
    assert (found.requests, found.failed) == (NEWEST_ROWS, 0), "an engine that is well again is shown as well"


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([], 0.95) is None
    assert percentile([7.0], 0.95) == 7.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
