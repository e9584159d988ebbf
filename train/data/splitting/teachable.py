"""Leaves out rows that a training would refuse, one by one, where they are not a person's to mend."""

from collections.abc import Sequence

from driftwheel.settings.data import Base
from driftwheel.settings.training import TrainSettings
from train.data.examples import Example
from train.data.splitting.clean_rows import cut_ids
from train.data.splitting.tally import Tally
from train.data.splitting.template_check import refused_ids


def teachable(
    base: Base, train: TrainSettings, examples: Sequence[Example], tally: Tally, what: str = ""
) -> list[Example]:
    """Return the rows that the chat template gives as they are and that fit `train.max_length`; count the others.

    Without a base model nobody can tell. A training refuses all rows for the sake of one.
    """
    said = f"{what}: " if what else ""
    refused = refused_ids(base, train.learn, examples)
    given = [e for e in examples if e.id not in refused]
    cut = cut_ids(base, train.max_length, given, tally)
    kept = [e for e in given if e.id not in cut]
    for reason, left in (
        ("not given as it is by the chat template", len(examples) - len(given)),
        ("longer than train.max_length", len(given) - len(kept)),
    ):
        if left:
            tally.dropped[said + reason] += left
    return kept
