"""Counts what happens to rows on their way into a Dataset, and turns the counts into its report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.records.dataset_report import (
    BrokenRow,
    DatasetReport,
    Lengths,
    ParaphraseCount,
    RowLengths,
    SharedFrame,
)
from driftwheel.settings.data import Base, DatasetSettings
from driftwheel.text.answers import form_of
from train.base_model import load_base_tokenizer
from train.data.examples import Example
from train.data.sources.formats import Reading
from train.data.tokens.rendering import token_counts

SHOWN_BROKEN_ROWS, SHOWN_LABELS, SHOWN_UNUSED = 20, 50, 50
"""A report lies in a row of the database, so that it names no more than these."""


def shown_broken(broken: Sequence[BrokenRow]) -> list[BrokenRow]:
    """Return the rows that a report names: the first of each reason, so that a common one hides no other, then more."""
    first = {row.reason: row for row in reversed(broken)}
    of_each = [row for row in broken if first[row.reason] is row]
    return [*of_each, *(row for row in broken if first[row.reason] is not row)][:SHOWN_BROKEN_ROWS]


@dataclass
class Tally:
    """What was counted on the way."""

    rows_in: int = 0
    broken: list[BrokenRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)
    """Where each example comes from, by its id."""
    weights: dict[str, float] = field(default_factory=dict)
    """How often each example is drawn, by its id, where that is not once."""
    mixed: Counter[str] = field(default_factory=Counter)
    """How many training rows were repeated, left out or made."""
    paraphrases: ParaphraseCount = field(default_factory=ParaphraseCount)
    personal_data: Counter[str] = field(default_factory=Counter)
    """Pieces of personal data by kind, in the rows as they were read."""
    unused: dict[str, list[str]] = field(default_factory=dict)
    """Columns that no reader asked for, by file."""
    tested_before: int = 0
    label_odds: float = 1.0
    """Rows that went to the test split because they are like an earlier test row."""
    time_cuts: dict[str, str] = field(default_factory=dict)
    shared: SharedFrame = field(default_factory=SharedFrame)
    """What nearly all prompts begin and end with, without which they are compared."""
    tokens: dict[str, int] = field(default_factory=dict)
    """How many tokens each example has, by its id, as far as they were counted."""

    def note_unused(self, reading: Reading) -> None:
        """Note the columns of a file that are not used."""
        if reading.unused:
            self.unused[reading.name] = sorted(reading.unused)[:SHOWN_UNUSED]


def count_tokens(base: Base, examples: Sequence[Example], tally: Tally) -> None:
    """Count the tokens of examples that were not counted yet; raises ConfigError or NotFoundError without a base."""
    missing = list({e.id: e for e in examples if e.id not in tally.tokens}.values())
    if missing:
        conversations = [([*e.prompt, *e.completion], e.tools) for e in missing]
        counts = token_counts(load_base_tokenizer(base), conversations)
        tally.tokens |= {e.id: count for e, count in zip(missing, counts, strict=True)}


def describe(
    settings: DatasetSettings, base: Base, max_length: int, splits: Mapping[str, Sequence[Example]], tally: Tally
) -> DatasetReport:
    """Return the Dataset's report: rows in, dropped and why, balance, lengths, splits."""
    examples = [e for rows in splits.values() for e in rows]
    labels = Counter(e.label or "(none)" for e in examples)
    return DatasetReport(
        rows_in=tally.rows_in,
        broken=len(tally.broken),
        broken_rows=shown_broken(tally.broken),
        dropped={reason: count for reason, count in tally.dropped.items() if count},
        mixed=dict(tally.mixed),
        paraphrases=tally.paraphrases,
        personal_data=dict(tally.personal_data),
        is_redacted=settings.redact,
        labels_seen_once=labels_seen_once(examples),
        tested_before=tally.tested_before,
        time_cuts=tally.time_cuts,
        shared=tally.shared,
        labels=dict(labels.most_common(SHOWN_LABELS)),
        distinct_labels=len(labels),
        unused_columns=tally.unused,
        answer_form=form_of([e.answer for e in examples if "tool_calls" not in e.completion[-1]]),
        sources=dict(Counter(e.source for e in examples)),
        unverified=dict(Counter(e.author for e in examples if e.author is not None)),
        label_odds=tally.label_odds,
        slices={name: dict(Counter(e.slice for e in rows)) for name, rows in splits.items()},
        **vars(measure(base, max_length, examples, tally)),
    )


def measure(base: Base, max_length: int, examples: Sequence[Example], tally: Tally) -> RowLengths:
    """Return how long rows are; without a base model it says why their tokens were not counted."""
    known = RowLengths(
        prompt_characters=quantiles([len(e.text) for e in examples]),
        prompt_words=quantiles([len(e.text.split()) for e in examples]),
        answer_characters=quantiles([len(e.answer) for e in examples]),
    )
    try:
        count_tokens(base, examples, tally)
    except (ConfigError, NotFoundError) as error:
        return replace(known, tokens_not_counted=str(error))
    lengths = [tally.tokens[e.id] for e in examples]
    cut = sum(length > max_length for length in lengths)
    return replace(known, tokens=quantiles(lengths), rows_cut_by_max_length=cut)


def labels_seen_once(examples: Sequence[Example]) -> list[str]:
    """Return the labels of only one row, where labels are classes and not free text."""
    labels = Counter(str(e.label) for e in examples)
    return sorted(label for label, count in labels.items() if count == 1) if len(labels) * 5 < len(examples) else []


def quantiles(values: Sequence[int]) -> Lengths:
    """Return median, 95th percentile and largest of some values."""
    ordered = sorted(values)
    p50, p95 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95))
    return Lengths(p50=p50, p95=p95, max=ordered[-1])
