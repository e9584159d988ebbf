"""Every line of JSON is a row or named, whatever signs and numbers it holds."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import BrokenRow
from train.reading.json_rows import json_rows
from train.reading.raw_rows import PlacedRow

LONG = "9" * 5000


def read(folder: Path, content: str | bytes) -> list[PlacedRow | BrokenRow]:
    path = folder / "a.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(json_rows(path))


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085", "\u001e", "\u000b", "\u000c", "\ufeff"], ids=ascii)
@pytest.mark.parametrize("escaped", [False, True])
def test_lines_end_at_line_feeds_alone(tmp_path: Path, sign: str, escaped: bool) -> None:
    rows = [{"prompt": f"first{sign}second {n}"} for n in range(3)]
    escaped = escaped or sign < " "  # JSON wants control characters escaped
    found = read(tmp_path, "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows))
    assert found == [(f"a.jsonl:{n}", row) for n, row in enumerate(rows, 1)]


def test_a_number_that_python_does_not_convert_stands_beside_others(tmp_path: Path) -> None:
    rows = read(tmp_path, f'{{"prompt": "a", "id": {LONG}, "n": 7}}\n{{"prompt": "b", "id": -{LONG}}}\n')
    first, second = (row[1] for row in rows if not isinstance(row, BrokenRow))
    assert first == {"prompt": "a", "id": LONG, "n": 7}
    assert second == {"prompt": "b", "id": "-" + LONG}


def test_what_is_no_object_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, '{"a": 1}\n[1, 2]\n{"a"\n\n' + "[" * 100_000 + "\n7\n")
    places = [f.place for f in found if isinstance(f, BrokenRow)]
    assert places == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:5", "a.jsonl:6"]
    assert len(found) == 5


def test_a_first_line_that_is_a_list_does_not_make_an_array_of_the_file(tmp_path: Path) -> None:
    first, second = read(tmp_path, '[1, 2]\n{"a": 1}\n')
    assert isinstance(first, BrokenRow)
    assert second == ("a.jsonl:2", {"a": 1})


def test_one_object_may_stand_on_several_lines(tmp_path: Path) -> None:
    assert read(tmp_path, '{\n  "a": 1\n}\n') == [("a.jsonl:1", {"a": 1})]


@pytest.mark.parametrize(
    ("text", "line"),
    [('[\n{"a": 1},\n{"a": 2}\n', 4), ('\n[{"a": 1},\n{"a" 2}]', 3), ('{\n"a": 1\n}\n{\n"a": 2\n}', 4)],
    ids=["not closed", "no colon", "two objects"],
)
def test_a_torn_array_is_an_error_that_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(DataError, match=f"a.jsonl:{line} is not JSON"):
        read(tmp_path, text)


@given(content=st.one_of(st.binary(), st.text('[]{}:,"\\ntrue1e9- \n').map(str.encode)))
def test_any_bytes_are_rows_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    try:
        found = read(tmp_path_factory.getbasetemp(), content)
    except DataError:
        return
    text = content.decode("utf-8-sig", "replace")
    if (
        text.strip()
        and not text.strip().startswith(("[", "{\n"))
        and not content.startswith((b"\xff\xfe", b"\xfe\xff"))
    ):
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert len(found) == sum(bool(line.strip()) for line in lines)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"prompt": "a", "completion": "b", "prompt": "c"}', "has the key 'prompt' twice"),
        ('{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "has the key 'content' twice"),
        (r'{"prompt": "a", "\ud83d": "b"}', r"has the key '\ud83d', which holds half of a surrogate pair"),
        (r'{"prompt": "a", "meta": {"\u0000": "b"}}', r"has the key '\x00', which holds"),
    ],
    ids=["column", "within a message", "half of a pair", "NUL"],
)
@pytest.mark.parametrize("is_array", [False, True], ids=["lines", "array"])
def test_keys_of_which_one_would_be_lost_break_their_row_alone(
    tmp_path: Path, row: str, reason: str, is_array: bool
) -> None:
    """The last of two values was learned, and nothing said so."""
    good = '{"prompt": "a", "completion": "b"}'
    found = read(tmp_path, f"[{good},\n{row},\n{good}]" if is_array else f"{good}\n{row}\n{good}\n")
    assert [isinstance(row, BrokenRow) for row in found] == [False, True, False]
    assert isinstance(found[1], BrokenRow)
    assert found[1].reason.startswith(reason)
