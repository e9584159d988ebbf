"""A search finds what matches, and each request is in one minute."""

import statistics
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

import pytest

from dashboard import traffic_search
from dashboard.traffic_search import TrafficFilter
from driftwheel.records.nouns import Traffic
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
        (TrafficFilter(key_id="0a1b2c3d"), 150),
        (TrafficFilter(key_id="0a1b"), 0),
        (TrafficFilter(user_id="nobody"), 0),
        (TrafficFilter(since=datetime(2020, 1, 1, tzinfo=UTC)), 150),
        (TrafficFilter(since=datetime(2100, 1, 1, tzinfo=UTC)), 0),
        (TrafficFilter(unsure_below=1.0), 0),
    ],
)
def test_search_finds_what_matches(
    wanted: TrafficFilter, count: int, seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    found = traffic_search.search_traffic(ledger, settings.project, wanted, limit=200)
    assert len(found.ids) == count
    assert found.older is None
    assert len(traffic_search.lines_of(ledger, settings.project, found.ids)) == count


@pytest.mark.parametrize("wanted", [TrafficFilter(), TrafficFilter(outcome="answered")])
@pytest.mark.parametrize("scanned", [7, 1000])
def test_pages_hold_every_match_once_in_the_order_of_time(
    wanted: TrafficFilter, scanned: int, seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    everything = traffic_search.search_traffic(ledger, settings.project, wanted, limit=200).ids
    assert len(everything) > 100
    found: list[str] = []
    place = None
    while True:
        page = traffic_search.search_traffic(ledger, settings.project, wanted, before=place, limit=10, scanned=scanned)
        found += page.ids
        assert len(page.ids) <= 10
        if page.older is None:
            break
        place = page.older
    assert tuple(found) == everything


def test_pages_go_on_through_many_requests_of_one_moment(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    first = ledger.find(Traffic, project=settings.project, limit=1)[0]
    ledger.add(*(replace(first, id=f"req_{n:03}", created_at=NOW) for n in range(30)))
    wanted, place, found = TrafficFilter(text="nobody wrote this"), None, 0
    for _ in range(200):
        page = traffic_search.search_traffic(ledger, settings.project, wanted, before=place, limit=10, scanned=5)
        found += len(page.ids)
        if page.older is None:
            break
        assert page.searched_to is not None
        place = page.older
    else:
        raise AssertionError("the search came to no end")
    assert found == 0


def test_a_search_says_how_far_it_came(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    rows = ledger.find(Traffic, project=settings.project)
    found = traffic_search.search_traffic(
        ledger, settings.project, TrafficFilter(text="card number 149 is"), scanned=100
    )
    assert found.ids == ()
    assert found.searched_to == rows[100].created_at


def test_an_id_is_found_however_old_its_request_is(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    oldest = ledger.find(Traffic, project=settings.project)[-1]
    found = traffic_search.search_traffic(ledger, settings.project, TrafficFilter(text=oldest.id), scanned=1)
    assert found.ids == (oldest.id,)


def test_lines_hold_long_texts_cut(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    first = ledger.find(Traffic, project=settings.project, limit=1)[0]
    ledger.add(replace(first, id="req_long", prompt="x" * 2_100_000, answer="y" * 2_100_000, label="z" * 2_100_000))
    (line,) = traffic_search.lines_of(ledger, settings.project, ("req_long",))
    assert [len(text or "") for text in (line.prompt, line.answer, line.label)] == [300] * 3


@pytest.mark.every_database
def test_the_median_of_a_minute_is_exact(seed: ModuleType, ledger: Ledger, settings: Settings) -> None:
    seed.fill(settings, ledger, NOW)
    rows = ledger.find(Traffic, project=settings.project)
    for minute in traffic_search.minutes(ledger, settings.project, now=NOW):
        latencies = [r.latency_seconds for r in rows if r.created_at.replace(second=0, microsecond=0) == minute.at]
        assert minute.requests == len(latencies)
        assert minute.latency_p50_seconds == (pytest.approx(statistics.median(latencies)) if latencies else None)


@pytest.mark.parametrize(("below", "count"), [(0.0, 0), (0.5, 0), (0.7, 1), (1.0, 2)])
def test_answers_that_the_model_was_less_sure_of_are_found_by_their_probability(
    below: float, count: int, seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    first, second, third, *_ = ledger.find(Traffic, project=settings.project)
    for row, mean in ((first, -0.5), (second, -0.1), (third, 0.0)):  # 61 %, 90 % and 100 %
        ledger.add(replace(row, id=f"{row.id}_sure", mean_logprob=mean))
    found = traffic_search.search_traffic(ledger, settings.project, TrafficFilter(unsure_below=below))
    assert len(found.ids) == count
