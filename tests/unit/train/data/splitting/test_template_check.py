"""Each template that ships inside TRL gives a row alike to all who read it, or says which row it does not give."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from trl import SFTTrainer

from driftwheel.errors import DataError
from driftwheel.settings.data import Base
from driftwheel.text.conversations import Message, Messages, Tool, said
from tests.support.shipped_templates import make_tokenizer, names, save_tokenizer
from train.base_model import base_ends, load_base_tokenizer, load_tokenizer
from train.chat_template import name_end, shipped
from train.data.examples import Example
from train.data.splitting.template_check import Templated, faults, require_template, rows_of
from train.data.tokens.row_view import in_template
from train.fidelity.probing import make_probes

NO_LOSS = -100
ANSWER = '{"intent": "card"}'
QUESTION, ANSWERED, AGAIN = said("user", "Where is it?"), said("assistant", ANSWER), said("user", "And my refund?")
SHAPES: dict[str, list[Message]] = {
    "one question": [QUESTION],
    "system": [said("system", "You triage."), QUESTION],
    "developer": [said("developer", "You triage."), QUESTION],
    "two questions": [QUESTION, AGAIN],
    "earlier turns": [QUESTION, said("assistant", "Which card?"), AGAIN],
}
ALL = tuple(SHAPES)
THOUGHTS, HEADER = "the answer would be learned after another prompt", "before its answer"
TEXTLESS = "changes its answer"
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "cohere": (("two questions",), "must alternate"),
    "cohere2": (("two questions",), "must alternate"),
    "gemma": (("system", "developer", "two questions"), "System role not supported|must alternate"),
    "gemma3": (("two questions",), "must alternate"),
    "deepseek_r1_distill": (ALL, THOUGHTS),
    "deepseekv3": (ALL, THOUGHTS),
    "glm4moe": (ALL, "no token at which generation stops.*trl:glm4moe_training"),
    "gptoss": (ALL, HEADER),
    "muse_glimmer": (ALL, HEADER),
    "idefics3": (ALL, TEXTLESS),
    "smolvlm": (ALL, TEXTLESS),
    "llava_next": (ALL, "has no attribute 'text'"),
}
"""The shapes of conversations that a template does not give as they are, and what is said of them."""


def row(shape: str) -> Templated:
    return Templated(name=shape, prompt=SHAPES[shape], completion=[ANSWERED])


def by_trl(tokenizer: Any, rows: list[Templated]) -> list[tuple[list[int], list[int]]]:
    """Return token ids and labels as TRL's own trainer makes them of prompt and completion."""
    datasets.disable_progress_bars()
    off = {"dataset_num_proc": None, "assistant_only_loss": False, "max_length": None, "shuffle_dataset": False}
    arguments = SimpleNamespace(dataset_text_field="text", **off)
    trainer = SimpleNamespace(chat_template=None, completion_only_loss=True)
    given = datasets.Dataset.from_list([{"prompt": list(r.prompt), "completion": list(r.completion)} for r in rows])
    made = SFTTrainer._prepare_dataset(trainer, given, tokenizer, arguments, False, None, "train")
    return [(entry["input_ids"], entry["labels"]) for entry in made]


@pytest.mark.parametrize("name", names())
def test_all_who_read_a_row_read_the_same_tokens(name: str, tmp_path: Path) -> None:
    base = Base(name="base", source=str(save_tokenizer(tmp_path / "base", name)))
    tokenizer = load_base_tokenizer(base)
    ends = base_ends(base, tokenizer)
    shapes, reason = REFUSED.get(name, ((), ""))
    found = {fault.row: fault.reason for fault in faults(tokenizer, ends, map(row, SHAPES))}
    assert set(found) == set(shapes)
    for shape in shapes:
        with pytest.raises(DataError, match=rf"(?s)row {shape} cannot be learned: .*({reason})"):
            require_template(tokenizer, ends, [row(shape)])
    rows = [row(shape) for shape in SHAPES if shape not in shapes]
    if not rows:
        return
    tokenizer.save_pretrained(tmp_path / "merged")
    merged = load_tokenizer(str(tmp_path / "merged"))
    examples = [Example(r.name, list(r.prompt), list(r.completion), None, "g") for r in rows]
    probes = make_probes(merged, examples, 999, ends=ends)
    plain = [r for r in rows if r.name != "developer"]  # TRL is given what the trainer makes of a developer's message
    learned = dict(zip([r.name for r in plain], by_trl(tokenizer, plain), strict=True))
    for r, example, probe in zip(rows, examples, probes, strict=True):
        shown = in_template(tokenizer, example)
        assert tokenizer.decode(probe.prompt_ids) == shown.given
        assert shown.learned.startswith(tokenizer.decode(probe.reference_ids))
        assert probe.reference_ids[-1] in ends
        assert merged.decode(probe.reference_ids, skip_special_tokens=True).strip() == ANSWER, "what a client would get"
        if r.name in learned:
            ids, labels = learned[r.name]
            count = len(probe.prompt_ids)
            assert ids[:count] == probe.prompt_ids
            assert labels[:count] == [NO_LOSS] * count
            assert labels[count:] == ids[count:]
            assert ids[count : count + len(probe.reference_ids)] == probe.reference_ids


