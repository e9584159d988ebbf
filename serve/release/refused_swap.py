"""Remembers the last refused swap: whether it may be tried again, and when."""

import time
from dataclasses import dataclass, field

from driftwheel.backoff import Backoff


@dataclass
class RefusedSwap:
    """A reconciler's memory of what did not go live; a move of the alias makes a new fence, and so a new try."""

    fence: int = 0
    """0 where nothing is refused; an alias' fence begins at 1."""
    is_final: bool = False
    """Whether only another move of the alias can help."""
    _backoff: Backoff = field(default_factory=Backoff)

    def must_wait(self, fence: int) -> bool:
        """Say whether the swap at this fence was refused and is not to be tried again yet."""
        return fence == self.fence and (self.is_final or not self._backoff.is_due(time.monotonic()))

    def note(self, fence: int, *, is_final: bool) -> None:
        """Remember a refusal; each of the same swap waits twice as long as the one before it."""
        if fence != self.fence:
            self.fence, self._backoff = fence, Backoff()
        self.is_final = is_final
        self._backoff.note(time.monotonic())
