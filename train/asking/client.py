"""An HTTP client for OpenAI-compatible endpoints, with many requests in flight.

The official client is used, greedily (temperature 0), so that what is scored is what a user would get.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from openai import APIError, AsyncOpenAI, BadRequestError

from driftwheel.errors import EngineError
from driftwheel.text.conversations import Message, Messages, Tool, ToolCall, said, text_of, to_send
from train.asking.own_client import client_of

Token = tuple[bytes, float]
"""A token's bytes and its log-probability in nats."""
Result = TypeVar("Result")
Entry = TypeVar("Entry")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model answers."""

    url: str
    """Base URL without `/v1`."""
    model: str
    api_key: str = "none"
    start_seconds: float | None = None
    """How long the engine took to start, where this process started it."""
    base_model: str | None = None
    """Where the model is an adapter: the name under which the engine answers without it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the endpoint said, or why it refused."""

    text: str
    latency_seconds: float
    """With the other requests in flight."""
    mean_logprob: float | None
    prompt_tokens: int
    completion_tokens: int = 0
    tokens: Sequence[Token] = ()
    """Empty where the endpoint gives no log-probabilities."""
    error: str | None = None
    is_cut: bool = False
    """It reached the most tokens that it was allowed."""
    prompt_ids: tuple[int, ...] = ()
    """The conversation as the endpoint renders it, where token ids were asked for."""
    answer_ids: tuple[int, ...] = ()


def ask_all(
    endpoint: Endpoint,
    conversations: Sequence[Messages],
    *,
    max_tokens: int,
    concurrency: int,
    timeout_seconds: float,
    on_done: Callable[[], None] = lambda: None,
    with_ids: bool = False,
    with_logprobs: bool = True,
    tools: Sequence[Sequence[Tool]] = (),
) -> list[Answer]:
    """Ask every conversation and return the answers in the same order; `with_ids` asks vLLM for token ids too.

    `tools` are each conversation's; an answer that calls some has the calls as its text's last line.
    Some endpoints refuse a request for log-probabilities; where nothing needs them, leave them out.

    A conversation that the endpoint refuses (400: too long, no chat template) gives an answer with `error`.
    Raises EngineError if the endpoint fails in any other way.
    """

    async def ask(client: AsyncOpenAI, question: tuple[Messages, Sequence[Tool]]) -> Answer:
        extension: dict[str, object] = {"return_token_ids": True} if with_ids else {}
        if with_logprobs:
            extension["logprobs"] = True
        messages, offered = question
        if offered:
            extension["tools"] = list(offered)
        return await _ask(client, endpoint.model, messages, max_tokens, extension)

    questions = list(zip(conversations, tools or [()] * len(conversations), strict=True))
    return asyncio.run(_each(endpoint, questions, ask, concurrency, timeout_seconds, on_done))


def reference_logprobs(
    endpoint: Endpoint,
    references: Sequence[tuple[Messages, str, int]],
    *,
    concurrency: int,
    timeout_seconds: float,
    on_done: Callable[[], None] = lambda: None,
) -> list[list[float]] | None:
    """Return, for each prompt with its reference answer, the log-probabilities of the answer's tokens in nats.

    A reference is messages, answer and the number of prompt tokens before the answer. vLLM's own
    `prompt_logprobs` gives them; None means that the endpoint does not know that extension. References that
    the endpoint refuses are left out.
    """

    async def read(client: AsyncOpenAI, reference: tuple[Messages, str, int]) -> list[float] | None:
        return await _read_reference(client, endpoint.model, reference)

    found = asyncio.run(_each(endpoint, references, read, concurrency, timeout_seconds, on_done))
    return None if any(tokens is None for tokens in found) else [tokens for tokens in found if tokens]


def token_logprobs(
    endpoint: Endpoint,
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    concurrency: int,
    timeout_seconds: float,
    on_done: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Return, for each prompt and answer in token ids, the log-probabilities of the answer's tokens in nats.

    Raises EngineError if the endpoint is not vLLM or refuses one.
    """

    async def read(client: AsyncOpenAI, sequence: tuple[Sequence[int], Sequence[int]]) -> list[float]:
        prompt_ids, answer_ids = sequence
        reply = await client.completions.create(
            model=endpoint.model,
            prompt=[*prompt_ids, *answer_ids],
            temperature=0,
            max_tokens=1,
            extra_body={"prompt_logprobs": 0},
        )
        entries: list[dict[str, dict[str, Any]]] = (reply.choices[0].model_extra or {}).get("prompt_logprobs") or []
        if len(entries) != len(prompt_ids) + len(answer_ids):
            raise EngineError(f"the engine at {endpoint.url} gives no log-probabilities of prompts; see its log")
        return [float(next(iter(entry.values()))["logprob"]) for entry in entries[len(prompt_ids) :]]

    return asyncio.run(_each(endpoint, sequences, read, concurrency, timeout_seconds, on_done))


