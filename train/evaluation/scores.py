"""Computes the numbers of a scorecard that fit the task, from given and expected answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from driftwheel.evidence.bounded_means import mean_interval
from driftwheel.evidence.intervals import share_interval
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import FieldScore, Interval, Scorecard, SliceScore, Task
from driftwheel.text.answers import field_for, form_of, label_of, parse_object, right_label
from driftwheel.text.conversations import calls_in
from driftwheel.text.grades import Criterion
from train.evaluation.confidence import calibration
from train.evaluation.label_scores import label_scores
from train.evaluation.object_scores import field_scores, object_flags
from train.evaluation.text_scores import TextScores, text_scores
from train.evaluation.tool_scores import argument_scores, tool_flags


def grade_answer(
    expected: str, answer: str, label: str | None, label_field: str | None, references: Sequence[str] = ()
) -> tuple[str | None, bool]:
    """Return the label that an answer claims and whether the answer is right.

    Where calls are expected, the same calls are right, whatever is said beside them. Only an answer in the expected
    one's form has its label. Right means the label's, or that of a further reference, where the item has one, and
    otherwise the whole answer of any reference but for space around it.
    """
    if calls := calls_in(expected):
        return None, calls_in(answer) == calls
    predicted = label_of(answer, field_for(form_of([expected]), label_field))
    if label is None:
        return predicted, answer.strip() in {text.strip() for text in (expected, *references)}
    # A reference may hold no label, and neither may the answer: that is no agreement.
    labels = {label, *(right_label(text, label_field) for text in references)}
    return predicted, predicted is not None and predicted in labels


def detect_task(expected: Sequence[str]) -> Task:
    """Say what kind of answers these are: JSON objects, labels (each used twice on average), or text.

    A few answers of another kind do not decide.
    """
    if form_of(expected) == "object":
        return "json"
    return "labels" if 2 * len({text.strip() for text in expected}) <= len(expected) else "text"


def score(items: Sequence[Prediction], task: Task, criterion: Criterion = "right") -> Scorecard:
    """Return the part of a scorecard that answers alone decide; what does not apply to the task is None.

    By another criterion than right or wrong the scorecard has the mean grade too.

    Shares are from 0 to 1, and `intervals` holds the 95 % interval of each.
    """
    expected, answers = [_object_meant(item) for item in items], [item.answer for item in items]
    has_objects = form_of(expected) == "object"
    is_text = task in ("text", "extractive")
    labelled = [] if is_text else [item for item in items if item.label is not None]
    sure = [item for item in labelled if item.confidence is not None]
    flags = object_flags(expected, answers) if has_objects else {"json_validity": [], "object_match": []}
    if task == "tools":
        flags |= tool_flags(expected, answers)
    flags["accuracy"] = [item.is_correct for item in items]
    flags["exact_match"] = [item.answer.strip() in {text.strip() for text in item.right_answers} for item in items]
    by_label = label_scores([(_label_meant(item), item.predicted) for item in labelled])
    return Scorecard(
        task=task,
        items=len(items),
        unanswered=sum(item.error is not None for item in items),
        **_grades(items, criterion),
        **shares(flags),
        **vars(by_label.means),
        labels=by_label.labels,
        confusion=by_label.confusion,
        intervals=share_intervals(flags) | by_label.intervals | grade_interval(items, criterion),
        **vars(calibration([float(item.confidence or 0) for item in sure], [item.is_correct for item in sure])),
        fields=_fields(expected, answers, task),
        **vars(text_scores([item.right_answers for item in items], answers) if is_text else TextScores()),
        latency_p50_seconds=percentile([item.latency_seconds for item in items], 50),
        latency_p95_seconds=percentile([item.latency_seconds for item in items], 95),
        prompt_tokens_mean=fmean(item.prompt_tokens for item in items) if items else None,
        completion_tokens_mean=fmean(item.completion_tokens for item in items) if items else None,
        slices=_by_slice(items, criterion),
    )


def _grades(items: Sequence[Prediction], criterion: Criterion) -> dict[str, Any]:
    """Return the fields of a scorecard that hold its grades; none where answers are right or wrong."""
    if criterion == "right":
        return {}
    known = [item.grade for item in items if item.grade is not None]
    return {"criterion": criterion, "grade": fmean(known) if known else None, "ungraded": len(items) - len(known)}


def grade_interval(items: Sequence[Prediction], criterion: Criterion) -> dict[str, Interval | None]:
    """Return the 95 % interval of the mean grade by its name, valid for any distribution of grades."""
    known = [item.grade for item in items if item.grade is not None]
    return {"grade": mean_interval(known)} if known and criterion != "right" else {}


def _fields(expected: Sequence[str], answers: Sequence[str], task: Task) -> dict[str, FieldScore] | None:
    """Return the scores of the arguments of calls, or of the fields of objects; None where answers have neither."""
    if task == "tools":
        return argument_scores(expected, answers)
    return field_scores(expected, answers) if form_of(expected) == "object" else None


def _object_meant(item: Prediction) -> str:
    """Return the right answer that an answer equals as an object, or else the expected one."""
    given = parse_object(item.answer) if item.references else None
    return next((text for text in item.right_answers if given and parse_object(text) == given), item.expected)


def _label_meant(item: Prediction) -> str:
    """Return the right label that an answer gives; where it gives none of them, the item's own."""
    return str(item.predicted if item.references and item.is_correct else item.label)


def shares(flags: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Return each share by its name, which is its field in the scorecard; None without items."""
    return {name: sum(found) / len(found) if found else None for name, found in flags.items()}


def share_intervals(flags: Mapping[str, Sequence[bool]]) -> dict[str, Interval | None]:
    """Return the 95 % interval of each share that has items."""
    return {name: share_interval(sum(found), len(found)) for name, found in flags.items() if found}


def perplexity(token_logprobs: Iterable[Sequence[float]]) -> float | None:
    """Return exp of the mean negative log-probability over all tokens; log-probabilities are in nats."""
    flat = [value for tokens in token_logprobs for value in tokens]
    return math.exp(-sum(flat) / len(flat)) if flat else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile by the nearest-rank rule."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def _by_slice(items: Sequence[Prediction], criterion: Criterion) -> dict[str, SliceScore]:
    """Return the scores of old and new items, and by length, source and age; labels have scores of their own."""
    groups: dict[str, list[Prediction]] = {}
    for item in items:
        for name in (item.slice, *(name for name in item.slices if not name.startswith("label:"))):
            groups.setdefault(name, []).append(item)
    return {name: _slice_score(own, criterion) for name, own in sorted(groups.items())}


def _slice_score(items: Sequence[Prediction], criterion: Criterion) -> SliceScore:
    grades = _grades(items, criterion)
    return SliceScore(
        items=len(items),
        accuracy=sum(item.is_correct for item in items) / len(items),
        grade=grades.get("grade"),
        grade_interval=grade_interval(items, criterion).get("grade"),
    )
