"""Rows of a test split get their slices."""

from train.data.examples import Example
from train.verdict.slices import name_slices


def row(
    name: str, text: str, label: str | None, source: str = "files", part: str = "old", time: str | None = None
) -> Example:
    return Example(name, [{"role": "user", "content": text}], [], label, name, source, part, time)


def test_a_row_belongs_to_its_label_its_third_of_the_lengths_and_its_source() -> None:
    rows = [row(str(n), "x" * n, "card" if n < 5 else "refund") for n in range(1, 8)]
    rows += [row("8", "x" * 8, "refund", "correction"), row("9", "x" * 9, None, "correction")]
    found = name_slices(rows)
    assert found["1"] == ("label:card", "length:short", "source:files")
    assert found["4"] == ("label:card", "length:middle", "source:files")
    assert found["8"] == ("label:refund", "length:long", "source:correction")
    assert found["9"] == ("length:long", "source:correction"), "no label"
    assert [sum(f"length:{name}" in names for names in found.values()) for name in ("short", "middle", "long")] == [
        3
    ] * 3


def test_a_slice_of_one_row_is_none() -> None:
    rows = [row(str(n), "hello", f"a text of its own {n}") for n in range(4)]
    assert set(name_slices(rows).values()) == {("length:long", "source:files")}, "equal lengths make one slice"
    assert name_slices([]) == {}


def test_the_newest_quarter_of_old_rows_and_of_new_ones_are_slices_of_their_own() -> None:
    days = [f"2026-{month:02}-{day:02}T00:00:00.000000+00:00" for month in (1, 6) for day in range(1, 13)]
    rows = [row(day, "hello", None, part="old" if day < "2026-03" else "new", time=day) for day in reversed(days)]
    found = name_slices([*rows, row("no time", "hello", None), row("no time either", "hello", None)])
    newest = [name for name, names in found.items() if "age:newest" in names]
    assert sorted(newest) == [*days[9:12], *days[21:]]
    assert {name for name, names in found.items() if "age:older" in names} == set(days) - set(newest)
    assert not any(name.startswith("age:") for name in found["no time"])
