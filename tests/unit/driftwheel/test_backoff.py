"""Waits double up to a limit, and are short again after a quiet time."""

from driftwheel.backoff import Backoff


def test_each_wait_is_twice_the_one_before_until_it_was_quiet() -> None:
    backoff, now, waits = Backoff(quiet_seconds=60.0), 100.0, []
    assert backoff.is_due(now)
    for _ in range(7):
        backoff.note(now)
        waits.append(backoff.wait_seconds)
        assert not backoff.is_due(now + backoff.wait_seconds - 0.1)
        now += backoff.wait_seconds
        assert backoff.is_due(now)
    assert waits == [2, 4, 8, 16, 32, 60, 60]
    backoff.note(now + 59)
    assert backoff.wait_seconds == 60
    backoff.note(now + 59 + 60 + 61)
    assert backoff.wait_seconds == 2
