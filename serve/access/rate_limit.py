"""The rate limiter of one key: token buckets for requests and tokens per minute, and a bound on concurrency.

Who is over gets a 429 that says when to come back. A bucket fills evenly and holds a minute's worth. A request costs
one at once; what its tokens cost is known only from the answer's usage, so they are taken afterwards and the level may
fall below zero: the debt is waited off, so the average stays within the limit however large single answers are. Counts
are this process' own, or those of all gateways of one port.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from serve.access.shared_counts import REQUESTS, TOKENS, Counts, Numbers
from serve.refusals import RequestRefused

SECONDS = 60.0
CONCURRENCY_RETRY_SECONDS = 1


class TokenBucket:
    """A token bucket that holds a minute's worth of something and fills evenly."""

    def __init__(self, per_minute: int, numbers: Numbers, place: int) -> None:
        """Keep level and moment at two places among some numbers; without a moment it is full."""
        self.per_minute = per_minute
        self._numbers, self._place = numbers, place

    def level(self, now: float) -> float:
        """Return what is left at a monotonic time, in units."""
        # Times of two requests may arrive in the other order; a level never shrinks by that.
        numbers, place = self._numbers, self._place
        at = numbers[place + 1]
        if now > at:
            # Full where there is no moment yet; min holds the rest.
            grown = (now - at) * self.per_minute / SECONDS
            numbers[place], numbers[place + 1] = min(float(self.per_minute), numbers[place] + grown), now
        return numbers[place]

    def take(self, amount: float, now: float) -> None:
        """Take units, also more than there are."""
        self._numbers[self._place] = self.level(now) - amount

    def seconds_until(self, level: float, now: float) -> float:
        """Return how long it takes to fill to a level, 0 if it is that full."""
        return max(0.0, (level - self.level(now)) * SECONDS / self.per_minute)


class RateLimit:
    """The rate limit of one key and what it has used of it."""

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        max_concurrency: int | None,
        counts: Counts | None = None,
    ) -> None:
        self.numbers = (requests_per_minute, tokens_per_minute, max_concurrency)
        self._counts = counts or Counts()
        kept = self._counts.numbers
        self._requests = TokenBucket(requests_per_minute, kept, REQUESTS) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute, kept, TOKENS) if tokens_per_minute else None
        self._max_concurrency = max_concurrency

    def enter(self, now: float, *, costs_tokens: bool = True) -> None:
        """Begin a request, or raise RequestRefused (429); `leave` must follow if it does not raise.

        One that no engine answers costs no tokens, and is let in by a key that has none left.
        """
        with self._counts.lock():
            self._enter(now, costs_tokens=costs_tokens)

    def _enter(self, now: float, *, costs_tokens: bool) -> None:
        if self._max_concurrency is not None and self._counts.in_flight() >= self._max_concurrency:
            self._counts.forget_dead()
        if self._max_concurrency is not None and self._counts.in_flight() >= self._max_concurrency:
            message = f"this key has {self._max_concurrency} requests in flight, which is its limit"
            raise self._refusal(message, "concurrency_limit_exceeded", CONCURRENCY_RETRY_SECONDS, now)
        # Nothing is taken until both have enough: who is refused pays for nothing.
        # A request's tokens are not known yet, so any rest of that bucket lets it in.
        tokens = self._tokens if costs_tokens else None
        for name, bucket, needed in (("requests", self._requests, 1.0), ("tokens", tokens, 0.001)):
            if bucket is not None and bucket.level(now) < needed:
                message = f"this key's {bucket.per_minute} {name} per minute are used up"
                raise self._refusal(message, "rate_limit_exceeded", bucket.seconds_until(needed, now), now)
        if self._requests is not None:
            self._requests.take(1.0, now)
        self._counts.add_in_flight(1)

    def leave(self, tokens: int, now: float) -> None:
        """End a request that used so many tokens."""
        with self._counts.lock():
            self._counts.add_in_flight(-1)
            if self._tokens is not None:
                self._tokens.take(tokens, now)

    def headers(self, now: float) -> list[tuple[str, str]]:
        """Return OpenAI's x-ratelimit headers."""
        with self._counts.lock():
            return self._headers(now)

    def _headers(self, now: float) -> list[tuple[str, str]]:
        found = []
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                found += [
                    (f"x-ratelimit-limit-{name}", str(bucket.per_minute)),
                    (f"x-ratelimit-remaining-{name}", str(max(0, math.floor(bucket.level(now))))),
                    (f"x-ratelimit-reset-{name}", _duration(bucket.seconds_until(bucket.per_minute, now))),
                ]
        return found

    def _refusal(self, message: str, code: str, seconds: float, now: float) -> RequestRefused:
        headers: Sequence[tuple[str, str]] = [("retry-after", str(max(1, math.ceil(seconds)))), *self._headers(now)]
        return RequestRefused(429, message, code, headers=tuple(headers))


@contextmanager
def held_to(limit: RateLimit | None) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Hold a request that costs no tokens to its key's limit, if there is one; give what makes its answer's headers.

    Raises RequestRefused (429).
    """
    if limit is None:
        yield list
        return
    limit.enter(time.monotonic(), costs_tokens=False)
    try:
        yield lambda: limit.headers(time.monotonic())
    finally:
        limit.leave(0, time.monotonic())


def _duration(seconds: float) -> str:
    """Return a time as OpenAI writes it: 20ms, 1.5s, 2m3s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 10) / 10, 60)
    return f"{f'{minutes:.0f}m' if minutes else ''}{rest:g}s"
