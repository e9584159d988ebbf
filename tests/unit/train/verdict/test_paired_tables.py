"""Items become tables: which slices there are, and whose answers they compare."""

from train.verdict.paired import Pairs
from train.verdict.paired_tables import Fixed, Item, count, groups

ITEMS = [
    Item("a", "new", True, ("label:hub", "length:short")),
    Item("b", "new", True, ("label:hub", "length:long")),
    Item("c", "old", True, ("label:card", "length:short")),
    Item("d", "old", False, ("label:card", "length:short")),
    Item("e", "old", True, ("label:hub", "length:long")),
]
LIVE = {"a": False, "b": True, "c": True, "d": True, "e": False}


def test_slices_are_cut_within_old_and_new_items() -> None:
    found = {name: "".join(item.id for item in items) for name, items in groups(ITEMS).items()}
    assert list(found)[:2] == ["new", "old"], "the target is the first"
    assert found == {
        "new": "ab",
        "old": "cde",
        "new length:long": "b",
        "new length:short": "a",
        "old label:card": "cd",
        "old label:hub": "e",
        "old length:long": "e",
        "old length:short": "cd",
    }, "a slice that is the whole part is none: new label:hub"


def test_without_new_items_all_are_the_target_and_slices_have_plain_names() -> None:
    old = [item for item in ITEMS if item.slice == "old"]
    assert list(groups(old)) == ["all", "label:card", "label:hub", "length:long", "length:short"]


def test_a_table_counts_who_was_right() -> None:
    tables = {t.pairs.slice: t for t in count(ITEMS, LIVE, [], [])}
    old = tables["old"].pairs
    assert isinstance(old, Pairs)
    assert (old.both, old.gained, old.lost, old.neither) == (1, 1, 1, 0)
    assert (tables["new"].role, tables["old"].role, tables["old label:card"].role) == ("target", "part", "slice")
    assert tables["old label:card"].noise == 2 / 3, "a small slice is as noisy as its part"


def test_contracts_are_named_plainly_or_by_part_and_replace_the_slice() -> None:
    tables = {t.pairs.slice: t for t in count(ITEMS, LIVE, ["label:hub", "old label:card", "label:none"], [])}
    assert [tables[n].role for n in ("label:hub", "old label:card", "label:none")] == ["contract"] * 3
    assert [tables[n].pairs.items for n in ("label:hub", "old label:card", "label:none")] == [3, 2, 0]
    assert [t.role for t in count(ITEMS, LIVE, ["old"], []) if t.pairs.slice == "old"] == ["part"]


def test_what_stays_fixed_is_compared_with_the_version_that_fixed_it() -> None:
    won = Fixed("new", 2, 0.5, {"c": True, "d": False, "gone": True})
    table = count(ITEMS, LIVE, [], [won])[-1]
    assert (table.pairs.slice, table.role, table.against, table.gain) == ("new of v2", "fixed", "v2", 0.5)
    assert (table.pairs.items, table.pairs.lost) == (2, 0), "the live version's answers play no part"
    assert table.noise == 2 / 3, "two items are as noisy as the old items are"
