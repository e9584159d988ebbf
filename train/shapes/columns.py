"""A row's columns, and which of them were read: what nobody asked for is not used, and is reported."""

from typing import Any

from driftwheel.foreign_json import read_json
from driftwheel.text.answers import as_label
from train.reading.raw_rows import RawRow

CANNOT_BE_LEARNED = ("image", "images", "audio", "audios", "video", "videos", "pixel_values")
MASKS = ("loss_mask", "mask", "masks", "completion_mask", "assistant_masks", "train_detail")
"""What says which tokens or characters are learned; whole turns are marked with `weight` instead."""


class Columns(RawRow):
    """The columns of one row."""

    def __init__(self, row: RawRow) -> None:
        super().__init__(row)
        self._read: set[str] = set()
        self.unused_within: set[str] = set()
        """Keys of messages that were not read, as `messages[].id`."""

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a column or the default, and count it as read."""
        self._read.add(name)
        return super().get(name, default)

    def holds(self, name: str) -> bool:
        """Ask whether a column is there and not empty, without reading it."""
        return not is_empty(super().get(name))

    def first(self, *names: str) -> str | None:
        """Return the first of some names whose column is not empty."""
        return next((name for name in names if self.holds(name)), None)

    @property
    def unused(self) -> set[str]:
        """The names of what is there and was not read."""
        return {name for name in self if name not in self._read and self.holds(name)} | self.unused_within

    def refuse_what_cannot_be_done(self) -> None:
        """Raise ValueError for pictures, sounds and masks, which change what the row says."""
        refuse_keys(self, "")


def refuse_keys(fields: RawRow, name: str) -> None:
    """Raise ValueError for pictures, sounds and masks among some fields."""
    for key in (*CANNOT_BE_LEARNED, *MASKS):
        if not is_empty(dict.get(fields, key)):
            what = (
                "cannot be learned from" if key in CANNOT_BE_LEARNED else "cannot be obeyed: mark turns with `weight`"
            )
            raise ValueError(f"{name}{key} {what}")


def is_empty(value: Any) -> bool:
    """Ask whether a cell holds nothing."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def text_of_cell(value: Any, name: str) -> str:
    """Return a text that every file and database can hold; raises ValueError or TypeError."""
    if value is None or value == "":
        raise ValueError(f"{name} is empty")
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}, not text")
    check_text(value, name)
    return value


def check_text(value: str, name: str) -> None:
    """Raise ValueError for what is no character: half of a surrogate pair, or a NUL."""
    if "\0" in value:
        raise ValueError(f"{name} holds a NUL, which is no text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half of a surrogate pair, {value[error.start]!a}, at {error.start}") from error


def answer_of_cell(value: Any, name: str) -> str:
    """Return an answer; a number or a truth value is one as JSON writes it."""
    if isinstance(value, bool | int | float):
        written = as_label(value)
        if written is None:
            raise ValueError(f"{name} is {value}, which is no answer")
        return written
    return text_of_cell(value, name)


def json_cell(value: Any, name: str) -> Any:
    """Return a value that may be written as JSON text, as in a CSV file; raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return read_json(value)
    except ValueError as error:
        raise ValueError(f"{name} is text, but not JSON: {error}") from error
