"""A table loses no row: what does not fit its header, or its quotes, is named."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from train.reading.csv_rows import csv_rows
from train.reading.raw_rows import PlacedRow


def read(folder: Path, text: str, name: str = "a.csv") -> list[PlacedRow | BrokenRow]:
    path = folder / name
    path.write_bytes(text.encode())
    return list(csv_rows(path))


def numbered(count: int) -> list[str]:
    return [f'"question {n}, please",intent_{n % 3}' for n in range(count)]


@pytest.mark.parametrize("line", [13, 2, 41], ids=["inside", "first row", "last row"])
def test_an_unclosed_quote_is_named_by_its_line(tmp_path: Path, line: int) -> None:
    lines = ["text,label", *numbered(40)]
    lines[line - 1] = lines[line - 1].replace('please"', "please")
    with pytest.raises(DataError, match=f"a.csv:{line} opens a quote that is not closed"):
        read(tmp_path, "\n".join(lines) + "\n")


@pytest.mark.parametrize("after", ["plain text,intent\n" * 3, 'plain text,intent\nyes,"no"\n', ""])
def test_an_unclosed_quote_is_named_whatever_follows(tmp_path: Path, after: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3 opens a quote"):
        read(tmp_path, f'text,label\n"two\nlines","open,intent\n{after}')


def test_what_stands_after_a_closing_quote_breaks_one_row(tmp_path: Path) -> None:
    first, broken, last = read(tmp_path, 'text,label\na,b\n"he said "no"",b\nc,d\n')
    assert isinstance(broken, BrokenRow)
    assert (broken.place, "text after a closing quote" in broken.reason) == ("a.csv:3", True)
    assert [first, last] == [("a.csv:2", {"text": "a", "label": "b"}), ("a.csv:4", {"text": "c", "label": "d"})]


def test_a_row_without_the_headers_columns_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, "text,label\na\na,b\na,b,c\n")
    assert [f.place if isinstance(f, BrokenRow) else None for f in found] == ["a.csv:2", None, "a.csv:4"]


def test_a_cell_may_be_longer_than_pythons_limit(tmp_path: Path) -> None:
    ((_, row),) = (f for f in read(tmp_path, f"text,label\n{'long ' * 100_000},b\n") if not isinstance(f, BrokenRow))
    assert len(row["text"]) == 500_000


def test_a_column_that_is_named_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names the column 'text' twice"):
        read(tmp_path, "text,label,text\na,b,c\n")


def test_a_header_of_broken_quotes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.csv:1 .* begins with the names of its columns"):
        read(tmp_path, '"te"xt,label\na,b\n')


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("text;label\nwo, ach wo;karte\nhier, da;karte\n", {"text": "wo, ach wo", "label": "karte"}),
        ("text,label\na;b,x\nc;d,x\n", {"text": "a;b", "label": "x"}),
        ("text\tlabel\na,b\tx\n", {"text": "a,b", "label": "x"}),
        ("text\nhello; you\n", {"text": "hello; you"}),
    ],
    ids=["semicolon", "comma", "tab", "one column"],
)
def test_the_delimiter_is_the_one_that_fits_the_header(tmp_path: Path, text: str, row: dict[str, str]) -> None:
    assert read(tmp_path, text)[0] == ("a.csv:2", row)


@given(
    rows=st.lists(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2), max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: Sequence[Sequence[str]], delimiter: str, quoting: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([["the text", "the label"], *rows])
    found = read(tmp_path_factory.getbasetemp(), text.getvalue())
    assert [f[1] if isinstance(f, tuple) else f for f in found] == [
        dict(zip(("the text", "the label"), row, strict=True)) for row in rows
    ]


@given(lines=st.lists(st.text('ab,;"\\ \t', max_size=12), max_size=12))
def test_every_line_of_any_text_is_a_row_or_named(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    written = [line for line in lines if line.strip('" ')]
    try:
        found = read(tmp_path_factory.getbasetemp(), "a,b\n" + "".join(line + "\n" for line in written))
    except DataError:
        pass
    else:
        several = sum(str(row[1].values()).count("\\n") for row in found if not isinstance(row, BrokenRow))
        assert len(found) + several == len(written)


@pytest.mark.parametrize(
    "text",
    [
        "prompt , completion\na,b\nc,d\n",
        "prompt,completion,,\na,b,,\nc,d,,\n",
        "prompt,completion\na,b,,\nc,d\n",
        'prompt,completion,,\na,b,,\n"c",d,,\n',
    ],
    ids=["spaces", "empty names", "empty cells", "quoted"],
)
def test_what_a_spreadsheet_adds_is_no_column(tmp_path: Path, text: str) -> None:
    """The column ` completion` was not found, and two empty names were one name twice."""
    rows = [dict(row[1]) for row in read(tmp_path, text) if not isinstance(row, BrokenRow)]
    held = [{name: cell for name, cell in row.items() if cell} for row in rows]
    assert held == [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]


def test_a_cell_without_a_column_is_not_lost(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "prompt,completion\na,b,c\n")
    assert isinstance(row, BrokenRow)
    assert read(tmp_path, "prompt,completion,\na,b,c\n") == [
        ("a.csv:2", {"prompt": "a", "completion": "b", "column 3": "c"})
    ]
    assert len(read(tmp_path, 'prompt,completion,\n"a\nb",c,\n')) == 1
