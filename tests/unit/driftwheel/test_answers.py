"""An answer's label is read whatever else stands in the answer."""

import pytest

from driftwheel.answers import label_of, parse_object

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ('{"intent": "card"}', "card"),
        ('{"intent": 3}', "3"),
        ('{"intent": true}', "true"),
        ('{"intent": 0.5}', "0.5"),
        (f'{{"intent": "card", "account": {LONG}}}', "card"),
        (f'{{"intent": {LONG}}}', LONG),
        ('{"intent": NaN}', None),
        ('{"intent": null}', None),
        ('{"intent": ["card"]}', None),
        ("card", None),
        (LONG, None),
    ],
)
def test_the_label_is_the_field_as_json_writes_it(answer: str, label: str | None) -> None:
    assert label_of(answer, "intent") == label


@pytest.mark.parametrize("answer", [LONG, f"[{LONG}]", "[" * 100_000, "7", ""])
def test_what_is_no_object_is_none(answer: str) -> None:
    assert parse_object(answer) is None
