"""The registry of the shapes that rows of data files may have, each read as a conversation.

To read another shape, write a function, give it a line in `SHAPES`, and add its name to `dataset.format`.
"""

from driftwheel.settings.data import DatasetSettings
from train.shapes.columns import Columns
from train.shapes.conversation_shapes import has_turns, human_assistant, messages, sharegpt
from train.shapes.instruction_shapes import (
    ANSWERS,
    REFERENCES,
    alpaca,
    is_labelled,
    label_columns,
    labelled_text,
    plain_text,
    prompt_completion,
)
from train.shapes.preference_shapes import could_be_judged, is_judged, is_pair, judged, pair
from train.shapes.read_row import Shape

JUDGED, PLAIN, TURNS, LABELLED = "kto", "plain_text", "human_assistant", "labelled_text"
ONLY_COLUMN = "text"

# What says that an answer is bad comes first, then the configured columns: a file may have them beside those of others.
SHAPES = {
    "preference": Shape(is_pair, pair),
    JUDGED: Shape(is_judged, judged),
    "prompt_completion": Shape(
        lambda row, settings: (
            settings.prompt_column in row and (settings.completion_column in row or REFERENCES in row)
        ),
        prompt_completion,
    ),
    "messages": Shape(lambda row, _: "messages" in row, messages),
    "alpaca": Shape(lambda row, _: "instruction" in row and any(name in row for name in ANSWERS), alpaca),
    "sharegpt": Shape(lambda row, _: "conversations" in row, sharegpt),
    TURNS: Shape(lambda row, _: has_turns(dict.get(row, ONLY_COLUMN, "")), human_assistant),
    LABELLED: Shape(is_labelled, labelled_text),
    PLAIN: Shape(lambda row, _: {name for name in row if row.holds(name)} == {ONLY_COLUMN}, plain_text),
}


def detect_format(settings: DatasetSettings, row: Columns) -> str:
    """Return the first format whose columns a row has, or `auto` if none fits.

    Raises ValueError for a whole conversation in a text beside its label, which may be learned in two ways.
    """
    found = next((name for name, shape in SHAPES.items() if shape.fits(row, settings)), "auto")
    if found == TURNS and SHAPES[LABELLED].fits(row, settings):
        _, label = label_columns(row, settings)
        raise ValueError(
            f"has a conversation as its text, and {label!r} beside it: set dataset.format to {TURNS} to learn what the "
            f"assistant says in it, or to {LABELLED} to learn {label!r}"
        )
    return found


def shape_of(settings: DatasetSettings, row: Columns, name: str) -> Shape:
    """Return the shape of a row in a file of a format: one that is marked as good or bad is never read without that."""
    return SHAPES[JUDGED if SHAPES[JUDGED].fits(row, settings) and name != LABELLED else name]


def ambiguous_mark(settings: DatasetSettings, row: Columns, name: str) -> str | None:
    """Return what stands as `label` beside an answer in a file that is not read as judged."""
    return could_be_judged(row, settings) if name not in (JUDGED, "preference", LABELLED) else None
