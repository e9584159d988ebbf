"""vLLM's own renderer gives the tokens that were learned from, by every template that ships inside TRL."""

import json
import os
import subprocess
import sys
from pathlib import Path

from driftwheel.errors import ConfigError
from driftwheel.settings.data import Base
from driftwheel.text.conversations import Message, Tool, ToolCall, said, to_send
from tests.support.shipped_templates import names, save_tokenizer
from train.base_model import load_base_tokenizer
from train.data.tokens.rendering import as_ids

ASKED, ANSWERED, AGAIN = said("user", "Where is it?"), said("assistant", "Lost."), said("user", "And my refund?")
CALL: ToolCall = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"card": 4}'}}
BROKEN: ToolCall = {"id": "c2", "type": "function", "function": {"name": "find", "arguments": "no object"}}
TOOL: Tool = {"type": "function", "function": {"name": "find", "description": "Find.", "parameters": {}}}
RESULT: Message = {"role": "tool", "content": "lost", "tool_call_id": "c1"}
SHAPES: dict[str, list[Message]] = {
    "one question": [ASKED],
    "system": [said("system", "You triage."), ASKED],
    "developer": [said("developer", "You triage."), ASKED],
    "developer in between": [said("system", "You triage."), ASKED, ANSWERED, said("developer", "Be brief."), AGAIN],
    "earlier turns": [ASKED, ANSWERED, AGAIN],
    "two questions": [ASKED, AGAIN],
    "tools": [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT],
    "tools and words": [
        ASKED,
        {"role": "assistant", "content": "Wait.", "tool_calls": [BROKEN]},
        RESULT,
        ANSWERED,
        AGAIN,
    ],
}


def test_vllm_renders_each_conversation_as_it_was_learned(tmp_path: Path) -> None:
    entries = []
    expected: list[list[int] | None] = []
    for name in names():
        base = Base(name=name, source=str(save_tokenizer(tmp_path / name / "base", name)))
        tokenizer = load_base_tokenizer(base)
        folder = tmp_path / name / "saved"
        tokenizer.save_pretrained(folder)
        for messages in SHAPES.values():
            tools = [TOOL] if any(m["role"] == "tool" for m in messages) else []
            entries.append({"folder": str(folder), "messages": to_send(messages), "tools": tools})
            try:
                expected.append(as_ids(tokenizer, messages, tools, add_generation_prompt=True))
            except ConfigError:
                expected.append(None)
    argv = [sys.executable, "-m", "tests.support.vllm_renderer"]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(argv, input=json.dumps(entries), stdout=subprocess.PIPE, text=True, check=True, env=offline)
    rendered = json.loads(done.stdout.splitlines()[-1])
    titles = [f"{name}: {shape}" for name in names() for shape in SHAPES]
    differing = [t for t, ids, learned in zip(titles, rendered, expected, strict=True) if ids != learned]
    assert differing == []
    assert sum(ids is not None for ids in rendered) > 0.8 * len(rendered)
