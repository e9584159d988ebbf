"""Seeded requests go through the gateway and directly to the same vLLM; what differs is counted.

    python -m tests.suites.differential [--count 10000] [--seed 4] [--plant NAME]

A small random model in float32, one request at a time and no prefix cache: then the engine answers the same request
with the same bytes, but for the tokens that it puts into one event when it is busy. Status, headers and body may differ
in nothing but the tables here. `--plant` breaks the gateway.
"""

import argparse
import http.client
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scipy.stats import beta

from driftwheel.settings.load import load_settings
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import unlabelled_text
from serve.engines.engine import start
from tests.support.differential_cases import Case, Kept, cases, kept
from tests.support.planted_bugs import PLANTS
from tests.support.served import KEY, SETTINGS, VERSION, gateway_before

CUT = b"<cut>"
TRIES = 10
TOOL_ARGS = ["--enable-auto-tool-choice", "--tool-call-parser=hermes"]
ENGINE_ARGS = ["--dtype=float32", "--no-enable-prefix-caching", *TOOL_ARGS]
IDS: dict[bytes, tuple[bytes, str]] = {
    rb'"(id|item_id|request_id)":"(chatcmpl|cmpl|resp|msg|rs|embd|call|chatcmpl-tool|fc)[-_][^"]*"': (
        rb'"\1":"\2"',
        "the engine makes ids, from x-request-id where there is one",
    ),
    rb'"(created|created_at|completed_at)":[0-9.]+': (rb'"\1":0', "when the engine was asked"),
}
"""What may differ in a body."""
ADDED = {
    "x-request-id": "the row's id, for feedback",
    "x-driftwheel-version": "which version answered",
    "connection": "said always, for old clients",
    "cache-control": "keeps caches from holding a stream",
}
LEFT_OUT = {
    "date": "it says nothing that x-request-id does not",
    "server": "strangers need not know",
    "content-length": "follows the ids' lengths",
    "vary": "vLLM lets web pages of any origin ask; nobody's page is to hold a key",
}
"""Headers that may differ."""


COMPLETION = b'data: {"id":"cmpl","object":"text_completion"'
_INDEX = re.compile(rb'"choices":\[\{"index":(\d+)')
"""The choices of one streamed completion come as they are ready, in no order; each one's events are in theirs."""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> bytes:
        """The body without what may differ."""
        body = self.body
        for pattern, (replacement, _) in IDS.items():
            body = re.sub(pattern, replacement, body)
        events = sorted(body.split(b"\n\n"), key=_choice)
        return b"\n\n".join(events) if COMPLETION in body else body


class Server:
    """A connection to the gateway or the engine."""

    def __init__(self, port: int, key: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})

    def ask(self, path: str, body: bytes | None) -> Answer:
        """Ask, by GET where there is no body; an answer that breaks off ends with CUT."""
        try:
            response = self._asked(path, body)
        except ConnectionError:  # the connection was idle for too long
            self._connection.close()
            response = self._asked(path, body)
        try:
            got = response.read()
        except http.client.IncompleteRead as error:
            got = error.partial + CUT
        return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, got)

    def _asked(self, path: str, body: bytes | None) -> http.client.HTTPResponse:
        self._connection.request("GET" if body is None else "POST", path, body, self._headers)
        return self._connection.getresponse()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _choice(event: bytes) -> int:
    """Return which choice an event belongs to; a large number if to none."""
    match = _INDEX.search(event)
    return int(match[1]) if match else 1 << 30


