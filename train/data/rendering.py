"""Renders conversations by a tokenizer's chat template; whoever needs a row as text or tokens asks here."""

from collections.abc import Sequence
from typing import Any

from driftwheel.conversations import Messages, Tool, to_render


def as_text(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> str:
    """Return a conversation as text, with the special tokens that the template writes."""
    text: str = tokenizer.apply_chat_template(
        to_render(messages), tools=list(tools) or None, add_generation_prompt=add_generation_prompt, tokenize=False
    )
    return text


def as_ids(
    tokenizer: Any, messages: Messages, tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False
) -> list[int]:
    """Return a conversation's token ids."""
    ids = tokenizer.apply_chat_template(
        to_render(messages), tools=list(tools) or None, add_generation_prompt=add_generation_prompt, return_dict=False
    )
    return [int(number) for number in ids]


def token_counts(tokenizer: Any, conversations: Sequence[tuple[Messages, Sequence[Tool]]]) -> list[int]:
    """Return how many tokens each conversation has."""
    texts = [as_text(tokenizer, messages, tools) for messages, tools in conversations]
    # The chat template has written the special tokens already.
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
