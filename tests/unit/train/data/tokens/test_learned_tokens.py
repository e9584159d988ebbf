"""What is learned of a row is what an engine is asked for: each turn after the very tokens that ask for it."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from trl import SFTTrainer

from driftwheel.errors import ConfigError, DataError
from driftwheel.text.conversations import Message, said, to_render, tools_to_render
from tests.support.shipped_templates import make_tokenizer, names
from train.chat_template import shipped
from train.data.examples import Example
from train.data.tokens.learned_tokens import IGNORED, learned_sequences, learned_turns, training_rows
from train.data.tokens.rendering import as_ids
from train.data.tokens.row_view import in_template

CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call00000", "type": "function", "function": {"name": "rain", "arguments": '{"city": "Ulm"}'}}
    ],
}
TOLD = Example(
    "row",
    [
        said("user", "2+2"),
        {**said("assistant", "5"), "weight": 0},
        said("user", "Sure?"),
        said("assistant", "4"),
        said("user", "3+3"),
    ],
    [said("assistant", "6")],
    None,
    "g",
)
WITH_TOOLS = Example(
    "tools",
    [said("user", "Rain?"), CALL, {**said("tool", "yes"), "tool_call_id": "call00000"}],
    [said("assistant", "Take an umbrella.")],
    None,
    "g",
    tools=[{"type": "function", "function": {"name": "rain", "description": "d", "parameters": {"type": "object"}}}],
)


def quick(template: str) -> Any:
    return make_tokenizer(shipped(template).read_text("utf-8"))


@pytest.mark.parametrize("name", names())
def test_every_turn_is_learned_after_what_asks_for_it_whatever_the_template(name: str) -> None:
    tokenizer = quick(name)
    try:
        asked = [
            (as_ids(tokenizer, prompt, add_generation_prompt=True), as_ids(tokenizer, [*prompt, answer]))
            for prompt, answer in learned_turns(TOLD, "all")
        ]
    except ConfigError:  # a template for images; the trainer says the same
        with pytest.raises(ConfigError, match="the chat template refuses"):
            learned_sequences(tokenizer, TOLD, "all")
        return
    found = learned_sequences(tokenizer, TOLD, "all")
    whole_prompts = [(given, whole) for given, whole in asked if whole[: len(given)] == given]
    for given, whole in whole_prompts:
        labels = [*[None] * len(given), *whole[len(given) :]]
        assert any(
            s.ids[: len(whole)] == whole and all(w in (None, label) for w, label in zip(labels, s.labels, strict=False))
            for s in found
        )
    if len(whole_prompts) == len(asked):
        taught = sum(label != IGNORED for s in found for label in s.labels)
        assert taught == sum(len(whole) - len(given) for given, whole in asked), "and nothing else is learned"


def test_turns_share_a_sequence_where_the_template_lets_them_and_thoughts_part_them() -> None:
    plain = learned_sequences(quick("qwen2_5"), TOLD, "all")
    assert len(plain) == 1
    tokenizer = quick("qwen2_5")
    taught = [tokenizer.decode(ids) for ids, is_learned in plain[0].parts() if is_learned]
    assert taught == ["4<|im_end|>\n", "6<|im_end|>\n"]
    assert len(learned_sequences(quick("qwen3"), TOLD, "all")) == 2


def test_by_default_the_last_turn_alone_is_learned() -> None:
    shown = in_template(quick("qwen2_5"), TOLD)
    assert shown.learned == "6<|im_end|>\n"
    assert "5<|im_end|>" in shown.given
    assert in_template(quick("qwen2_5"), TOLD, "all").learned == "4<|im_end|>\n6<|im_end|>\n"


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_instruct_2507", "llama3_1", "lfm2", "glm4moe"])
def test_rows_with_tools_are_tokenized_as_by_trls_own_trainer(name: str) -> None:
    tokenizer = quick(name)
    datasets.disable_progress_bars()
    row = {
        "prompt": to_render(WITH_TOOLS.prompt),
        "completion": to_render(WITH_TOOLS.completion),
        "tools": json.dumps(tools_to_render(WITH_TOOLS.tools)),
    }
    off = {"dataset_num_proc": None, "assistant_only_loss": False, "max_length": None, "shuffle_dataset": False}
    arguments = SimpleNamespace(dataset_text_field="text", **off)
    trainer = SimpleNamespace(chat_template=None, completion_only_loss=True)
    # Messages of one row differ in their keys, which only a column of JSON keeps as they are.
    given = datasets.Dataset.from_list(
        [row],
        features=datasets.Features(
            {"prompt": datasets.Json(), "completion": datasets.Json(), "tools": datasets.Value("string")}
        ),
    )
    (made,) = SFTTrainer._prepare_dataset(trainer, given, tokenizer, arguments, False, None, "train")
    (own,) = learned_sequences(tokenizer, WITH_TOOLS, "last")
    assert (own.ids, own.labels) == (made["input_ids"], made["labels"])
    assert "rain" in tokenizer.decode(own.ids)


def test_a_call_is_learned_as_the_template_writes_calls() -> None:
    row = replace(WITH_TOOLS, prompt=WITH_TOOLS.prompt[:1], completion=[CALL])
    learned = in_template(quick("qwen2_5"), row).learned
    assert learned == '<tool_call>\n{"name": "rain", "arguments": {"city": "Ulm"}}\n</tool_call><|im_end|>\n'


def test_rows_that_would_be_cut_are_counted_and_the_first_is_named_with_the_length_to_set() -> None:
    tokenizer = quick("qwen2_5")
    long = replace(TOLD, id="long", prompt=[said("user", "x" * 300)])
    length = len(learned_sequences(tokenizer, long, "last")[0].ids)
    wanted = rf"1 rows of train.jsonl.*the first is long with {length}: set train.max_length to {length}"
    with pytest.raises(DataError, match=wanted):
        training_rows(tokenizer, [TOLD, long], "last", length - 1, "train.jsonl")
    assert len(training_rows(tokenizer, [TOLD, long], "last", length, "train.jsonl")) == 2
