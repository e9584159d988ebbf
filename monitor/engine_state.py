"""Judges an engine by its failures and its latency in a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from monitor.observation import Observation

MAX_ERROR_SHARE, MAX_LATENCY_RATIO = 0.05, 3.0
"""Fixed, as a broken engine is no matter of chance: one failure in twenty, or answers that take three times as long."""


@dataclass(frozen=True)
class EngineState:
    """How the engine did in a window."""

    error_share: float
    latency_ratio: float
    """Median latency over that of the version's first window."""

    @property
    def score(self) -> float:
        """The worse of both, as a multiple of what is allowed."""
        return max(self.error_share / MAX_ERROR_SHARE, self.latency_ratio / MAX_LATENCY_RATIO)


def fails(error_share: float | None) -> bool:
    """Say whether an alarm is, or may be, about failures: not where answers are slow and nothing else."""
    return error_share is None or error_share > MAX_ERROR_SHARE


def judge_engine(rows: Sequence[Observation], first: Sequence[Observation]) -> EngineState:
    """Compare failures and latency with the version's first window; the limits are fixed, not calibrated."""
    now = [r.latency_seconds for r in rows if r.latency_seconds is not None and not r.is_failed]
    then = [r.latency_seconds for r in first if r.latency_seconds is not None and not r.is_failed]
    ratio = median(now) / max(median(then), 1e-6) if now and then else 1.0
    return EngineState(sum(r.is_failed for r in rows) / max(1, len(rows)), ratio)