def reason_of(tokenizer: Any, prompt: Messages, answer: str) -> str:
    ends = frozenset({tokenizer.eos_token_id})
    templated = Templated(name="row", prompt=prompt, completion=[said("assistant", answer)])
    return next((fault.reason for fault in faults(tokenizer, ends, [templated])), "")


def quick(template: str, **options: Any) -> Any:
    tokenizer = make_tokenizer(shipped(template).read_text("utf-8"), **options)
    name_end(tokenizer, frozenset({tokenizer.eos_token_id}))
    return tokenizer


THINKING = "<think>\nIt is lost.\n</think>\n\ncard"


@pytest.mark.parametrize(
    ("template", "answer", "said_of_it"),
    [
        ("qwen3", "card", r"before its answer.*model\.template\.kwargs to \{enable_thinking: false\}"),
        ("qwen3", THINKING, ""),
        ("qwen3_5_think", "card", r"before its answer.*\{enable_thinking: false\}"),
        ("qwen2_5", "a <|im_end|> b", "holds a token at which generation stops"),
        ("qwen2_5", "card", ""),
        ("llama3", "  card\n", ""),
    ],
)
def test_what_stands_in_an_answer_decides(template: str, answer: str, said_of_it: str) -> None:
    found = reason_of(quick(template), [QUESTION], answer)
    assert re.search(said_of_it, found) if said_of_it else not found


def test_characters_that_join_over_the_border_are_found() -> None:
    """GPT-2's words cut two newlines before a letter into two tokens, and at the end of a text into one."""
    gpt2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    assert "join in one token" in reason_of(quick("llama3", words=gpt2), [QUESTION], "card")
    assert reason_of(quick("llama3"), [QUESTION], "card") == ""


LOSSY = (
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_message_that_the_template_leaves_out_is_named() -> None:
    tokenizer = make_tokenizer(LOSSY)
    name_end(tokenizer, frozenset({tokenizer.eos_token_id}))
    assert reason_of(tokenizer, [QUESTION], "card") == ""
    assert "leaves out or changes message 0 (system): 'You triage.'" in reason_of(tokenizer, SHAPES["system"], "card")


def test_thoughts_of_earlier_turns_may_be_left_out() -> None:
    prompt = [QUESTION, said("assistant", THINKING), AGAIN]
    assert reason_of(quick("qwen3_instruct_2507"), prompt, "card") == ""
    tokenizer = quick("qwen3")
    assert reason_of(tokenizer, prompt, THINKING) == ""


def test_tools_that_the_template_leaves_out_are_named() -> None:
    tool: Tool = {"type": "function", "function": {"name": "find_card", "description": "", "parameters": {}}}
    asking = Templated(name="row", prompt=[QUESTION], completion=[ANSWERED], tools=[tool])
    for template, is_given in (("qwen2_5", True), ("gemma3", False)):
        tokenizer = quick(template)
        found = [f.reason for f in faults(tokenizer, frozenset({tokenizer.eos_token_id}), [asking])]
        assert is_given == (not found)
        assert is_given or "leaves out the tool find_card" in found[0]


def test_preferences_are_checked_answer_by_answer(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        pair = {"prompt": [QUESTION], "chosen": [ANSWERED], "rejected": [said("assistant", "a <|im_end|> b")]}
        (tmp_path / f"dpo_{split}.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    tokenizer = quick("qwen2_5")
    found = list(faults(tokenizer, frozenset({tokenizer.eos_token_id}), rows_of(tmp_path, "dpo")))
    assert [fault.row for fault in found] == ["dpo_train.jsonl:1", "dpo_validation.jsonl:1"]
    assert "its answer holds a token" in found[0].reason