@dataclass
class Findings:
    """What came of the requests."""

    tried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    streams: int = 0
    asked_again: int = 0
    differing: list[str] = field(default_factory=list)
    kept_tried: int = 0
    kept_wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Say whether nothing differs but what may."""
        return not self.differing and not self.kept_wrong


def compare(gateway: Server, engine: Server, todo: Iterable[Case], model: str) -> Findings:
    """Ask both the same, one after the other; what differs is asked again, so often as TRIES says.

    A busy engine puts two tokens into one event, and its numbers depend on what it computes beside them. What a gateway
    changes, it changes each time.
    """
    found, began_at = Findings(), time.monotonic()
    for case in todo:
        difference, direct, again = _asked_until_equal(gateway, engine, case)
        found.asked_again += again
        found.tried[case.kind] += 1
        found.statuses[direct.status] += 1
        found.streams += direct.headers["content-type"].startswith("text/event-stream")
        if difference:
            found.differing.append(f"{case.kind} {case.body.decode()[:1500]}\n  {difference}")
    for exception in kept(model):
        found.kept_tried += 1
        if wrong := _misses(exception, gateway.ask(exception.path, exception.body)):
            found.kept_wrong.append(f"{exception.reason}: {wrong}")
    found.seconds = time.monotonic() - began_at
    return found


def _asked_until_equal(gateway: Server, engine: Server, case: Case) -> tuple[str, Answer, int]:
    """Return how all answers of the one differ from all of the other, one of the engine's, and how often it was again.

    One that is equal to any of the other side's is enough: the engine can say so, and the gateway passes it on.
    """
    directs: list[Answer] = []
    throughs: list[Answer] = []
    for number in range(TRIES):
        directs.append(engine.ask(case.path, case.body))
        throughs.append(gateway.ask(case.path, case.body))
        difference = _difference(directs[-1], throughs[-1])
        if not difference or any(not _difference(direct, through) for direct in directs for through in throughs):
            return "", directs[0], number
    return difference, directs[0], TRIES - 1


def _difference(direct: Answer, through: Answer) -> str:
    """Say how two answers differ; empty if they do not."""
    if direct.status != through.status:
        return f"status {direct.status} became {through.status}: {direct.body[:300]!r} {through.body[:300]!r}"
    if direct.plain != through.plain:
        pairs = zip(direct.plain, through.plain, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(direct.plain), len(through.plain)))
        begin = max(0, at - 200)
        return f"byte {at}: {direct.plain[begin : at + 200]!r} became {through.plain[begin : at + 200]!r}"
    theirs = {name: value for name, value in direct.headers.items() if name not in LEFT_OUT}
    ours = {name: value for name, value in through.headers.items() if name not in ADDED and name not in LEFT_OUT}
    return "" if theirs == ours else f"headers {theirs} became {ours}"


def _misses(exception: Kept, answer: Answer) -> str:
    """Say how the gateway's own answer differs from what it must be; a message that is None may say anything."""
    error = json.loads(answer.body).get("error", {})
    expected = {name: value for name, value in (exception.error or {}).items() if value is not None or name == "param"}
    got = {name: error.get(name) for name in expected}
    is_right = answer.status == exception.status and got == expected and set(error) == set(exception.error or {})
    return "" if is_right else f"{answer.status} {answer.body!r}"


def report(found: Findings, seed: int) -> str:
    """Say what was tried and what came of it."""
    tried, differing = sum(found.tried.values()), len(found.differing)
    bound = beta.ppf(0.95, differing + 1, max(1, tried - differing))
    lines = [
        f"seed {seed}, {tried} requests in {found.seconds:.0f} s, each asked twice: {dict(found.tried)}, "
        f"{found.streams} of them streamed; the engine answered {dict(sorted(found.statuses.items()))}",
        f"differing {differing} (95 % upper bound of the share {bound:.1e}); asked again, as the engine had cut "
        f"its stream into other events, {found.asked_again} times",
        f"answered by the gateway itself {found.kept_tried}, otherwise than listed {len(found.kept_wrong)}",
    ]
    return "\n".join([*lines, *found.differing[:5], *found.kept_wrong[:5]])


def build_model(folder: Path) -> Path:
    """Write a small untrained model with its tokenizer."""
    import torch

    torch.manual_seed(0)
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Run the requests and exit with 1 if one differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="requests (10000)")
    parser.add_argument("--seed", type=int, default=4, help="seed of the requests (4)")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="break the gateway so")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
        changes = {"enforce_eager": True, "max_model_len": 256, "engine_args": ENGINE_ARGS}
        settings = load_settings(folder / "driftwheel.yaml", environ={})
        settings = settings.model_copy(update={"serve": settings.serve.model_copy(update=changes)})
        engine = start(settings.serve, settings.logs, str(build_model(folder / "model")), VERSION)
        try:
            engine.wait_ready(settings.serve.start_timeout_seconds)
            with gateway_before(engine.port, folder, parsed.plant) as served:
                servers = Server(served.port, KEY), Server(engine.port)
                found = compare(*servers, cases(parsed.count, parsed.seed, VERSION), VERSION)
        finally:
            engine.stop()
    print(report(found, parsed.seed))
    raise SystemExit(0 if found.is_clean else 1)


if __name__ == "__main__":
    main()
