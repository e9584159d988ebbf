"""Scores JSON answers: validity, whole-object accuracy, and accuracy per field."""

from collections.abc import Sequence

from driftwheel.evidence.intervals import share_interval
from driftwheel.records.scorecard import FieldScore
from driftwheel.text.answers import parse_object

MISSING = object()


def object_flags(expected: Sequence[str], answers: Sequence[str]) -> dict[str, list[bool]]:
    """Return for each item whose right answer is an object whether its answer is one, and whether the two are equal.

    Order of keys and space do not count.
    """
    wanted = [(parse_object(text), answer) for text, answer in zip(expected, answers, strict=True)]
    given = [(value, parse_object(answer)) for value, answer in wanted if value is not None]
    return {
        "json_validity": [found is not None for _, found in given],
        "object_match": [found == value for value, found in given],
    }


def field_scores(expected: Sequence[str], answers: Sequence[str]) -> dict[str, FieldScore]:
    """Return for each field of the expected objects how many items have it and the share with an equal value."""
    outcomes: dict[str, list[bool]] = {}
    for text, answer in zip(expected, answers, strict=True):
        given = parse_object(answer) or {}
        for name, value in (parse_object(text) or {}).items():
            outcomes.setdefault(name, []).append(given.get(name, MISSING) == value)
    return {
        name: FieldScore(
            items=len(flags), accuracy=sum(flags) / len(flags), interval=share_interval(sum(flags), len(flags))
        )
        for name, flags in sorted(outcomes.items())
    }
