"""Checks that a chat template gives rows as they are: before the first training step, and in `data check`.

A row passes if the prompt's tokens begin the whole row's, which is what an engine reads and what is learned; if nothing
stands between prompt and answer; if the answer ends at a token where generation stops; and if all that was said is
there. A template that fails teaches one thing, and asks and scores another.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, DataError, NotFoundError
from driftwheel.settings.data import Base
from driftwheel.text.conversations import Message, Tool
from train.base_model import base_ends, load_base_tokenizer
from train.chat_template import alternatives, turn_end
from train.data.examples import Example, read_examples
from train.data.sources.preferences import read_preferences
from train.data.splitting.splits import SPLITS
from train.data.tokens.learned_tokens import Learn, learned_turns
from train.data.tokens.rendering import as_text, ids_of

THOUGHT_ENDS = "</think>"
"""Templates of reasoning models leave out what an earlier turn says before it, in training and in an engine alike."""
SHOWN_CHARACTERS = 60
OTHER_TEMPLATE = "set model.template.file to a template that gives it as it is, or change the row"


@dataclass(frozen=True, kw_only=True)
class Templated:
    """A row as far as a template renders it."""

    name: str
    """How a person finds it: its id, or its line."""
    prompt: Sequence[Message]
    completion: Sequence[Message]
    tools: Sequence[Tool] = ()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a row cannot be learned with this template."""

    row: str
    reason: str


def templated(example: Example, name: str) -> Templated:
    """Return a row under the name that a person finds it by."""
    return Templated(name=name, prompt=example.prompt, completion=example.completion, tools=example.tools)


def rows_of(dataset_path: Path, objective: str, learn: Learn = "last") -> Iterator[Templated]:
    """Give every row that a training on a Dataset's folder reads, and those that it is judged by."""
    for split in SPLITS:
        path = dataset_path / f"{split}.jsonl"
        for row in read_examples(path) if path.is_file() else []:
            for prompt, answer in learned_turns(row, learn):
                yield templated(replace(row, prompt=prompt, completion=[answer]), f"{row.id} ({path.name})")
    if objective == "sft":
        return
    for split in ("train", "validation"):
        for number, pair in enumerate(read_preferences(dataset_path, objective, split), start=1):
            for key in ("chosen", "rejected", "completion"):
                if key in pair:
                    name = f"{objective}_{split}.jsonl:{number}"
                    yield Templated(name=name, prompt=pair["prompt"], completion=pair[key])


def require_template(tokenizer: Any, ends: Collection[int], rows: Iterable[Templated]) -> None:
    """Raise DataError naming the first row that the template does not give as it is.

    `ends` are the token ids at which an engine stops.
    """
    for fault in faults(tokenizer, ends, rows):
        raise DataError(f"row {fault.row} cannot be learned: {fault.reason}")


def refused_ids(base: Base, learn: Learn, examples: Sequence[Example]) -> set[str]:
    """Return the ids of rows that the base's template does not give as they are; without a base nobody can tell."""
    try:
        tokenizer = load_base_tokenizer(base)
    except (ConfigError, NotFoundError):
        return set()
    turns = [
        templated(replace(e, prompt=prompt, completion=[answer]), e.id)
        for e in examples
        for prompt, answer in learned_turns(e, learn)
    ]
    return {fault.row for fault in faults(tokenizer, base_ends(base, tokenizer), turns)}


def faults(tokenizer: Any, ends: Collection[int], rows: Iterable[Templated]) -> Iterator[Fault]:
    """Give each row that the template does not give as it is, with the reason and a remedy."""
    for row in rows:
        if reason := _reason(tokenizer, ends, row):
            yield Fault(row=row.name, reason=f"{reason}; {_remedy(tokenizer, ends, row)}")


