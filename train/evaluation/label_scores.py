"""Precision, recall and F1 of labels, a table per label, and the confusion matrix.

Labels that the references never use are folded into one, so that a model which makes labels up cannot blow up
the confusion matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from driftwheel.evidence.intervals import share_interval
from driftwheel.records.scorecard import Confusion, Interval, LabelScore

OTHER = "(other)"
"""Stands in the confusion matrix for no label and for labels that no reference has."""


@dataclass(frozen=True, kw_only=True)
class LabelMeans:
    """Means over labels (macro) and over items (micro); None without labels."""

    precision_macro: float | None = None
    recall_macro: float | None = None
    macro_f1: float | None = None
    precision_micro: float | None = None
    recall_micro: float | None = None
    micro_f1: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How well labels are told from one another."""

    means: LabelMeans = field(default_factory=LabelMeans)
    labels: dict[str, LabelScore] | None = None
    confusion: Confusion | None = None
    intervals: dict[str, Interval | None] = field(default_factory=dict)
    """The 95 % intervals of the means that are shares."""


def label_scores(pairs: Sequence[tuple[str, str | None]]) -> LabelScores:
    """Return the scores of (right, given) labels.

    Macro is the mean over labels; micro counts every item alike, and leaves an answer with a label that no
    reference has out of the precision only.
    """
    if not pairs:
        return LabelScores()
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    known = sorted({right for right, _ in pairs})
    right = [label for label, _ in pairs]
    given = [label if label in known else OTHER for _, label in pairs]
    macro, micro = (
        [
            float(value)
            for value in precision_recall_fscore_support(right, given, labels=known, average=mean, zero_division=0)[:3]
        ]
        for mean in ("macro", "micro")
    )
    shown = [*known, OTHER] if OTHER in given else known
    matrix = confusion_matrix(right, given, labels=shown).tolist()
    hits, told = sum(a == b for a, b in pairs), sum(label in known for label in given)
    return LabelScores(
        means=LabelMeans(
            precision_macro=macro[0],
            recall_macro=macro[1],
            macro_f1=macro[2],
            precision_micro=micro[0],
            recall_micro=micro[1],
            micro_f1=micro[2],
        ),
        labels={name: _of_label(matrix, position) for position, name in enumerate(known)},
        confusion=Confusion(labels=tuple(shown), matrix=tuple(map(tuple, matrix))),
        intervals={
            "precision_micro": share_interval(hits, told),
            "recall_micro": share_interval(hits, len(pairs)),
        },
    )


def _of_label(matrix: list[list[int]], position: int) -> LabelScore:
    hits, items = matrix[position][position], sum(matrix[position])
    given = sum(row[position] for row in matrix)
    return LabelScore(
        items=items,
        precision=hits / given if given else None,
        precision_interval=share_interval(hits, given),
        recall=hits / items,
        recall_interval=share_interval(hits, items),
        f1=2 * hits / (items + given),
    )
