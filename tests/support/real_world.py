"""A loop on real vLLM whose clients can tell by an answer which version gave it.

The answers of each version are taken from an engine of its own before there is a gateway: random models in float32
agree on nothing, not even on their first token.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from driftwheel.control import controls
from driftwheel.evidence import fingerprint
from driftwheel.records.nouns import Traffic
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import said
from serve.engines.adapters import Adapters, Slot
from serve.engines.engine import Engine, start_artifact
from tests.support.fake_world import ALIAS, KEY, World

QUESTIONS = ["where is my parcel", "i was charged twice", "please close my account", "the app does not start"]
PROBES = [[said("user", question)] for question in QUESTIONS]
ANSWER_TOKENS = 8
START_SECONDS = 240.0
NO_ANSWER = ""


@dataclass
class Streamed:
    """One streamed answer, as its client saw it."""

    asked_at: float
    question: str
    request_id: str = ""
    version_id: str = ""
    """What the gateway's header says."""
    models: set[str] = field(default_factory=set)
    """What the engine itself says in each event."""
    text: str = ""
    is_whole: bool = False
    first_token_at: float = 0.0
    ended_at: float = 0.0
    error: str = ""


@dataclass
class Known:
    """What a version answers when its engine is asked directly."""

    fingerprint: Fingerprint
    answers: dict[str, str]
    """Question to greedy answer."""


class RealWorld(World):
    """A loop whose gateway starts real engines."""

    known: dict[str, Known]

    def __post_init__(self) -> None:
        real = {
            "enforce_eager": True,
            "max_model_len": 256,
            "start_timeout_seconds": START_SECONDS,
            "drain_timeout_seconds": 30,
        }
        self.serve = real | self.serve
        super().__post_init__()
        self.known = {}

    def start(self, crash_at: str = "", plant: str = "") -> None:
        """Start the gateway process; it is the product's own, in which nothing is planted."""
        assert (crash_at, plant) == ("", "")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve", "gateway", "--config", str(self.config_path)],
                stdout=log,
                stderr=log,
                env={**os.environ, "DRIFTWHEEL_API_KEYS": KEY},
            )

    def start_settled(self) -> None:
        """Start the gateway process and wait for what is desired; leave no process behind where that never comes."""
        self.start()
        try:
            self.until(self.is_settled, START_SECONDS)
        except TimeoutError:
            self.stop()
            raise

    def publish_known(self, artifacts: dict[str, Path], known: dict[str, Known]) -> None:
        """Publish artifacts as the versions of their names, with what they are known to answer."""
        self.known |= known
        for id, path in artifacts.items():
            self.record(id, path, self.known[id].fingerprint)

    def swap(self, version_id: str) -> float:
        """Promote a version, wait until it is live, and return when the command was given."""
        began_at = time.monotonic()
        controls.promote(self.ledger, self.settings.alias_key, version_id)
        self.until(self.is_settled, START_SECONDS)
        return began_at

    def who_answered(self, answer: Streamed) -> str:
        """Return the one version that answers a question so, or nothing."""
        found = [id for id, known in self.known.items() if known.answers[answer.question] == answer.text]
        return found[0] if len(found) == 1 else NO_ANSWER

    async def stream(self, per_second: float, until: Callable[[], bool]) -> list[Streamed]:
        """Ask at a steady rate, each request in its own time, and read every stream to its end."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=120)
        headers = {"authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
            began_at, tasks = time.monotonic(), list[asyncio.Task[Streamed]]()
            while not until():
                tasks.append(asyncio.create_task(self._stream_one(session, QUESTIONS[len(tasks) % len(QUESTIONS)])))
                await asyncio.sleep(max(0.0, began_at + len(tasks) / per_second - time.monotonic()))
            return list(await asyncio.gather(*tasks))

    async def _stream_one(self, session: aiohttp.ClientSession, question: str) -> Streamed:
        answer = Streamed(time.monotonic(), question)
        body = request_body(ALIAS, question) | {"stream": True}
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                answer.request_id = response.headers.get("x-request-id", "")
                answer.version_id = response.headers.get("x-driftwheel-version", "")
                if response.status != 200:
                    answer.error = f"{response.status} {(await response.text())[:200]}"
                    return answer
                async for line in response.content:
                    read_event(answer, line)
        except (aiohttp.ClientError, TimeoutError) as error:
            answer.error = repr(error)
        answer.ended_at = time.monotonic()
        return answer

    def faults_of(self, answers: Iterable[Streamed]) -> list[str]:
        """Return what is wrong with answers: failed, cut off, by another version than said, or logged otherwise."""
        rows = {row.id: row for row in self.ledger.find(Traffic)}
        faults = []
        for answer in answers:
            maker, row = self.who_answered(answer), rows.get(answer.request_id)
            said = {model.partition("@")[0] for model in answer.models}
            if answer.error or not answer.is_whole:
                faults.append(f"failed or cut off: {answer.error or 'no [DONE]'}")
            elif maker != answer.version_id:
                faults.append(f"the header says {answer.version_id}, the answer is {maker or 'of no version'}")
            elif not said <= {maker, ALIAS}:
                faults.append(f"the engine says {said}, the answer is of {maker}")
            elif row is None or (row.version_id, row.answer, row.is_partial) != (maker, answer.text, False):
                faults.append(f"the row says {row and (row.version_id, row.answer)}, the answer is of {maker}")
        return faults


def request_body(model: str, question: str) -> dict[str, Any]:
    """Return a greedy request of a fixed length."""
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": ANSWER_TOKENS, "ignore_eos": True}


def read_event(answer: Streamed, line: bytes) -> None:
    """Take one line of a stream of events into an answer."""
    if line.strip() == b"data: [DONE]":
        answer.is_whole = True
    elif line.startswith(b"data: "):
        event = json.loads(line[6:])
        answer.models.add(event["model"])
        for choice in event["choices"]:
            content = choice["delta"].get("content") or ""
            if content and not answer.first_token_at:
                answer.first_token_at = time.monotonic()
            answer.text += content


def ask_directly(settings: Settings, artifacts: dict[str, Path]) -> dict[str, Known]:
    """Start engines on artifacts, one after the other, adapters of one base on one engine, and ask each."""
    adapters = Adapters(start_artifact)
    found: dict[str, Known] = {}
    slots: list[Slot] = []
    try:
        for id, path in artifacts.items():
            engine = adapters.start(settings.serve, settings.logs, path, id, 0)
            try:
                engine.wait_ready(START_SECONDS)
                found[id] = _ask_one(engine)
            finally:
                if isinstance(engine, Slot):
                    slots.append(engine)  # the last one that is stopped takes the engine along
                else:
                    engine.stop()
    finally:
        for slot in slots:
            slot.stop()
    return found


def _ask_one(engine: Engine | Slot) -> Known:
    taken = fingerprint.take(engine.url, engine.name, PROBES)
    if isinstance(engine, Slot):
        taken = replace(taken, base_probes=fingerprint.take(engine.url, engine.base_name, PROBES).probes)
    return Known(taken, {question: _answer(engine, question) for question in QUESTIONS})


def _answer(engine: Engine | Slot, question: str) -> str:
    body = json.dumps(request_body(engine.name, question)).encode()
    request = urllib.request.Request(f"{engine.url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])
