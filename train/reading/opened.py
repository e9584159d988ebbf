"""Opens a data file as text: unpacks gzip and Zstandard, and finds its encoding by the byte order mark.

Without a mark a file is UTF-8. Nothing is guessed and nothing is replaced: the first byte that is no text is named.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from driftwheel.errors import DataError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
# UTF-32's mark begins with that of UTF-16, so it comes before it.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST_MARK = 4


def kind_of(path: Path) -> str:
    """Return the suffix that says what a file holds, without that of its compression."""
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in COMPRESSIONS else suffix


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file as text, with `newline` as the built-in `open` takes it.

    Raises DataError if it cannot be read, with the byte and the line of what is no text.
    """
    try:
        encoding = _encoding(path)
        with io.TextIOWrapper(open_bytes(path), encoding, newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(_not_text(path, encoding)) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked; raises OSError, also while it is read, if it is torn or not packed so."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is None:
        return path.open("rb")
    import pyarrow

    # Python 3.11 knows no Zstandard; Arrow reads both, and several members in a row as one file.
    return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(str(path), compression=compression)))


def _encoding(path: Path) -> str:
    with open_bytes(path) as file:
        begin = file.read(LONGEST_MARK)
    return next((encoding for mark, encoding in MARKS.items() if begin.startswith(mark)), "utf-8")


def _not_text(path: Path, encoding: str) -> str:
    """Return what is wrong with a file that its encoding cannot read; it is read again, whole, to count."""
    with open_bytes(path) as file:
        data = file.read()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "ignore").count("\n") + 1
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        where = f"byte {error.start + 1:,}, in line {line:,}, is not {name}"
        return f"cannot read {path}: {where}; it must be UTF-8, or UTF-16 with a byte order mark: save it as UTF-8"
    return f"cannot read {path}: it changed while it was read"
