"""Exponential backoff: each wait is twice as long as the one before it, until there was quiet for a while."""

from dataclasses import dataclass

LEAST_SECONDS, LONGEST_SECONDS, QUIET_SECONDS = 2.0, 60.0, 120.0
"""The longest keeps a machine usable that starts a process in vain; twice that without a try counts as recovered."""


@dataclass
class Backoff:
    """When the next try may be; times are `time.monotonic()`."""

    first_seconds: float = LEAST_SECONDS
    """Wait after the first try."""
    quiet_seconds: float = QUIET_SECONDS
    """Time after a wait in which nothing was tried, so that the next try counts as the first."""
    _wait_seconds: float = 0.0
    _tried_at: float | None = None

    @property
    def wait_seconds(self) -> float:
        """The wait after the last try."""
        return self._wait_seconds

    def is_due(self, now: float) -> bool:
        """Say whether the wait is over."""
        return self._tried_at is None or now >= self._tried_at + self._wait_seconds

    def note(self, now: float) -> None:
        """Count a try: the next one must wait."""
        is_quiet = self._tried_at is None or now > self._tried_at + self._wait_seconds + self.quiet_seconds
        longer = min(max(2 * self._wait_seconds, LEAST_SECONDS), LONGEST_SECONDS)
        self._wait_seconds = self.first_seconds if is_quiet else longer
        self._tried_at = now
