"""A search finds what matches, and each request is in one minute."""

from datetime import UTC, datetime
from types import ModuleType

import pytest

from dashboard import traffic_search
from dashboard.traffic_search import TrafficFilter
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


def test_minutes_hold_every_request_once(seed: ModuleType, ledger: Ledger, settings: Settings) -> None:
    seed.fill(settings, ledger, NOW)
    minutes = traffic_search.minutes(ledger, settings.project, now=NOW)
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
        (TrafficFilter(outcome="failed"), 5),
        (TrafficFilter(outcome="left"), 0),
        (TrafficFilter(outcome="refused"), 0),
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
    rows, total = traffic_search.search_traffic(ledger, settings.project, wanted, limit=10)
    assert total == count
    assert len(rows) == min(10, count)
