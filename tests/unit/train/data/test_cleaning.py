"""Markup and broken bytes go; what people and tasks mean stays."""

import pytest

from train.data.cleaning import clean_answer, clean_prompt, normalized


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("<p>Where is <b>my</b> parcel?</p>", "Where is my parcel?"),
        ("<script>alert(1)</script>hello", "hello"),
        ("<div>a &amp; b</div>", "a & b"),
        ("is a < b and c > d", "is a < b and c > d"),
        ("my <order id> is 7", "my <order id> is 7"),
        ("tab\x00\x07 here\u200b", "tab here"),
        ("cafe\u0301", "caf\u00e9"),
        ("schÃ¶n", "schön"),
        ("if a <b and c> d", "if a <b and c> d"),
        ("def f():\n    return  1", "def f():\n    return  1"),
        ('<a href="x">see</a>   this', "see this"),
        (" \t ", ""),
    ],
    ids=[
        "tags",
        "script",
        "entities",
        "comparison",
        "brackets",
        "control",
        "NFC",
        "mojibake",
        "close signs",
        "code",
        "link",
        "blank",
    ],
)
def test_prompts_are_cleaned(dirty: str, clean: str) -> None:
    assert clean_prompt(dirty) == clean


@pytest.mark.parametrize("answer", ['{"intent":"a<b>c"}', "<b>bold</b>", "x = a &lt; b", '{\n  "a": 1\n}'])
def test_answers_keep_their_markup(answer: str) -> None:
    assert clean_answer(answer) == answer


def test_case_width_and_spacing_do_not_make_a_new_prompt() -> None:
    assert normalized("  WHERE is\tmy \uff50arcel ") == normalized("where is my parcel")
