"""Answers beside the answers that were expected become numbers: accuracy, macro-F1, confusion, ROUGE-L, BLEU.

Labels that the references never use are folded into one, so that a model which makes labels up cannot
blow up the confusion matrix.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from driftwheel.answers import label_of, parse_object

Task = Literal["labels", "json", "text"]

OTHER = "(other)"
"""Stands in the confusion matrix for no label and for labels that no reference has."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One test item with what the model answered."""

    id: str
    slice: str
    prompt: str
    """The last user message."""
    expected: str
    answer: str
    label: str | None
    predicted: str | None
    is_correct: bool
    latency_seconds: float
    mean_logprob: float | None
    """Mean log-probability of the answer's tokens, in nats."""
    error: str | None = None
    """Why the engine refused the item; it counts as a wrong answer."""


def judge_answer(expected: str, answer: str, label: str | None, label_field: str | None) -> tuple[str | None, bool]:
    """Return the label that an answer claims and whether the answer is right.

    Right means the label's, where the item has one, and otherwise the whole answer but for space around it.
    """
    predicted = label_of(answer, label_field)
    is_correct = predicted == label if label is not None else answer.strip() == expected.strip()
    return predicted, is_correct


def detect_task(expected: Sequence[str]) -> Task:
    """Say what kind of answers these are: JSON objects, labels (each used twice on average), or text."""
    if expected and all(parse_object(text) is not None for text in expected):
        return "json"
    return "labels" if 2 * len({text.strip() for text in expected}) <= len(expected) else "text"


def score(items: Sequence[Scored], task: Task) -> dict[str, Any]:
    """Return the part of a scorecard that answers alone decide; what does not apply to the task is None.

    Shares are from 0 to 1; BLEU is from 0 to 100, as sacrebleu prints it.
    """
    has_objects = bool(items) and all(parse_object(item.expected) is not None for item in items)
    return {
        "task": task,
        "items": len(items),
        "unanswered": sum(item.error is not None for item in items),
        "accuracy": _share(item.is_correct for item in items),
        "exact_match": _share(item.answer.strip() == item.expected.strip() for item in items),
        **_label_scores([] if task == "text" else items),
        "json_validity": _share(parse_object(item.answer) is not None for item in items) if has_objects else None,
        "rouge_l": None if task == "labels" else rouge_l(items),
        "bleu": None if task == "labels" else bleu(items),
        "latency_p50_seconds": percentile([item.latency_seconds for item in items], 50),
        "latency_p95_seconds": percentile([item.latency_seconds for item in items], 95),
        "slices": _by_slice(items),
    }


def rouge_l(items: Sequence[Scored]) -> float | None:
    """Return the mean ROUGE-L F-measure, 0 to 1 (Lin 2004), over words of any script."""
    if not items:
        return None
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return float(sum(scorer.score(i.expected, i.answer)["rougeL"].fmeasure for i in items) / len(items))


def bleu(items: Sequence[Scored]) -> float | None:
    """Return the corpus BLEU, 0 to 100 (Papineni et al. 2002, as sacrebleu computes it)."""
    if not items:
        return None
    import sacrebleu

    return float(sacrebleu.corpus_bleu([i.answer for i in items], [[i.expected for i in items]]).score)


def perplexity(token_logprobs: Iterable[Sequence[float]]) -> float | None:
    """Return exp of the mean negative log-probability over all tokens; log-probabilities are in nats."""
    flat = [value for tokens in token_logprobs for value in tokens]
    return math.exp(-sum(flat) / len(flat)) if flat else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile by the nearest-rank rule."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


class _Words:
    """rouge_score's own tokenizer drops every letter outside a to z."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return sum(values) / len(values) if values else None


def _by_slice(items: Sequence[Scored]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[bool]] = {}
    for item in items:
        groups.setdefault(item.slice, []).append(item.is_correct)
    return {name: {"items": len(flags), "accuracy": _share(flags)} for name, flags in sorted(groups.items())}


def _label_scores(items: Sequence[Scored]) -> dict[str, Any]:
    names = ("precision_macro", "recall_macro", "macro_f1")
    pairs = [(item.label, item.predicted) for item in items if item.label is not None]
    if not pairs:
        return {**dict.fromkeys(names), "confusion": None}
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    known = sorted({label for label, _ in pairs})
    truth = [label for label, _ in pairs]
    predicted = [guess if guess in known else OTHER for _, guess in pairs]
    means = precision_recall_fscore_support(truth, predicted, labels=known, average="macro", zero_division=0)
    shown = [*known, OTHER] if OTHER in predicted else known
    matrix = confusion_matrix(truth, predicted, labels=shown)
    return {
        **{name: float(value) for name, value in zip(names, means[:3], strict=True)},
        "confusion": {"labels": shown, "matrix": matrix.tolist()},
    }
