"""JSON of others is a value or one kind of error, whatever its numbers and its depth."""

import math

import pytest

from driftwheel.foreign_json import NestingError, read_json

LONG = "9" * 5000


def test_an_integer_that_python_does_not_convert_becomes_its_digits() -> None:
    assert read_json(f'{{"a": [{LONG}, -{LONG}], "b": 12, "c": 1e3}}') == {"a": [LONG, f"-{LONG}"], "b": 12, "c": 1e3}


def test_what_is_no_number_to_the_standard_is_read() -> None:
    assert math.isnan(read_json("NaN"))
    assert read_json("[Infinity, 1e999]") == [math.inf, math.inf]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1} 2', f"[{LONG}", b"\xff", b'"\xe4"'])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


@pytest.mark.parametrize("begin", ["[", f"[{LONG},", '{"a":'])
def test_what_is_nested_too_deeply_is_said_so(begin: str) -> None:
    with pytest.raises(NestingError, match="too deeply"):
        read_json(begin * 100_000)
