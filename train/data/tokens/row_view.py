"""Shows a row as the model sees it, and how two Datasets differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train.data.examples import Example
from train.data.tokens.learned_tokens import Learn, learned_sequences


@dataclass(frozen=True)
class TemplatedRow:
    """A row in the base model's chat template, cut where the loss begins and ends."""

    sequences: list[list[tuple[str, bool]]]
    """Each sequence that is trained on: its pieces, and whether each is learned."""

    @property
    def given(self) -> str:
        """What the model is given; no loss."""
        return "".join(text for pieces in self.sequences for text, is_learned in pieces if not is_learned)

    @property
    def learned(self) -> str:
        """What the loss is taken on: the answers, and the ends that the model must learn to say."""
        return "".join(text for pieces in self.sequences for text, is_learned in pieces if is_learned)


def in_template(tokenizer: Any, example: Example, learn: Learn = "last") -> TemplatedRow:
    """Return a row as it is trained on, with the very tokens and marks of the trainer."""
    found = learned_sequences(tokenizer, example, learn)
    return TemplatedRow([[(tokenizer.decode(ids), learned) for ids, learned in s.parts()] for s in found])


@dataclass
class Difference:
    """How a Dataset differs from another; rows are told apart by their prompts."""

    added: Counter[str] = field(default_factory=Counter)
    """Rows by split that only the new one has."""
    removed: Counter[str] = field(default_factory=Counter)
    """Rows by split that only the old one has."""
    moved: Counter[str] = field(default_factory=Counter)
    """Rows that changed their split, as `train -> test`."""
    answers: list[tuple[Example, Example]] = field(default_factory=list)
    """Rows of both whose answers differ, old and new."""
    labels: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Rows of each label whose number changed, old and new."""


def difference(old: Mapping[str, Sequence[Example]], new: Mapping[str, Sequence[Example]]) -> Difference:
    """Compare the splits of two Datasets."""
    before = {e.id: (split, e) for split, rows in old.items() for e in rows}
    after = {e.id: (split, e) for split, rows in new.items() for e in rows}
    found = Difference()
    for row_id in before.keys() | after.keys():
        if row_id not in before:
            found.added[after[row_id][0]] += 1
        elif row_id not in after:
            found.removed[before[row_id][0]] += 1
        else:
            (old_split, old_row), (new_split, new_row) = before[row_id], after[row_id]
            if old_split != new_split:
                found.moved[f"{old_split} -> {new_split}"] += 1
            if old_row.answer != new_row.answer:
                found.answers.append((old_row, new_row))
    found.answers.sort(key=lambda pair: pair[0].id)
    counts = [Counter(str(e.label) for _, e in rows.values()) for rows in (before, after)]
    for label in sorted(counts[0].keys() | counts[1].keys()):
        if counts[0][label] != counts[1][label]:
            found.labels[label] = (counts[0][label], counts[1][label])
    return found
