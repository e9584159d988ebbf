"""Renders conversations as vLLM's server does, without an engine: JSON on standard input, token ids on standard output.

    python -m tests.support.vllm_renderer < conversations.json

Each entry of the list names a folder with a tokenizer, and holds messages and tools; what is refused gives None.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

from transformers import AutoTokenizer
from vllm.exceptions import VLLMValidationError
from vllm.renderers.chat_utils import parse_chat_messages
from vllm.renderers.hf import safe_apply_chat_template


def render(tokenizer: Any, folder: str, messages: Any, tools: Any) -> list[int] | None:
    """Return the prompt's token ids, or None where the template refuses the conversation."""
    # What vLLM reads of a model's configuration on this way; a real one would want weights.
    model = SimpleNamespace(
        multimodal_config=None,
        enable_prompt_embeds=False,
        is_multimodal_model=False,
        model=folder,
        tokenizer=folder,
        tokenizer_revision=None,
        code_revision=None,
        trust_remote_code=False,
        hf_config=SimpleNamespace(model_type="qwen3"),
    )
    conversation, _, _ = parse_chat_messages(messages, model, "string")
    try:
        return list(
            safe_apply_chat_template(
                model, tokenizer, conversation, tools=tools or None, tokenize=True, add_generation_prompt=True
            )
        )
    except VLLMValidationError:
        return None


def main() -> None:
    """Render every entry."""
    tokenizers: dict[str, Any] = {}
    found = []
    for entry in json.load(sys.stdin):
        folder = entry["folder"]
        tokenizer = tokenizers.get(folder) or tokenizers.setdefault(folder, AutoTokenizer.from_pretrained(folder))
        found.append(render(tokenizer, folder, entry["messages"], entry["tools"]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
