"""Right labels beside given ones become precision, recall and F1, a table per label, and the confusion matrix.

Labels that the references never use are folded into one, so that a model which makes labels up cannot blow up
the confusion matrix.
"""

from collections.abc import Sequence
from typing import Any

from driftwheel.intervals import share_interval

OTHER = "(other)"
"""Stands in the confusion matrix for no label and for labels that no reference has."""

MEANS = (
    "precision_macro", "recall_macro", "macro_f1", "precision_micro", "recall_micro", "micro_f1",
)  # fmt: skip


def label_scores(pairs: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """Return the scores of (right, given) labels, None without pairs, and the 95 % intervals of those that are shares.

    Macro is the mean over labels; micro counts every item alike, and leaves an answer with a label that no
    reference has out of the precision only.
    """
    if not pairs:
        return {**dict.fromkeys(MEANS), "labels": None, "confusion": None, "intervals": {}}
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    known = sorted({right for right, _ in pairs})
    right = [label for label, _ in pairs]
    given = [label if label in known else OTHER for _, label in pairs]
    means = [
        float(value)
        for average in ("macro", "micro")
        for value in precision_recall_fscore_support(right, given, labels=known, average=average, zero_division=0)[:3]
    ]
    shown = [*known, OTHER] if OTHER in given else known
    matrix = confusion_matrix(right, given, labels=shown).tolist()
    hits, told = sum(a == b for a, b in pairs), sum(label in known for label in given)
    return {
        **dict(zip(MEANS, means, strict=True)),
        "labels": {name: _of_label(matrix, position) for position, name in enumerate(known)},
        "confusion": {"labels": shown, "matrix": matrix},
        "intervals": {
            "precision_micro": share_interval(hits, told),
            "recall_micro": share_interval(hits, len(pairs)),
        },
    }


def _of_label(matrix: list[list[int]], position: int) -> dict[str, Any]:
    hits, items = matrix[position][position], sum(matrix[position])
    given = sum(row[position] for row in matrix)
    return {
        "items": items,
        "precision": hits / given if given else None,
        "precision_interval": share_interval(hits, given),
        "recall": hits / items,
        "recall_interval": share_interval(hits, items),
        "f1": 2 * hits / (items + given),
    }
