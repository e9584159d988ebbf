"""What happened to the rows on their way into a Dataset becomes its report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.settings.settings import Settings
from train.base_model import load_tokenizer
from train.data.examples import Example
from train.data.formats import BrokenRow

SHOWN_BROKEN_ROWS = 20


@dataclass
class Report:
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
    paraphrases: dict[str, Any] = field(default_factory=dict)
    """The model that was asked for rewordings, how many it was asked for, and why there are none."""
    personal_data: Counter[str] = field(default_factory=Counter)
    """Pieces of personal data by kind, in the rows as they were read."""
    tested_before: int = 0
    """Rows that went to the test split because they are like an earlier test row."""
    time_cuts: dict[str, str] = field(default_factory=dict)


def describe(settings: Settings, splits: Mapping[str, Sequence[Example]], report: Report) -> dict[str, Any]:
    """Return the Dataset's report: rows in, dropped and why, balance, lengths, splits.

    Tokens are counted as the base model sees a row, prompt and answer in its chat template; without a base model
    `tokens_not_counted` says why.
    """
    examples = [e for rows in splits.values() for e in rows]
    labels = Counter(e.label or "(none)" for e in examples)
    return {
        "rows_in": report.rows_in,
        "broken": len(report.broken),
        "broken_rows": [asdict(b) for b in report.broken[:SHOWN_BROKEN_ROWS]],
        "dropped": {reason: count for reason, count in report.dropped.items() if count},
        "mixed": dict(report.mixed),
        "paraphrases": report.paraphrases,
        "personal_data": dict(report.personal_data),
        "is_redacted": settings.dataset.redact,
        "labels_seen_once": labels_seen_once(examples),
        "tested_before": report.tested_before,
        "time_cuts": report.time_cuts,
        "labels": dict(labels.most_common(50)),
        "distinct_labels": len(labels),
        "sources": dict(Counter(e.source for e in examples)),
        "slices": {name: dict(Counter(e.slice for e in rows)) for name, rows in splits.items()},
        "prompt_characters": quantiles([len(e.text) for e in examples]),
        "prompt_words": quantiles([len(e.text.split()) for e in examples]),
        "answer_characters": quantiles([len(e.answer) for e in examples]),
        **token_lengths(settings, examples),
    }


def token_lengths(settings: Settings, examples: Sequence[Example]) -> dict[str, Any]:
    """Return the rows' lengths as the base model sees them, or why they were not counted."""
    try:
        tokenizer = load_tokenizer(settings.base_model(), revision=settings.model.revision)
    except (ConfigError, NotFoundError) as error:
        return {"tokens_not_counted": str(error)}
    conversations = [[*e.prompt, *e.completion] for e in examples]
    texts = tokenizer.apply_chat_template(conversations, tokenize=False)
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    longest = settings.train.max_length
    return {"tokens": quantiles(lengths), "rows_cut_by_max_length": sum(n > longest for n in lengths)}


def labels_seen_once(examples: Sequence[Example]) -> list[str]:
    """Return the labels of only one row, where labels are classes and not free text."""
    labels = Counter(str(e.label) for e in examples)
    return sorted(label for label, count in labels.items() if count == 1) if len(labels) * 5 < len(examples) else []


def quantiles(values: Sequence[int]) -> dict[str, int]:
    """Return median, 95th percentile and largest of some values."""
    values = sorted(values)
    return {
        name: values[min(len(values) - 1, int(q * len(values)))]
        for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1))
    }
