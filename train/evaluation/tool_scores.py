"""Scores tool calls: whether the right tools are called, and with the right arguments, each by itself."""

from collections.abc import Mapping, Sequence

from driftwheel.evidence.intervals import share_interval
from driftwheel.records.scorecard import FieldScore
from driftwheel.text.conversations import calls_in

MISSING = object()
Call = Mapping[str, object]


def tool_flags(expected: Sequence[str], answers: Sequence[str]) -> dict[str, list[bool]]:
    """Return for each item whether its answer calls the right tools, and whether with the right arguments.

    Where no call is right, calling none is.
    """
    pairs = [(calls_in(text), calls_in(answer)) for text, answer in zip(expected, answers, strict=True)]
    return {
        "tool_names": [_names(wanted) == _names(given) for wanted, given in pairs],
        "tool_calls": [wanted == given for wanted, given in pairs],
    }


def argument_scores(expected: Sequence[str], answers: Sequence[str]) -> dict[str, FieldScore]:
    """Return for each argument, as `tool.argument`, how many right calls have it and the share with an equal value.

    Calls are compared in their order; a call of another tool has none of the arguments.
    """
    outcomes: dict[str, list[bool]] = {}
    for text, answer in zip(expected, answers, strict=True):
        given = calls_in(answer)
        for place, call in enumerate(calls_in(text)):
            other = given[place] if place < len(given) and given[place]["name"] == call["name"] else None
            for name, value in _arguments(call).items():
                outcomes.setdefault(f"{call['name']}.{name}", []).append(_value(other, name) == value)
    return {
        name: FieldScore(
            items=len(flags), accuracy=sum(flags) / len(flags), interval=share_interval(sum(flags), len(flags))
        )
        for name, flags in sorted(outcomes.items())
    }


def _names(calls: Sequence[Call]) -> list[object]:
    return [call["name"] for call in calls]


def _arguments(call: Call) -> Mapping[str, object]:
    arguments = call["arguments"]
    return arguments if isinstance(arguments, dict) else {}


def _value(call: Call | None, name: str) -> object:
    return MISSING if call is None else _arguments(call).get(name, MISSING)
