"""Confidence of answers from token probabilities, and its calibration."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftwheel.evidence.intervals import share_interval
from driftwheel.records.scorecard import ReliabilityBin
from driftwheel.text.answers import parse_object
from train.asking.client import Token

BINS = 10
"""Bins of equal width from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far confidences can be believed; None without any."""

    calibration_error: float | None = None
    brier: float | None = None
    reliability: tuple[ReliabilityBin, ...] | None = None


def confidence(answer: str, tokens: Sequence[Token], label: str | None, label_field: str | None) -> float | None:
    """Return the probability that the model gave to its label, or to the whole answer where no field holds the label.

    The label's tokens reach to the quotation mark after it: `card` and `card_lost` differ there. None means that
    the endpoint gave no log-probabilities.
    """
    if not tokens:
        return None
    spelled = b"".join(data for data, _ in tokens)
    start, end = _place(spelled, answer, label, label_field) or (0, len(spelled))
    offset, total = 0, 0.0
    for data, logprob in tokens:
        if offset < end and offset + len(data) > start:
            total += logprob
        offset += len(data)
    return math.exp(min(total, 0.0))


def _place(spelled: bytes, answer: str, label: str | None, label_field: str | None) -> tuple[int, int] | None:
    """Return where the tokens spell a JSON answer's label with its closing mark; None if they do not."""
    before = spelled.find(answer.encode())
    if label is None or label_field is None or before < 0:
        return None
    after_name = max(0, answer.find(json.dumps(label_field, ensure_ascii=False)))
    written = json.dumps(label, ensure_ascii=False)
    start = answer.find(written, after_name)
    if start >= 0:
        return before + len(answer[: start + 1].encode()), before + len(answer[: start + len(written)].encode())
    start = answer.find(label, answer.find(":", after_name))
    if start < 0 or isinstance((parse_object(answer) or {}).get(label_field), str):
        return None
    # A number or a truth value has no marks: what follows it says that it has ended.
    begin = before + len(answer[:start].encode())
    return begin, begin + len(label) + 1


def calibration(confidences: Sequence[float], is_correct: Sequence[bool]) -> Calibration:
    """Return the expected calibration error, the Brier score, and the bins of a reliability diagram.

    The error is the mean distance between confidence and accuracy over bins of equal width, weighted by their items
    (Guo et al., ICML 2017). The Brier score is the mean squared distance between confidence and outcome; always
    saying the base rate gives accuracy * (1 - accuracy).
    """
    if not confidences:
        return Calibration()
    sure, right = np.asarray(confidences), np.asarray(is_correct, dtype=float)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = tuple(_bin(number, sure[place == number], right[place == number]) for number in np.unique(place).tolist())
    gaps = [one.items * abs(one.confidence - one.accuracy) for one in bins]
    return Calibration(
        calibration_error=sum(gaps) / len(sure), brier=float(((sure - right) ** 2).mean()), reliability=bins
    )


def _bin(number: int, sure: Any, right: Any) -> ReliabilityBin:
    return ReliabilityBin(
        low=number / BINS,
        high=(number + 1) / BINS,
        items=len(sure),
        confidence=float(sure.mean()),
        accuracy=float(right.mean()),
        interval=share_interval(int(right.sum()), len(right)),
    )
