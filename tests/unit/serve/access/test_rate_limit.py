"""A key's minute is spent, refilled and reported as its numbers say."""

import pytest

from serve.access.rate_limit import RateLimit
from serve.refusals import RequestRefused


def ask(limits: RateLimit, now: float, tokens: int = 0) -> int:
    """Make one request at a time and return its status."""
    try:
        limits.enter(now)
    except RequestRefused as refusal:
        return refusal.status
    limits.leave(tokens, now)
    return 200


def test_a_minute_of_requests_is_not_more_than_the_limit_and_refills_evenly() -> None:
    limits = RateLimit(60, None, None)
    assert [ask(limits, 0.0) for _ in range(62)] == [200] * 60 + [429] * 2
    assert [ask(limits, 5.0) for _ in range(6)] == [200] * 5 + [429]
    assert [ask(limits, 1000.0) for _ in range(61)] == [200] * 60 + [429]


def test_over_an_hour_the_tokens_stay_within_the_limit_however_large_an_answer_is() -> None:
    limits, used = RateLimit(None, 600, None), 0
    for second in range(3600):
        used += 3000 if ask(limits, float(second), tokens=3000) == 200 else 0
    assert 600 * 59 <= used <= 600 * 61 + 3000


def test_a_refusal_says_when_to_come_back_and_then_it_works() -> None:
    limits = RateLimit(None, 60, None)
    assert ask(limits, 0.0, tokens=90) == 200
    with pytest.raises(RequestRefused) as refused:
        limits.enter(0.0)
    headers = dict(refused.value.headers)
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert headers["retry-after"] == "31"
    assert ask(limits, 31.0) == 200


def test_only_so_many_requests_are_in_flight_at_once() -> None:
    limits = RateLimit(None, None, 2)
    limits.enter(0.0)
    limits.enter(0.0)
    with pytest.raises(RequestRefused, match="2 requests in flight"):
        limits.enter(0.0)
    limits.leave(0, 0.0)
    limits.enter(0.0)


def test_the_headers_are_those_of_openai() -> None:
    limits = RateLimit(60, 6000, None)
    limits.enter(0.0)
    limits.leave(6100, 0.0)
    assert limits.headers(0.5) == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "500ms"),
        ("x-ratelimit-limit-tokens", "6000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m0.5s"),
    ]
