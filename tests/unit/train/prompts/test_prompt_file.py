from pathlib import Path

import pytest

from driftwheel.errors import DataError
from driftwheel.text.conversations import said
from train.prompts.prompt_file import Prompt, Shot, read_prompt, with_prompt

BOTH = Prompt(instructions="Be brief.", examples=(Shot(prompt="hi", completion="card"),))


def test_a_text_file_is_instructions_and_a_table_has_examples_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeff Be brief.\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("instructions: Be brief.\nexamples:\n- {prompt: hi, completion: card}\n")
    (tmp_path / "c.json").write_text('{"examples": [{"prompt": "hi", "completion": "card"}]}')
    assert read_prompt(tmp_path / "a.txt") == Prompt(instructions="Be brief.")
    assert read_prompt(tmp_path / "b.yaml") == BOTH
    assert read_prompt(tmp_path / "c.json") == Prompt(examples=BOTH.examples)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", " \n", "says nothing"),
        ("a.json", "{}", "says nothing"),
        ("a.json", "[1]", "is no prompt"),
        ("a.yaml", "instructions: [", "is no prompt"),
        ("a.yaml", "", "is no prompt"),
        ("a.yaml", "instructions: yes", "is no prompt"),
        ("a.json", '{"system": "Be brief."}', "has 'system', which is no part"),
        ("a.json", '{"examples": [{"prompt": "hi"}]}', "is no prompt"),
        ("a.json", '{"examples": [{"prompt": "hi", "completion": " "}]}', "example 1 lacks"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_file(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told) as raised:
        read_prompt(tmp_path / name)
    assert name in str(raised.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the prompt"):
        read_prompt(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="cannot read the prompt"):
        read_prompt(tmp_path / "a.txt")


def test_a_conversations_own_instructions_follow_the_prompts() -> None:
    asked, shown = [said("user", "my card")], [said("user", "hi"), said("assistant", "card")]
    assert with_prompt(BOTH, asked) == [said("system", "Be brief."), *shown, *asked]
    told = [said("developer", "In French."), *asked]
    assert with_prompt(BOTH, told) == [said("developer", "Be brief.\n\nIn French."), *shown, *asked]
    assert with_prompt(Prompt(examples=BOTH.examples), told) == [told[0], *shown, *asked]
    assert with_prompt(Prompt(), told) == told
