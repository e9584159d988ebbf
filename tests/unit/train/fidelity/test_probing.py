"""A model in memory ends its answers where an engine does: at every token that the generation defaults name."""

from pathlib import Path
from typing import Any

import pytest

from driftwheel.text.conversations import said
from train.base_model import end_ids, load_tokenizer, load_weights
from train.data.examples import Example
from train.fidelity.probing import Reading, make_probes, read_model

MOST = 12


@pytest.fixture
def rows() -> list[Example]:
    return [
        Example(str(n), [said("user", f"good morning {n}")], [said("assistant", "morning!")], None, group=str(n))
        for n in range(3)
    ]


def read(model: Any, tokenizer: Any, rows: list[Example]) -> list[Reading]:
    probes = make_probes(tokenizer, rows, MOST, ends=end_ids(tokenizer, model.generation_config))
    return read_model(model, tokenizer, probes, MOST, label_field=None, is_autocast=False)


def test_an_answer_ends_at_each_token_that_the_generation_defaults_name(tiny_base: Path, rows: list[Example]) -> None:
    tokenizer, model = load_tokenizer(str(tiny_base)), load_weights(str(tiny_base), "float32")
    whole = [reading.answer_ids for reading in read(model, tokenizer, rows)]
    assert all(len(ids) == MOST for ids in whole)  # a model of random weights goes on and on
    second = whole[0][4]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, second]
    for ids, reading in zip(whole, read(model, tokenizer, rows), strict=True):
        expected = ids[: ids.index(second) + 1] if second in ids else ids
        assert reading.answer_ids == expected


def test_a_reference_ends_at_a_token_that_only_the_generation_defaults_name(
    tiny_base: Path, rows: list[Example]
) -> None:
    """As Gemma's do: its turn ends at `<end_of_turn>`, its tokenizer's end is `<eos>`."""
    tokenizer = load_tokenizer(str(tiny_base))
    (end,) = tokenizer("!", add_special_tokens=False)["input_ids"]
    (probe, *_) = make_probes(tokenizer, rows, MOST, ends={end})
    assert tokenizer.decode(probe.reference_ids) == "morning!"
    (probe, *_) = make_probes(tokenizer, rows, MOST)
    assert tokenizer.decode(probe.reference_ids) == "morning!<|im_end|>"
