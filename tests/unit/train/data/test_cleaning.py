"""Markup and broken bytes go; what people and tasks mean stays."""

import pytest

from driftwheel.settings.data import Cleaning
from train.data.cleaning import clean_answer, clean_prompt, folded, normalized


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
def test_tags_broken_encodings_and_controls_are_cleaned_out_of_a_prompt(dirty: str, clean: str) -> None:
    assert clean_prompt(dirty) == clean


@pytest.mark.parametrize("how", ["off", "unicode", "strip"])
def test_full_width_signs_and_code_of_other_scripts_stay_whatever_is_cleaned(how: Cleaning) -> None:
    text = "「こんにちは」、１２３円！？（ｶﾞｽ） 你好，世界。"
    assert clean_prompt(text, how) == text


@pytest.mark.parametrize(
    ("how", "clean"),
    [
        ("off", " <b>caf\u0065\u0301</b> schÃ¶n\x07 "),
        ("unicode", " <b>café</b> schön "),
        ("strip", "café schön"),
    ],
)
def test_each_choice_of_cleaning_changes_what_it_says(how: Cleaning, clean: str) -> None:
    assert clean_prompt(" <b>caf\u0065\u0301</b> schÃ¶n\x07 ", how) == clean


def test_an_answer_keeps_everything_but_the_space_around_it() -> None:
    answer = "    return ｘ  # “ﬁ” schÃ¶n\x07, 「好」！"
    assert clean_answer(f"\n{answer} \n") == answer


@pytest.mark.parametrize(
    ("a", "b"), [("2²", "22"), ("①", "1"), ("がき", "かき"), ("c++", "c"), ("3 + 5", "3 - 5"), ("दिन", "दान")]
)
def test_other_signs_are_another_text(a: str, b: str) -> None:
    assert normalized(a) != normalized(b)
    assert folded(a) != folded(b) or a in ("2²", "①"), "a raised 2 is a 2 for a reader in a hurry"


@pytest.mark.parametrize("answer", ['{"intent":"a<b>c"}', "<b>bold</b>", "x = a &lt; b", '{\n  "a": 1\n}'])
def test_answers_keep_their_markup(answer: str) -> None:
    assert clean_answer(answer) == answer


def test_case_width_and_spacing_do_not_make_a_new_prompt() -> None:
    assert normalized("  WHERE is\tmy \uff50arcel ") == normalized("where is my parcel")
