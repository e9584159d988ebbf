"""A window's labelled rows become the question whether answers got worse, and its failures whether the engine did."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scipy.stats import fisher_exact

from driftwheel.scorecard import Scorecard
from monitor.observation import Observation

MAX_ERROR_SHARE, MAX_LATENCY_RATIO = 0.05, 3.0
"""Fixed, as a broken engine is no matter of chance: one failure in twenty, or answers that take three times as long."""


@dataclass(frozen=True)
class Baseline:
    """How often the version was right when it was judged."""

    correct: int
    items: int

    @property
    def accuracy(self) -> float:
        """Share of correct answers, 0 to 1."""
        return self.correct / max(1, self.items)


@dataclass(frozen=True)
class Quality:
    """Accuracy on the labelled rows of a window, and the chance of it or less if nothing had changed."""

    accuracy: float
    labelled_rows: int
    p_value: float
    drop: float

    def is_lost(self, level: float, max_drop: float) -> bool:
        """Say whether the loss is both larger than allowed and beyond chance."""
        return self.p_value < level and self.drop > max_drop


def baseline_of(scorecard: Scorecard) -> Baseline:
    """Return what a version's traffic is held against: its new slice where it has one, else all its items."""
    facts = scorecard.slices.get("new") or scorecard
    # A scorecard keeps shares, and the test needs counts.
    return Baseline(round((facts.accuracy or 0.0) * facts.items), facts.items)


def judge_quality(rows: Sequence[Observation], baseline: Baseline) -> Quality:
    """Compare a window's labelled rows with the baseline by Fisher's exact test, one-sided; none means no loss."""
    known = [row.is_correct for row in rows if row.is_correct is not None]
    correct = sum(known)
    table = [[correct, len(known) - correct], [baseline.correct, baseline.items - baseline.correct]]
    if not known:
        return Quality(baseline.accuracy, 0, 1.0, 0.0)
    accuracy = correct / len(known)
    # Exact, because labels are few: an approximation by the normal distribution is off with a dozen of them.
    p_value = float(fisher_exact(table, alternative="less").pvalue)
    return Quality(accuracy, len(known), p_value, baseline.accuracy - accuracy)


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


def judge_engine(rows: Sequence[Observation], first: Sequence[Observation]) -> EngineState:
    """Compare failures and latency with the version's first window; the limits are fixed, not calibrated."""
    now = [r.latency_seconds for r in rows if r.latency_seconds is not None and not r.is_failed]
    then = [r.latency_seconds for r in first if r.latency_seconds is not None and not r.is_failed]
    ratio = median(now) / max(median(then), 1e-6) if now and then else 1.0
    return EngineState(sum(r.is_failed for r in rows) / max(1, len(rows)), ratio)