async def _each(
    endpoint: Endpoint,
    entries: Sequence[Entry],
    work: Callable[[AsyncOpenAI, Entry], Awaitable[Result]],
    concurrency: int,
    timeout_seconds: float,
    on_done: Callable[[], None],
) -> list[Result]:
    slots = asyncio.Semaphore(concurrency)

    async def one(client: AsyncOpenAI, entry: Entry) -> Result:
        async with slots:
            result = await work(client, entry)
        on_done()
        return result

    async with client_of(endpoint.url, endpoint.api_key, timeout_seconds=timeout_seconds) as client:
        # The first failure ends all of them: a partly asked test set is not scored, and no request may outlive the
        # client.
        tasks = [asyncio.ensure_future(one(client, entry)) for entry in entries]
        try:
            return list(await asyncio.gather(*tasks))
        except APIError as error:
            raise EngineError(
                f"the engine at {endpoint.url} failed while {endpoint.model} was scored: {error}; see its log"
            ) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(
    client: AsyncOpenAI, model: str, messages: Messages, max_tokens: int, extension: dict[str, object]
) -> Answer:
    started_at = time.monotonic()
    conversation: Any = to_send(messages)
    try:
        reply = await client.chat.completions.create(
            model=model,
            messages=conversation,
            temperature=0,
            max_tokens=max_tokens,
            extra_body=extension,
        )
    except BadRequestError as error:
        spent = time.monotonic() - started_at
        return Answer(text="", latency_seconds=spent, mean_logprob=None, prompt_tokens=0, error=error.message)
    choice = reply.choices[0]
    tokens = (choice.logprobs.content if choice.logprobs else None) or []
    return Answer(
        text=_text(choice.message),
        latency_seconds=time.monotonic() - started_at,
        mean_logprob=sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
        prompt_tokens=reply.usage.prompt_tokens if reply.usage else 0,
        completion_tokens=reply.usage.completion_tokens if reply.usage else 0,
        is_cut=choice.finish_reason == "length",
        tokens=[(bytes(t.bytes) if t.bytes is not None else t.token.encode(), t.logprob) for t in tokens],
        prompt_ids=tuple((reply.model_extra or {}).get("prompt_token_ids") or ()),
        answer_ids=tuple((choice.model_extra or {}).get("token_ids") or ()),
    )


def _text(message: Any) -> str:
    """Return what an answer says, and its tool calls as its last line."""
    called = [call for call in message.tool_calls or [] if call.type == "function"]
    calls: list[ToolCall] = [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in called
    ]
    said: Message = {"role": "assistant", "content": message.content}
    return text_of({**said, "tool_calls": calls} if calls else said)


async def _read_reference(client: AsyncOpenAI, model: str, reference: tuple[Messages, str, int]) -> list[float] | None:
    messages, answer, prompt_tokens = reference
    conversation: Any = to_send([*messages, said("assistant", answer)])
    extension = {"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": True}
    try:
        reply = await client.chat.completions.create(
            model=model, messages=conversation, temperature=0, max_tokens=1, extra_body=extension
        )
    except BadRequestError:
        return []
    tokens: list[dict[str, dict[str, Any]] | None] | None = (reply.model_extra or {}).get("prompt_logprobs")
    if tokens is None:
        return None
    # With 0 alternatives each entry holds the prompt's own token and nothing else.
    return [float(next(iter(entry.values()))["logprob"]) for entry in tokens[prompt_tokens:] if entry]
