"""A load generator: send a world's requests through the official client, and keep and grade what comes back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from openai import AsyncOpenAI, OpenAIError

from examples.support.demo_tasks import SUPPORT
from examples.support.task import Asked, Speaking, Task
from train.asking.own_client import client_of

SILENCE = Speaking()


@dataclass(frozen=True)
class Reply:
    """One request as its client saw it."""

    example: Asked
    started_at: float
    ended_at: float
    version_id: str
    request_id: str
    text: str
    error: str | None
    grade: float
    """How good the answer is, from 0 to 1; 0 without any."""
    key: str
    """Of who asked."""


@dataclass
class Client:
    """The users of the gateway: they ask, half of the time streaming, and give feedback."""

    url: str
    key: str
    """Of who handles the cases: it asks where there are no guests, and corrects."""
    model: str
    task: Task = SUPPORT
    guests: Sequence[str] = ()
    """Keys of those who ask and give thumbs."""
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clients = dict[str, AsyncOpenAI]()
        self._http = httpx2.AsyncClient(timeout=30, trust_env=False)

    async def ask(self, example: Asked, *, model: str | None = None, stream: bool = False, number: int = 0) -> Reply:
        """Send one request and record the reply; a failure is recorded, not raised. `number` chooses the guest."""
        key = self.guests[number % len(self.guests)] if self.guests and model is None else self.key
        started_at, text, version_id, request_id, error = time.monotonic(), "", "", "", None
        finish_reason: str | None = None
        request = {
            "model": model or self.model,
            "messages": [{"role": "user", "content": example.text}],
            "temperature": 0,
            "max_tokens": self.task.max_tokens,
        }
        try:
            raw = await self._client(key).chat.completions.with_raw_response.create(**request, stream=stream)  # type: ignore[call-overload]
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
        grade = 0.0 if error else self.task.grade_of(example, text)
        reply = Reply(example, started_at, time.monotonic(), version_id, request_id, text, error, grade, key)
        self.replies.append(reply)
        return reply

    def _client(self, key: str) -> AsyncOpenAI:
        """Return the key's own client, without retries: a request that fails once must be seen to fail."""
        if key not in self._clients:
            self._clients[key] = client_of(self.url, key, timeout_seconds=120, max_retries=0)
        return self._clients[key]

    async def say(self, reply: Reply, speaking: Speaking, chance: random.Random) -> None:
        """Tell the gateway what people say of an answer: the whole right one, or a guest's thumb."""
        if chance.random() < speaking.corrected_share:
            await self._feedback(self.key, reply, correction=self.task.answer_of(reply.example, reply.text))
        if chance.random() < speaking.thumbed_share:
            await self._feedback(reply.key, reply, thumb=1 if self.task.likes(reply.grade) else -1)

    async def _feedback(self, key: str, reply: Reply, **words: str | int) -> None:
        body = {"request_id": reply.request_id, **words}
        headers = {"authorization": f"Bearer {key}"}
        response = await self._http.post(f"{self.url}/v1/feedback", json=body, headers=headers)
        response.raise_for_status()

    async def send(
        self,
        examples: Sequence[Asked],
        *,
        model: str | None = None,
        concurrency: int = 12,
        speaking: Speaking = SILENCE,
        seed: int = 0,
    ) -> list[Reply]:
        """Send requests as fast as `concurrency` allows; of a share of the answered ones somebody says something.

        Asked by its version id as `model`, a version answers without its alias' traffic growing.
        """
        chance, todo, replies = random.Random(seed), list(reversed(examples)), []

        async def user() -> None:
            while todo:
                number = len(todo)
                reply = await self.ask(todo.pop(), model=model, stream=number % 2 == 0, number=number)
                replies.append(reply)
                if reply.error is None:
                    await self.say(reply, speaking, chance)

        await asyncio.gather(*(user() for _ in range(concurrency)))
        return replies

    @asynccontextmanager
    async def load(self, examples: Sequence[Asked], *, per_second: float) -> AsyncIterator[list[Reply]]:
        """Keep starting requests at a fixed rate while the block runs, then wait for the last answers."""
        replies: list[Reply] = []
        tasks: set[asyncio.Task[None]] = set()

        async def one(number: int) -> None:
            replies.append(await self.ask(examples[number % len(examples)], stream=number % 2 == 0, number=number))

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
        for client in self._clients.values():
            await client.close()
        await self._http.aclose()


def mean_grade(replies: Sequence[Reply]) -> float:
    """Return how good the replies are on average; where answers are right or wrong that is the share of right ones."""
    return sum(r.grade for r in replies) / max(1, len(replies))
