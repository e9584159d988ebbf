"""What a version's live answers are held against, where they are right or wrong and where they are good by degrees."""

from dataclasses import dataclass

from driftwheel.evidence.bounded_means import lower_bound as mean_floor
from driftwheel.records.scorecard import Scorecard
from driftwheel.text.grades import LOCAL, Criterion
from monitor.betting import CONFIDENCE, lower_bound


def live_criterion(card: Scorecard) -> Criterion | None:
    """Return what grades a version's answers in live traffic; None where they are right or wrong.

    A judge and a grader of the user's own are asked about test items only. How much people change in an answer is then
    told by chrF.
    """
    if card.criterion in (None, "right"):
        return None
    return card.criterion if card.criterion in LOCAL else "chrf"


@dataclass(frozen=True)
class Baseline:
    """How often the version was right when it was judged, or how good its answers were on average."""

    correct: float
    items: int
    grades: tuple[float, ...] | None = None
    """Where answers are good by degrees; `correct` is their sum."""

    @property
    def accuracy(self) -> float:
        """Share of correct answers or mean grade, 0 to 1."""
        return self.correct / max(1, self.items)

    @property
    def floor(self) -> float:
        """Lower bound of it: what is measured on some hundred items is not known better."""
        if self.grades is not None:
            return mean_floor(self.grades, level=1 - CONFIDENCE)
        return lower_bound(self.correct, self.items)
