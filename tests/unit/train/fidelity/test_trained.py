"""The tokens that a trainer learned from are held against those that the chat template renders."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from driftwheel.errors import ConfigError
from driftwheel.text.conversations import Message, said
from train.base_model import load_tokenizer
from train.data.examples import Example
from train.data.tokens.rendering import as_ids
from train.fidelity.trained import _compare_tokens

LIMIT = 60


@pytest.fixture
def rows(tmp_path: Path) -> list[list[Message]]:
    """Conversations as a validation split holds them; the second one's answer lies beyond the limit."""
    prompts = ["where is my card", "where is my card " * 20, "how do i log in"]
    asked = [[said("user", prompt)] for prompt in prompts]
    answers = [said("assistant", '{"intent":"card"}')]
    values = [Example(str(n), prompt, answers, "card", str(n)).as_line() for n, prompt in enumerate(asked)]
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, values)), encoding="utf-8")
    return [[*prompt, *answers] for prompt in asked]


def trainer(tokenizer: Any, learned: list[list[int]]) -> Any:
    dataset = datasets.Dataset.from_list([{"input_ids": ids[:LIMIT]} for ids in learned])
    return SimpleNamespace(processing_class=tokenizer, eval_dataset=dataset, args=SimpleNamespace(max_length=LIMIT))


def test_a_row_that_the_trainer_left_out_is_no_difference(tiny_base: Path, tmp_path: Path, rows: Any) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    first, long, last = (as_ids(tokenizer, row) for row in rows)
    assert len(first) <= LIMIT < len(long)
    _compare_tokens(trainer(tokenizer, [first, long, last]), tmp_path)
    _compare_tokens(trainer(tokenizer, [first, last]), tmp_path)


def test_other_tokens_than_the_template_renders_are_refused(tiny_base: Path, tmp_path: Path, rows: Any) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    first, long, last = (as_ids(tokenizer, row) for row in rows)
    for learned in ([[*first[:-2], 5], last], [last, first], [first, long, last, first], [first, [7, *last]]):
        with pytest.raises(ConfigError, match="otherwise than the chat template"):
            _compare_tokens(trainer(tokenizer, learned), tmp_path)
