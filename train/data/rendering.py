"""Renders conversations by a tokenizer's chat template as vLLM does; who needs a row as text or tokens asks here.

vLLM gives a template that knows no developer the developer's words as the system's, and then puts all that the system
says into one message at the beginning.
"""

from collections.abc import Sequence
from typing import Any

from driftwheel.conversations import Messages, Tool, to_render, tools_to_render


def as_text(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> str:
    """Return a conversation as text, with the special tokens that the template writes."""
    text: str = tokenizer.apply_chat_template(
        as_served(tokenizer, messages),
        tools=tools_to_render(tools),
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
    )
    return text


def as_ids(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> list[int]:
    """Return a conversation's token ids."""
    ids = tokenizer.apply_chat_template(
        as_served(tokenizer, messages),
        tools=tools_to_render(tools),
        add_generation_prompt=add_generation_prompt,
        return_dict=False,
    )
    return [int(number) for number in ids]


def token_counts(tokenizer: Any, conversations: Sequence[tuple[Messages, Sequence[Tool]]]) -> list[int]:
    """Return how many tokens each conversation has."""
    texts = [as_text(tokenizer, messages, tools) for messages, tools in conversations]
    # The chat template has written the special tokens already.
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []


def as_served(tokenizer: Any, messages: Messages) -> list[dict[str, object]]:
    """Return messages as vLLM gives them to the tokenizer's template."""
    turns = to_render(messages)
    template = str(tokenizer.chat_template)
    knows_developers = "'developer'" in template or '"developer"' in template
    if knows_developers or not any(turn["role"] == "developer" for turn in turns):
        return turns
    turns = [{**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in turns]
    told = [turn for turn in turns if turn["role"] == "system"]
    if told == turns[:1]:
        return turns
    whole = "\n\n".join(str(turn["content"]) for turn in told if turn["content"])
    return [{"role": "system", "content": whole}, *(turn for turn in turns if turn["role"] != "system")]
