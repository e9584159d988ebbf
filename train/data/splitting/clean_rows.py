"""Cleans, deduplicates and splits rows on their way into a Dataset, and counts what is dropped."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from driftwheel.errors import ConfigError, DataError, NotFoundError
from driftwheel.foreign_json import read_json
from driftwheel.settings.data import Base, DatasetSettings
from driftwheel.text.answers import right_label
from driftwheel.text.conversations import Message, ToolCall, text_of, with_text
from driftwheel.traffic.personal_data import redact
from train.data.cleaning import clean_answer, clean_prompt
from train.data.examples import Example
from train.data.sources.formats import Row
from train.data.splitting.same_prompts import Asked, are_references, every_answer, merged, prompt_key
from train.data.splitting.splits import Deal, TimedSplits, split_by_label, split_by_time
from train.data.splitting.tally import Tally, count_tokens
from train.data.tokens.learned_tokens import refuse_cut

UNVERIFIED = "unverified"
"""How the reasons begin for which rows of authors without trust are left out."""


def split(settings: DatasetSettings, deal: Deal) -> TimedSplits:
    """Split by time where the settings name its column, else by label."""
    if settings.time_column:
        return split_by_time(deal)
    return TimedSplits(split_by_label(deal, settings.seed))


def clean(
    settings: DatasetSettings, rows: Iterable[Row], tally: Tally, known_answers: Sequence[str] = ()
) -> list[Example]:
    """Return the rows with clean texts, one for each prompt; the report counts what was dropped.

    Whether two answers to one prompt are both right is told from the known answers, if there are any, or the rows'.
    """
    asked = []
    for row in rows:
        prompt, completion = cleaned(settings, row.prompt, tally), cleaned(settings, row.completion, tally)
        answer = text_of(completion[-1])
        if not answer.strip() or not all(text_of(m).strip() for m in prompt if m["role"] != "tool"):
            tally.dropped["empty after cleaning"] += 1
            continue
        key = prompt_key(prompt, row.tools)
        example = Example(
            id=key[:16],
            prompt=prompt,
            completion=completion,
            label=None if "tool_calls" in completion[-1] else right_label(answer, settings.label_field),
            group=row.group or key[:16],
            time=row.time.isoformat(timespec="microseconds") if row.time else None,
            tools=row.tools,
            references=[answer_as_learned(settings, text, tally) for text in row.references],
            requests=[row.request_id] if row.request_id else [],
            groups=row.groups,
        )
        asked.append(Asked(key, example, row.place, row.weight))
    answers = known_answers or [row.example.answer for row in asked]
    found = merged(asked, are_references=are_references(settings, answers))
    tally.dropped += Counter({"duplicate": found.repeated, "duplicate with another answer": found.conflicting})
    tally.places |= {row.example.id: row.place for row in found.rows}
    tally.weights |= {row.example.id: row.weight for row in found.rows if row.weight != 1}
    return [row.example for row in found.rows]


def answer_as_learned(settings: DatasetSettings, answer: str, tally: Tally) -> str:
    """Return a right answer as a Dataset holds it."""
    return _treated(settings, clean_answer(answer), tally)


def with_own_text(message: Message, change: Callable[[str], str]) -> Message:
    """Return a copy of a message with its text changed; tool calls stay as they are."""
    return message.copy() if message["content"] is None else with_text(message, change(message["content"]))


def cleaned(settings: DatasetSettings, messages: Iterable[Message], tally: Tally) -> list[Message]:
    """Return messages as the settings want them; what the assistant said before is an answer too."""
    return [_cleaned(settings, message, tally) for message in messages]


def _cleaned(settings: DatasetSettings, message: Message, tally: Tally) -> Message:
    change = clean_answer if message["role"] == "assistant" else partial(clean_prompt, how=settings.clean)
    message = with_own_text(message, lambda text: _treated(settings, change(text), tally))
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [_treated_call(settings, call, tally) for call in calls]
    return message


def _treated_call(settings: DatasetSettings, call: ToolCall, tally: Tally) -> ToolCall:
    """Do with a call's arguments as with texts, value by value, so that they stay a JSON object."""
    given = call["function"]["arguments"]
    found = Counter[str]()
    redacted = _redacted(read_json(given), found)
    tally.personal_data += found
    arguments = json.dumps(redacted, ensure_ascii=False) if found and settings.redact else given
    return {**call, "function": {**call["function"], "arguments": arguments}}


def _redacted(value: object, found: Counter[str]) -> object:
    """Return a JSON value without personal data; a number such as that of a card becomes the text of its kind."""
    if isinstance(value, dict):
        return {_without(key, found): _redacted(part, found) for key, part in value.items()}
    if isinstance(value, list):
        return [_redacted(part, found) for part in value]
    if isinstance(value, str):
        return _without(value, found)
    if isinstance(value, int) and not isinstance(value, bool):
        written = _without(str(value), found)
        return value if written == str(value) else written
    return value


def _without(text: str, found: Counter[str]) -> str:
    redacted, pieces = redact(text)
    found.update(pieces)
    return redacted


def _treated(settings: DatasetSettings, text: str, tally: Tally) -> str:
    """Count personal data, and replace it if the settings say so."""
    redacted, found = redact(text)
    tally.personal_data += found
    return redacted if settings.redact else text


def cut_ids(base: Base, max_length: int, examples: Sequence[Example], tally: Tally) -> set[str]:
    """Return the ids of rows of which an answer would lose its end; without a base model nobody can tell."""
    return {id for id, tokens in _longest(base, examples, tally).items() if tokens > max_length}


def _longest(base: Base, examples: Sequence[Example], tally: Tally) -> dict[str, int]:
    """Return how many tokens each row has with its longest right answer, by id; nothing without a base model."""
    answers = [(e.id, answer) for e in examples for answer in every_answer([e], None)]
    try:
        count_tokens(base, [answer for _, answer in answers], tally)
    except (ConfigError, NotFoundError):
        return {}
    longest: dict[str, int] = {}
    for id, answer in answers:
        longest[id] = max(longest.get(id, 0), tally.tokens[answer.id])
    return longest


def stop_at_cut(base: Base, max_length: int, examples: Sequence[Example], tally: Tally) -> None:
    """Raise DataError naming the first row whose answer would lose its end, and the length that holds all."""
    longest = _longest(base, examples, tally)
    lengths = [(tally.places[e.id], longest[e.id]) for e in examples if longest.get(e.id, 0) > max_length]
    refuse_cut(lengths, max_length, "the data files")


def stop_at_too_few(settings: DatasetSettings, examples: Sequence[Example], tally: Tally) -> None:
    """Raise DataError if fewer rows are left than `dataset.min_rows`."""
    if len(examples) < settings.min_rows:
        dropped = ", ".join(f"{n} {why}" for why, n in tally.dropped.items()) or "none dropped"
        needed = "give more rows"
        if any(n and why.startswith(UNVERIFIED) for why, n in tally.dropped.items()):
            # Of rows that nobody trusted has vouched for, more do not help.
            needed += (
                ". Unverified rows teach little however many there are: label by a key with the scope `label:trusted`, "
                "or vouch for what was said by `driftwheel feedback confirm`"
            )
        raise DataError(
            f"only {len(examples)} of {tally.rows_in} rows can be used ({dropped}); dataset.min_rows asks for "
            f"{settings.min_rows}: {needed}"
        )
