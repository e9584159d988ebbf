"""Measures engines side by side, in short rounds of changing order: tokens a second and per CPU second."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from openai import AsyncOpenAI

from driftwheel.settings.settings import Settings
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.asking.own_client import client_of

ANSWER_TOKENS = 64
STREAMS = (1, 8)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answers, and the processes that it is made of."""

    name: str
    endpoint: Endpoint
    child: psutil.Process

    def cpu_seconds(self) -> float:
        """Return user and system seconds of all its processes so far."""
        times = [process.cpu_times() for process in (self.child, *self.child.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))


@dataclass(frozen=True, kw_only=True)
class Round:
    """One engine's answers to the same prompts as every other's."""

    name: str
    streams: int
    tokens: int
    wall_seconds: float
    cpu_seconds: float


@contextmanager
def running(settings: Settings, name: str, artifact: Path, packages: Path | None = None) -> Iterator[Engine]:
    """Serve an artifact with vLLM; `packages` is a folder that goes before its Python's own."""
    before = set(psutil.Process().children())
    path = os.environ.get("PYTHONPATH", "")
    if packages:
        os.environ["PYTHONPATH"] = f"{packages}{os.pathsep}{path}"
    try:
        started = engine(settings, ["--artifact", str(artifact)])
        endpoint = started.__enter__()
    finally:
        os.environ["PYTHONPATH"] = path
    try:
        (child,) = set(psutil.Process().children()) - before
        yield Engine(name=name, endpoint=endpoint, child=child)
    finally:
        started.__exit__(None, None, None)


def measure_rounds(engines: Sequence[Engine], prompts: Sequence[Any], rounds: int, requests: int) -> list[Round]:
    """Ask every engine in turn, the first ones last in each second round; each stream asks `requests` times."""
    found = []
    chosen = iter(prompts)
    for streams in STREAMS:
        for number in range(-1, rounds):
            asked = [next(chosen) for _ in range(streams * requests)]
            order = engines if number % 2 == 0 else list(reversed(engines))
            results = [_ask(one, asked, streams) for one in order]
            found += results if number >= 0 else []  # the first answers wait for kernels to be built
    return found


def _ask(one: Engine, prompts: Sequence[Any], streams: int) -> Round:
    cpu_before, began_at = one.cpu_seconds(), time.monotonic()
    tokens = asyncio.run(_streams(one.endpoint, prompts, streams))
    wall_seconds = time.monotonic() - began_at
    return Round(
        name=one.name,
        streams=streams,
        tokens=tokens,
        wall_seconds=wall_seconds,
        cpu_seconds=one.cpu_seconds() - cpu_before,
    )


async def _streams(endpoint: Endpoint, prompts: Sequence[Any], streams: int) -> int:
    """Answer the prompts in so many streams, one after the other in each, and return the number of tokens."""

    async def stream(client: AsyncOpenAI, mine: Sequence[Any]) -> int:
        tokens = 0
        for messages in mine:
            reply = await client.chat.completions.create(
                model=endpoint.model,
                messages=messages,
                temperature=0,
                max_tokens=ANSWER_TOKENS,
                extra_body={"ignore_eos": True},
            )
            tokens += reply.usage.completion_tokens if reply.usage else 0
        return tokens

    async with client_of(endpoint.url, endpoint.api_key, timeout_seconds=300) as client:
        return sum(await asyncio.gather(*(stream(client, prompts[n::streams]) for n in range(streams))))


def speed(rounds: Sequence[Round], name: str, streams: int) -> dict[str, float]:
    """Return an engine's median tokens a second with the slowest and fastest round, and tokens per CPU second."""
    mine = [r for r in rounds if (r.name, r.streams) == (name, streams)]
    rates = [r.tokens / r.wall_seconds for r in mine]
    return {
        "median": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "per_cpu_second": statistics.median(r.tokens / r.cpu_seconds for r in mine),
    }


def times(rounds: Sequence[Round], name: str, base: str, streams: int) -> float:
    """Return how many times an engine's tokens a second are another's of the same rounds, at the median."""
    rates = {
        n: [r.tokens / r.wall_seconds for r in rounds if (r.name, r.streams) == (n, streams)] for n in (name, base)
    }
    return statistics.median(mine / other for mine, other in zip(rates[name], rates[base], strict=True))