def _remedy(tokenizer: Any, ends: Collection[int], row: Templated) -> str:
    """Return the setting with which the template, or TRL's own variant of it, gives the row as it is."""
    own = tokenizer.chat_template
    try:
        for setting, text in alternatives(own):
            tokenizer.chat_template = text
            if not _reason(tokenizer, {*ends, *turn_end(tokenizer)}, row):
                return f"set {setting}, with which it is given as it is"
    finally:
        tokenizer.chat_template = own
    return OTHER_TEMPLATE


def _reason(tokenizer: Any, ends: Collection[int], row: Templated) -> str | None:
    try:
        given = as_text(tokenizer, row.prompt, row.tools, add_generation_prompt=True)
        whole = as_text(tokenizer, [*row.prompt, *row.completion], row.tools)
    except ConfigError as error:
        return str(error)
    if not whole.startswith(given):
        at = next((n for n, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b), len(whole))
        return (
            f"the chat template ends the prompt with {_shown(given[at:])} when it asks, and goes on with "
            f"{_shown(whole[at:])} when the answer follows, so that the answer would be learned after another prompt"
        )
    return (
        _around_answer(row, whole[len(given) :])
        or _left_out(row, given)
        or _in_tokens(tokenizer, ends, row, [given, whole])
    )


def _around_answer(row: Templated, learned: str) -> str | None:
    """Say what the template adds before the answer, or that it changes it."""
    said = (row.completion[-1]["content"] or "").strip()
    calls = [call["function"]["name"] for call in row.completion[-1].get("tool_calls", [])]
    at = learned.find(said)
    if at < 0 or not all(name in learned for name in calls):
        return f"the chat template changes its answer: it is learned as {_shown(learned)}"
    if said and learned[:at].strip():
        return (
            f"the chat template puts {_shown(learned[:at])} before its answer, and clients would get that as a part of "
            "the answer"
        )
    return None


def _left_out(row: Templated, given: str) -> str | None:
    """Name the first message or tool that the rendered prompt does not hold; space is compared as one blank."""
    rendered, seen = _even(given), Counter[str]()
    for number, message in enumerate(row.prompt):
        text = message["content"] or ""
        if message["role"] == "assistant":
            text = text.rpartition(THOUGHT_ENDS)[2]
        text = _even(text)
        seen[text] += 1
        # Some templates write a tool's result as JSON within JSON.
        forms = (text, json.dumps(text, ensure_ascii=False)[1:-1])
        if text and all(rendered.count(form) < seen[text] for form in forms):
            return f"the chat template leaves out or changes message {number} ({message['role']}): {_shown(text)}"
        for call in message.get("tool_calls", []):
            if call["function"]["name"] not in given:
                return f"the chat template leaves out the call of {call['function']['name']} in message {number}"
    return next((f"the chat template leaves out the tool {n}" for n in _names(row.tools) if n not in given), None)


def _in_tokens(tokenizer: Any, ends: Collection[int], row: Templated, texts: Sequence[str]) -> str | None:
    """Say whether prompt and answer share a token, and whether generation stops where the answer ends."""
    prompt, whole = ids_of(tokenizer, texts)
    if whole[: len(prompt)] != prompt:
        tail = tokenizer.decode(prompt[-2:])
        return (
            f"the tokens of its prompt end with {_shown(tail)}, and become others once the answer follows, because "
            "characters of both join in one token: begin the answer with another character"
        )
    learned = whole[len(prompt) :]
    stops = [number for number, token in enumerate(learned) if token in ends]
    if not stops:
        return (
            f"the chat template ends its answer with {_shown(tokenizer.decode(learned[-3:]))}, which holds no token at "
            "which generation stops, so that answers would go on and on"
        )
    said = (row.completion[-1]["content"] or "").strip()
    if said not in tokenizer.decode(learned[: stops[0]]) and any(
        tokenizer.convert_ids_to_tokens(end) in said for end in ends
    ):
        return "its answer holds a token at which generation stops, so that it would be cut there"
    return None


def _names(tools: Sequence[Tool]) -> list[str]:
    functions = [tool.get("function") for tool in tools]
    return [str(function["name"]) for function in functions if isinstance(function, dict)]


def _even(text: str) -> str:
    return " ".join(text.split())


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
