"""Renders conversations by a tokenizer's chat template; whoever needs a row as text or tokens asks here.

An engine changes a conversation before it renders it, and what is learned must be what an engine reads: so the same is
done here (vllm/renderers/hf.py and chat_utils.py of vLLM 0.32, with contents given as text).
"""

from collections.abc import Sequence
from typing import Any, cast

from driftwheel.errors import ConfigError
from driftwheel.text.conversations import Messages, Tool, to_render, tools_to_render
from train.chat_template import RENDER_ERRORS

Rendered = dict[str, object]
"""A message as a template is given it."""
Calls = list[dict[str, dict[str, object]]]


def as_text(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> str:
    """Return a conversation as text, with the special tokens that the template writes.

    Raises ConfigError with the template's own words if it refuses the conversation.
    """
    try:
        text: str = tokenizer.apply_chat_template(
            as_an_engine(tokenizer.chat_template, messages),
            tools=tools_to_render(tools),
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except RENDER_ERRORS as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ConfigError(
            f"the chat template refuses a conversation of {roles}: {str(error) or type(error).__name__}"
        ) from error
    return text


def as_ids(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> list[int]:
    """Return a conversation's token ids; raises ConfigError if the template refuses it."""
    return ids_of(tokenizer, [as_text(tokenizer, messages, tools, add_generation_prompt=add_generation_prompt)])[0]


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of rendered texts."""
    # The chat template has written the special tokens already.
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def token_counts(tokenizer: Any, conversations: Sequence[tuple[Messages, Sequence[Tool]]]) -> list[int]:
    """Return how many tokens each conversation has; raises ConfigError if the template refuses one."""
    texts = [as_text(tokenizer, messages, tools) for messages, tools in conversations]
    return [len(ids) for ids in ids_of(tokenizer, texts)]


def as_an_engine(template: str, messages: Messages) -> list[Rendered]:
    """Return messages as vLLM hands them to a template.

    Nothing said is an empty text and not None, and arguments that are no JSON object are an empty one. A developer
    speaks as the system to a template that does not know the role, and then all that the system says stands in one
    message at the beginning.
    """
    given = [_filled(message) for message in to_render(messages)]
    if any(m["role"] == "developer" for m in given) and not any(f"{q}developer{q}" in template for q in "'\""):
        given = [{**m, "role": "system"} if m["role"] == "developer" else m for m in given]
        return _system_first(given)
    return given


def _filled(message: Rendered) -> Rendered:
    filled = {**message, "content": message["content"] or ""}
    if calls := message.get("tool_calls"):
        filled["tool_calls"] = [{**call, "function": _with_object(call["function"])} for call in cast(Calls, calls)]
    return filled


def _with_object(function: Rendered) -> Rendered:
    return function if isinstance(function["arguments"], dict) else {**function, "arguments": {}}


def _system_first(messages: list[Rendered]) -> list[Rendered]:
    places = [number for number, message in enumerate(messages) if message["role"] == "system"]
    if places == [0]:
        return messages
    said = "\n\n".join(str(messages[number]["content"]) for number in places if messages[number]["content"])
    return [{"role": "system", "content": said}, *(m for m in messages if m["role"] != "system")]
