"""Shapes of one question and its answer: prompt and completion, Alpaca's, and a text beside its label."""

from collections.abc import Sequence
from typing import Any

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import Message, said
from train.shapes.columns import Columns, answer_of_cell, is_empty, json_cell, text_of_cell
from train.shapes.read_row import ReadRow
from train.shapes.tool_calls import tools_of
from train.shapes.turns import chat_of, turns_of, with_system

REFERENCES = "references"
TEXTS = ("text", "sentence", "question", "utterance", "query", "message", "review", "tweet", "headline")
LABELS = ("label_text", "label_name", "label", "labels", "category", "intent", "class", "target", "topic")
"""Names of the columns of a classified text, the likelier first; a label's name goes before its number."""
MAY_ANSWER = frozenset({"answer", "answers", "response", "output", "reply", "completion", "summary", "translation"})
"""Columns beside which a category is not what is to be learned; the settings must say which one it is."""
ANSWERS = ("output", "response")
INPUTS = ("input", "context")
"""Alpaca's names, and Dolly's."""


def prompt_completion(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read a prompt, as text or messages, and its answer, of which there may be several."""
    prompt = with_system(row, chat_of(row, row[settings.prompt_column], settings.prompt_column))
    answers = answers_of(row, settings.completion_column)
    return ReadRow(prompt=prompt, completion=[answers[0]], tools=tools_of(row), references=_texts(answers[1:]))


def alpaca(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read Alpaca's columns; `system` and `history` are LLaMA-Factory's."""
    answers = answers_of(row, row.first(*ANSWERS) or ANSWERS[0])
    return ReadRow(prompt=asked(row), completion=[answers[0]], tools=tools_of(row), references=_texts(answers[1:]))


def asked(row: Columns) -> list[Message]:
    """Return the prompt of Alpaca's columns, with the turns before it."""
    text = text_of_cell(row["instruction"], "instruction")
    if name := row.first(*INPUTS):
        text += "\n\n" + text_of_cell(row[name], name)
    return with_system(row, [*_history(row), said("user", text)])


def labelled_text(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read a text and its label, by the usual names of such columns."""
    text, label = label_columns(row, settings)
    prompt = with_system(row, [said("user", text_of_cell(row[text], text))])
    return ReadRow(prompt=prompt, completion=[said("assistant", answer_of_cell(row[label], label))])


def label_columns(row: Columns, settings: DatasetSettings) -> tuple[str, str]:
    """Return the names of a text's and a label's column; raises KeyError.

    A column that the settings name goes before the usual names, and these before the settings' defaults.
    """
    text = _named(row, settings, "prompt_column", [name for name in row if name.lower() in TEXTS])
    labels = sorted((name for name in row if name.lower() in LABELS), key=lambda name: LABELS.index(name.lower()))
    label = _named(row, settings, "completion_column", labels)
    if text is None or label is None:
        raise KeyError(TEXTS[0] if text is None else LABELS[2])
    return text, label


def _named(row: Columns, settings: DatasetSettings, setting: str, usual: Sequence[str]) -> str | None:
    """Return the column that a setting names, if the row has it, or a usual one, or that of the setting's default."""
    column: str = getattr(settings, setting)
    given = [column] if column in row else []
    return next(iter([*given, *usual] if setting in settings.model_fields_set else [*usual, *given]), None)


def is_labelled(row: Columns, settings: DatasetSettings) -> bool:
    """Ask whether there are a text's and a label's column, and none that may hold the answer instead."""
    try:
        text, label = label_columns(row, settings)
    except KeyError:
        return False
    is_named = label == settings.completion_column
    return text != label and (is_named or {name.lower() for name in row}.isdisjoint(MAY_ANSWER))


def plain_text(row: Columns, settings: DatasetSettings) -> ReadRow:
    """Read a text that is neither asked nor answered, for continued pre-training."""
    return ReadRow(prompt=[], completion=[said("assistant", text_of_cell(row["text"], "text"))])


def answers_of(row: Columns, name: str) -> list[Message]:
    """Return the answers in a column and in `references`, the one to learn first; raises as a shape does."""
    value = row[name] if name in row or not row.holds(REFERENCES) else None
    several = json_cell(row.get(REFERENCES), REFERENCES) if row.holds(REFERENCES) else []
    if not isinstance(several, list):
        raise TypeError(f"{REFERENCES} is a {type(several).__name__}, not a list of answers")
    if isinstance(value, list) and not value:
        raise ValueError(f"{name} is empty")
    if isinstance(value, list) and isinstance(value[0], dict):
        first = [_turn(row, value, name)]
    else:
        values = value if isinstance(value, list) else [value] if value is not None or not several else []
        first = [said("assistant", answer_of_cell(one, name)) for one in values]
    told = {message["content"] for message in first}
    further = [answer_of_cell(one, f"{REFERENCES}[{number}]") for number, one in enumerate(several)]
    return [*first, *(said("assistant", text) for text in dict.fromkeys(further) if text not in told)]


def _turn(row: Columns, value: list[Any], name: str) -> Message:
    """Return the one turn of an answer that is given as messages."""
    turns = turns_of(row, value, name)
    if len(turns) != 1:
        raise ValueError(f"{name} holds {len(turns)} turns; put all but the last into the prompt")
    if turns[0]["role"] != "assistant":
        raise ValueError(f"{name} is the turn of a {turns[0]['role']}, not of the assistant")
    if turns[0].get("weight", 1) == 0:
        raise ValueError("has no turn to learn: every turn of the assistant has weight 0")
    return turns[0]


def _texts(answers: list[Message]) -> list[str]:
    return [str(answer["content"]) for answer in answers]


def _history(row: Columns) -> list[Message]:
    """Return the earlier questions and answers of a conversation, given as pairs."""
    if not row.holds("history"):
        return []
    value = json_cell(row.get("history"), "history")
    if not isinstance(value, list):
        raise TypeError(f"history is a {type(value).__name__}, not a list of pairs")
    turns: list[Message] = []
    for number, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != 2 or any(is_empty(part) for part in pair):
            raise ValueError(f"history[{number}] is no pair of a question and an answer")
        turns.append(said("user", text_of_cell(pair[0], f"history[{number}][0]")))
        turns.append(said("assistant", text_of_cell(pair[1], f"history[{number}][1]")))
    return turns
