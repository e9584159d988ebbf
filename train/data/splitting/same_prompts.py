"""Puts the rows of one prompt together: other answers are references in a text task, and a conflict in a label task.

Prompts that are equal but for case, width and spacing are one. A data-to-text set has several texts for each meaning,
and all are right; two labels for one question are not. Which of the two it is is decided by the answers of all rows:
JSON objects, and answers that are used twice on average, are labels; `dataset.same_prompt` overrules that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from driftwheel.identity import content_hash
from driftwheel.settings.data import DatasetSettings
from driftwheel.text.answers import form_of, right_label
from driftwheel.text.conversations import Message, text_of
from train.data.examples import Example
from train.data.near_duplicates.duplicates import text_hash


@dataclass(frozen=True)
class Asked:
    """A row with clean texts, and the hash by which its prompt is known."""

    key: str
    example: Example
    place: str
    weight: float = 1.0


@dataclass(frozen=True)
class Merged:
    """The rows that are left, and what became of the others."""

    rows: list[Asked]
    repeated: int
    """Rows that say what another one says."""
    conflicting: int
    """Rows with another answer than the first one to the same prompt, which are left out."""


def prompt_key(prompt: Sequence[Message], tools: Sequence[object]) -> str:
    """Return the hash of a prompt, and of the tools that come with it, in which case and spacing do not matter."""
    asked = [(m["role"], text_hash(text_of(m))) for m in prompt]
    return content_hash([asked, tools] if tools else asked)


def are_references(settings: DatasetSettings, answers: Sequence[str]) -> bool:
    """Say whether different answers to one prompt are all right, by the setting or by the answers of all rows."""
    if settings.same_prompt != "auto":
        return settings.same_prompt == "references"
    if form_of(answers) in ("object", "mixed"):
        return False
    return 2 * len({answer.strip() for answer in answers}) > len(answers)


def merged(rows: Iterable[Asked], *, are_references: bool) -> Merged:
    """Return the rows without repetitions; what else was answered is a further reference, or is left out.

    Rows that only case or spacing parts, or whose groups differ, stay rows of their own where answers are references,
    so that nobody's answer is held to be right for what was not asked. A call of tools is no reference.
    """
    kept: dict[tuple[str, ...], Asked] = {}
    seen: dict[str, dict[str, tuple[str, ...]]] = {}
    repeated = conflicting = 0
    for row in rows:
        answers = [answer.strip() for answer in row.example.answers]
        known = seen.setdefault(row.key, {})
        fresh = [a for a, plain in zip(row.example.answers, answers, strict=True) if plain not in known]
        is_first = not known
        if not fresh:
            repeated += 1
            said = known[answers[0]]
            kept[said] = _said_again(kept[said], row)
            continue
        calls = bool(row.example.completion[-1].get("tool_calls"))
        if not is_first and (calls or not are_references):
            conflicting += 1
            continue
        place = (row.key, row.example.group, *(" ".join(text_of(m).split()) for m in row.example.prompt))
        known.update(dict.fromkeys(answers, place))
        if place in kept and not kept[place].example.completion[-1].get("tool_calls"):
            kept[place] = _joined(kept[place], row, fresh)
        else:
            name = row.key if is_first else content_hash(place)
            kept[place] = replace(row, example=replace(row.example, id=name[:16]))
    return Merged(list(kept.values()), repeated, conflicting)


def _joined(first: Asked, row: Asked, answers: Sequence[str]) -> Asked:
    """Return a row with the further answers of another; it is as new and weighs as much as the newest and heaviest."""
    times = [e.time for e in (first.example, row.example) if e.time]
    example = replace(
        first.example,
        references=[*first.example.references, *answers],
        time=max(times) if times else None,
        requests=[*first.example.requests, *row.example.requests],
    )
    return replace(first, example=example, weight=max(first.weight, row.weight))


def _said_again(first: Asked, row: Asked) -> Asked:
    """Return a row that notes whose request says the same, because one of them may be taken back."""
    requests = [*first.example.requests, *row.example.requests]
    return replace(first, example=replace(first.example, requests=requests))


def every_answer(rows: Sequence[Example], label_field: str | None) -> list[Example]:
    """Return a row to learn for each right answer of each row, as sets of meanings and texts are learned."""
    return [
        replace(
            row,
            id=f"{row.id}-r{number}" if number else row.id,
            completion=[{"role": "assistant", "content": answer}] if number else row.completion,
            label=right_label(answer, label_field) if number else row.label,
            references=[],
        )
        for row in rows
        for number, answer in enumerate(row.answers)
    ]
