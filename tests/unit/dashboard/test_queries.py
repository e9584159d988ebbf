"""The ledger's records become the right lists, tiles and words."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard import queries

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-5, "5 s ahead of this clock"),
    ],
)
def test_age_is_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert queries.age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "7 s"), (65, "1 min 05 s"), (3600, "1 h 00 min"), (7505, "2 h 05 min")]
)
def test_a_span_is_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert queries.span(timedelta(seconds=seconds)) == text


def test_nested_values_get_dotted_names() -> None:
    values = {"seed": 0, "train": {"method": "lora", "class_weights": {}, "lora": {"r": 8}}, "sources": [{"a": 1}]}
    assert queries.flat(values) == {
        "seed": 0,
        "train.method": "lora",
        "train.class_weights": {},
        "train.lora.r": 8,
        "sources": [{"a": 1}],
    }
