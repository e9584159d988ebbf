"""What became of a request is one definition: the database finds the same rows as the code, and no other."""

import itertools

import pytest

from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.outcome_query import is_answered, is_observation, is_outcome, is_unwatched
from driftwheel.traffic.outcomes import CLIENT_LEFT, UNWATCHED, Outcome, outcome_of
from tests.support.versions import answered_request

STATUSES = (200, 302, 400, 401, 404, 413, 422, 429, 499, 500, 503, 504)


def row(number: int, status: int, *, is_partial: bool, error: str | None, route: str, alias: str = "a") -> Traffic:
    return answered_request(
        f"req_{number}",
        project="p",
        alias=alias,
        version_id="v",
        route=route,
        status_code=status,
        is_partial=is_partial,
        error=error,
        prompt="",
        answer="",
        latency_seconds=0.0,
    )


@pytest.mark.parametrize(
    ("status", "is_partial", "error", "outcome"),
    [
        (200, False, None, Outcome.ANSWERED),
        *((status, False, "too long", Outcome.REFUSED) for status in (400, 401, 404, 413, 422, 429)),
        (499, True, CLIENT_LEFT, Outcome.LEFT),
        (200, True, CLIENT_LEFT, Outcome.LEFT),
        (200, True, "the engine closed the connection", Outcome.FAILED),
        *((status, False, "planted", Outcome.FAILED) for status in (500, 503, 504)),
    ],
)
def test_a_request_has_one_outcome(status: int, is_partial: bool, error: str | None, outcome: Outcome) -> None:
    assert outcome_of(row(1, status, is_partial=is_partial, error=error, route="r")) is outcome


@pytest.mark.every_database
def test_the_database_finds_what_the_code_says(ledger: Ledger) -> None:
    fates = itertools.product(
        STATUSES, (False, True), (None, CLIENT_LEFT, "planted"), ("/v1/responses", "/v1/embeddings")
    )
    rows = [
        row(number, status, is_partial=is_partial, error=error, route=route)
        for number, (status, is_partial, error, route) in enumerate(fates)
    ]
    ledger.add(*rows)
    for outcome in Outcome:
        expected = {r.id for r in rows if outcome_of(r) is outcome}
        assert {r.id for r in ledger.find(Traffic, is_outcome(outcome))} == expected != set()
    texts = {r.id for r in rows if r.route != "/v1/embeddings"}
    answered = {r.id for r in rows if outcome_of(r) is Outcome.ANSWERED} & texts
    failed = {r.id for r in rows if outcome_of(r) is Outcome.FAILED} & texts
    assert {r.id for r in ledger.find(Traffic, is_answered())} == answered
    assert {r.id for r in ledger.find(Traffic, is_observation())} == answered | failed


@pytest.mark.every_database
def test_rows_that_nobody_is_to_watch_are_known_by_their_alias(ledger: Ledger) -> None:
    aliases = ("a", f"a{UNWATCHED}", "a@shadow", "unwatched")
    ledger.add(*(row(n, 200, is_partial=False, error=None, route="r", alias=alias) for n, alias in enumerate(aliases)))
    assert [r.alias for r in ledger.find(Traffic, is_unwatched())] == [f"a{UNWATCHED}"]
