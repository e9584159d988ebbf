"""Files of every kind, packed or not, and folders of them become the same rows."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from train.reading.raw_rows import RawRow
from train.reading.sources import parts_of

ROWS: list[RawRow] = [{"text": "where is it?", "label": "delivery"}, {"text": "no, ü; | wait", "label": "cancel"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def table(delimiter: str) -> str:
    cells = [f'"{row["text"]}"{delimiter}{row["label"]}\n' for row in ROWS]
    return f"text{delimiter}label\n" + "".join(cells)


TEXTS = {
    "a.jsonl": LINES,
    "a.ndjson": "\n\n" + LINES,
    "a.json": json.dumps(ROWS),
    "lines.json": LINES,
    "array.jsonl": json.dumps(ROWS, indent=1),
    "a.csv": table(","),
    "semicolon.csv": table(";"),
    "pipe.csv": table("|"),
    "a.tsv": table("\t"),
    "tab.csv": table("\t"),
}


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def rows_of(source: Path) -> list[RawRow]:
    found = [found for part in parts_of(source) for found in part.read()]
    assert not [f for f in found if isinstance(f, BrokenRow)]
    return [f[1] for f in found if not isinstance(f, BrokenRow)]


@pytest.mark.parametrize(("name", "text"), TEXTS.items(), ids=TEXTS.keys())
@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstd)], ids=["plain", "gzip", "zstd"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_kind_of_file_holds_the_same_rows(
    tmp_path: Path, name: str, text: str, suffix: str, pack: Callable[[bytes], bytes], encoding: str
) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(pack(text.encode(encoding)))
    assert rows_of(path) == ROWS


def test_a_parquet_file_holds_them_too(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == ROWS


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "README.md").write_text("what this is", encoding="utf-8")
    (tmp_path / ".hidden.jsonl").write_text("no", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(LINES, encoding="utf-8")
    (tmp_path / "more" / "c.csv").write_text(table(","), encoding="utf-8")
    assert [part.name for part in parts_of(tmp_path)] == ["b.jsonl", "c.csv"]
    assert rows_of(tmp_path) == ROWS * 2


@pytest.mark.parametrize(
    ("name", "words"),
    [("rows.xlsx", "cannot read .xlsx"), ("rows.parquet.gz", "all but .parquet"), ("README.md", "no data file in")],
)
def test_a_folder_with_what_cannot_be_read_is_an_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=words):
        parts_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"text,label\na,b\n\xe4h,b\n", "byte 16, in line 3, is not UTF-8"),
        ("a.jsonl", "\ufeff{}".encode("utf-16-le") + b"\n", "is not UTF-16"),
        ("a.jsonl.gz", gzip.compress(LINES.encode() * 99)[:-9], "Truncated compressed stream"),
        ("a.jsonl.zst", b"no archive", "ZSTD decompress failed"),
    ],
    ids=["Latin-1", "torn UTF-16", "torn gzip", "no Zstandard"],
)
def test_what_is_no_text_is_one_clear_error(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        rows_of(tmp_path / name)
