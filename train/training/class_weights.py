"""Class weights: a rare label counts in the loss as the settings say, and not as often as it occurs."""

import difflib
from collections import Counter
from collections.abc import Sequence

from driftwheel.errors import ConfigError
from driftwheel.settings.training import TrainSettings

ROW_WEIGHT = "row_weight"
"""Column of the training rows."""


def check_class_weights(train: TrainSettings) -> None:
    """Raise ConfigError if rows are to be weighted where they are not told apart."""
    if train.class_weights != "none" and (train.objective != "sft" or train.packing):
        reason = "train.packing mixes rows" if train.packing else f"{train.objective} learns from pairs or thumbs"
        raise ConfigError(f"train.class_weights needs rows of their own, and {reason}; use dataset.balance: oversample")


def row_weights(train: TrainSettings, labels: Sequence[str | None]) -> list[float] | None:
    """Return each row's weight in the loss, or None if all weigh the same.

    Balanced weights are inverse to the label's share (King & Zeng 2001, as in scikit-learn).
    Raises ConfigError if answers are no classes, or if a weight is for a label that no row has.
    """
    if train.class_weights == "none":
        return None
    counts = Counter(str(label) for label in labels)
    if len(counts) * 5 >= len(labels):
        raise ConfigError(
            f"train.class_weights needs labels that are classes, but {len(labels)} rows have {len(counts)}; name the "
            "label with dataset.label_field and build again, or set it to none"
        )
    if train.class_weights == "balanced":
        return [len(labels) / (len(counts) * counts[str(label)]) for label in labels]
    for name in train.class_weights.keys() - counts.keys():
        near = difflib.get_close_matches(name, counts, n=1)
        raise ConfigError(
            f"train.class_weights has {name!r}, a label of no training row"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return [train.class_weights.get(str(label), 1.0) for label in labels]
