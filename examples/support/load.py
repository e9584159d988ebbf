"""A load generator: send example messages through the official client, and keep and check what comes back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from openai import OpenAIError

from driftwheel.answers import label_of
from examples.support.world import Example, answer
from train.asking.own_client import client_of

MAX_TOKENS = 32
"""Longer than any right answer, so that a cut one is a fault."""


@dataclass(frozen=True)
class Reply:
    """One request as its client saw it."""

    example: Example
    started_at: float
    ended_at: float
    version_id: str
    request_id: str
    text: str
    error: str | None

    @property
    def is_correct(self) -> bool:
        """Whether the intent is right."""
        return self.error is None and label_of(self.text, "intent") == self.example.intent


@dataclass
class Client:
    """A user of the gateway: asks, half of the time streaming, and gives feedback."""

    url: str
    key: str
    model: str
    answer_of: Callable[[Example], str] = answer
    """What a person would say is the right answer to a message."""
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        # No retries: a request that fails once must be seen to fail.
        self._openai = client_of(self.url, self.key, timeout_seconds=120, max_retries=0)
        headers = {"authorization": f"Bearer {self.key}"}
        self._http = httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False)

    async def ask(self, example: Example, *, model: str | None = None, stream: bool = False) -> Reply:
        """Send one message and record the reply; a failure is recorded, not raised."""
        started_at, text, version_id, request_id, error = time.monotonic(), "", "", "", None
        finish_reason: str | None = None
        request = {
            "model": model or self.model,
            "messages": [{"role": "user", "content": example.text}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        try:
            raw = await self._openai.chat.completions.with_raw_response.create(**request, stream=stream)  # type: ignore[call-overload]
            version_id, request_id = raw.headers["x-driftwheel-version"], raw.headers["x-request-id"]
            body = raw.parse()
            if stream:
                async for chunk in body:
                    for choice in chunk.choices:
                        text += choice.delta.content or ""
                        finish_reason = choice.finish_reason or finish_reason
            else:
                text, finish_reason = body.choices[0].message.content or "", body.choices[0].finish_reason
            if finish_reason is None:
                error = "cut off: the answer has no finish reason"
        except (OpenAIError, httpx2.HTTPError, KeyError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        reply = Reply(example, started_at, time.monotonic(), version_id, request_id, text, error)
        self.replies.append(reply)
        return reply

    async def correct(self, reply: Reply) -> None:
        """Tell the gateway the whole right answer, as the person who handled the ticket would."""
        body = {"request_id": reply.request_id, "correction": self.answer_of(reply.example)}
        response = await self._http.post(f"{self.url}/v1/feedback", json=body)
        response.raise_for_status()

    async def send(
        self,
        examples: Sequence[Example],
        *,
        model: str | None = None,
        concurrency: int = 12,
        feedback_share: float = 0.0,
        seed: int = 0,
    ) -> list[Reply]:
        """Send messages as fast as `concurrency` allows; a share of the answered ones gets a correction.

        Asked by its version id as `model`, a version answers without its alias' traffic growing.
        """
        chance, todo, replies = random.Random(seed), list(reversed(examples)), []

        async def user() -> None:
            while todo:
                number = len(todo)
                reply = await self.ask(todo.pop(), model=model, stream=number % 2 == 0)
                replies.append(reply)
                if reply.error is None and chance.random() < feedback_share:
                    await self.correct(reply)

        await asyncio.gather(*(user() for _ in range(concurrency)))
        return replies

    @asynccontextmanager
    async def load(self, examples: Sequence[Example], *, per_second: float) -> AsyncIterator[list[Reply]]:
        """Keep starting requests at a fixed rate while the block runs, then wait for the last answers."""
        replies: list[Reply] = []
        tasks: set[asyncio.Task[None]] = set()

        async def one(number: int) -> None:
            replies.append(await self.ask(examples[number % len(examples)], stream=number % 2 == 0))

        async def pace() -> None:
            started_at, number = time.monotonic(), 0
            while True:
                task = asyncio.create_task(one(number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
                await asyncio.sleep(max(0.0, started_at + number / per_second - time.monotonic()))

        pacer = asyncio.create_task(pace())
        try:
            yield replies
        finally:
            pacer.cancel()
            await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()
        await self._http.aclose()


def accuracy(replies: Sequence[Reply]) -> float:
    """Return the share of replies with the right intent."""
    return sum(r.is_correct for r in replies) / max(1, len(replies))
