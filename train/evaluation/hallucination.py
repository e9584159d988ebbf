"""Measures made-up answers: the share that nothing in the training rows supports.

A label must be one that training showed. An object must have fields that training showed, and in a field with
few values one of these. An extractive answer must come from the prompt, and of another text the facts.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Task
from driftwheel.text.answers import parse_object
from driftwheel.text.conversations import text_of
from driftwheel.text.copied_words import facts_of, stated
from driftwheel.text.words import words
from train.data.examples import Example

GRAM_WORDS = 3
"""Words in a row that must stand in the prompt together; shorter answers are looked for whole."""


@dataclass(frozen=True)
class Shown:
    """What the answers of the training rows have in common."""

    labels: frozenset[str]
    fields: Mapping[str, frozenset[str] | None]
    """The values of each field as JSON, or None where any value may follow."""
    facts: frozenset[str] = frozenset()
    """Words that answers have from their prompts."""


def shown_by(rows: Sequence[Example]) -> Shown:
    """Collect labels, fields and values of training rows; a field is closed if each value comes twice on average."""
    values: dict[str, Counter[str]] = {}
    for row in rows:
        for name, value in (parse_object(row.answer) or {}).items():
            values.setdefault(name, Counter())[json.dumps(value, sort_keys=True)] += 1
    fields = {name: frozenset(counts) if 2 * len(counts) <= counts.total() else None for name, counts in values.items()}
    labels = frozenset(row.label for row in rows if row.label is not None)
    return Shown(labels, fields, facts_of((_asked(row), frozenset(words(row.answer))) for row in rows))


def _asked(row: Example) -> frozenset[str]:
    return frozenset(words(" ".join(text_of(message) for message in row.prompt)))


def made_up_flags(
    rows: Sequence[Example], items: Sequence[Prediction], task: Task, shown: Shown
) -> dict[str, list[bool]]:
    """Return for each kind of invention whether each answer that can have it has it; rows and items are pairs."""
    labelled = [item for item in items if item.label is not None] if shown.labels else []
    objects = [value for item in items if (value := parse_object(item.answer)) is not None] if shown.fields else []
    overlaps = prompt_overlaps(rows, items) if task == "extractive" else []
    return {
        "outside_label_set": [item.predicted not in shown.labels for item in labelled],
        "outside_schema": [_is_outside(value, shown.fields) for value in objects],
        "outside_prompt": [overlap < 1 for overlap in overlaps],
        "invented": _inventions(rows, items, shown.facts) if task == "text" else [],
    }


def _inventions(rows: Sequence[Example], items: Sequence[Prediction], facts: frozenset[str]) -> list[bool]:
    """Return whether each answer states a fact that its prompt lacks; none where answers take nothing from prompts."""
    if not facts:
        return []
    return [not stated(facts, words(item.answer)) <= _asked(row) for row, item in zip(rows, items, strict=True)]


def prompt_overlap(rows: Sequence[Example], items: Sequence[Prediction]) -> float | None:
    """Return the mean share of an answer's word trigrams that its prompt holds; None without items."""
    overlaps = prompt_overlaps(rows, items)
    return fmean(overlaps) if overlaps else None


def prompt_overlaps(rows: Sequence[Example], items: Sequence[Prediction]) -> list[float]:
    """Return for each answer the share of its word trigrams that its prompt holds; an empty answer invents nothing."""
    found = []
    for row, item in zip(rows, items, strict=True):
        answer = words(item.answer)
        size = min(GRAM_WORDS, len(answer))
        prompt = _grams(words(" ".join(text_of(message) for message in row.prompt)), size)
        grams = _grams(answer, size)
        found.append(sum(gram in prompt for gram in grams) / len(grams) if grams else 1.0)
    return found


def _grams(text: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(text[at : at + size]) for at in range(len(text) - size + 1)} if size else set()


def _is_outside(value: Mapping[str, Any], fields: Mapping[str, frozenset[str] | None]) -> bool:
    for name, part in value.items():
        if name not in fields:
            return True
        known = fields[name]
        if known is not None and json.dumps(part, sort_keys=True) not in known:
            return True
    return False
