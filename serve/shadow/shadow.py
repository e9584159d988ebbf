"""Traffic becomes a candidate's answers that nobody is sent, and the share of them that differ from what was sent.

driftwheel shadow VERSION                copy live requests to it from now on, until --stop
driftwheel shadow VERSION --report       compare what it answered so far
driftwheel shadow VERSION --replay 500   ask it the last 500 logged requests, without a gateway
"""

import argparse
import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import httpx2

from driftwheel.cli.command import add_common_arguments, named_version, open_ledger, settings_from
from driftwheel.controls import SHADOW
from driftwheel.errors import EngineError, NotFoundError
from driftwheel.records import Deployment, ModelVersion, Stage, Traffic, utc_now
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from serve.engines.adapters import Adapters, StartEngine
from serve.engines.engine import start_artifact
from serve.engines.fleet import ServingEngine
from serve.engines.proof import prove
from serve.engines.remote import engines_of
from serve.relaying.capture import AnswerCapture
from serve.shadow.flips import AnswerPair, Flips, as_text, count_flips
from serve.shadow.mirror import SHADOW_ALIAS, SHADOW_PREFIX

IN_FLIGHT = 8
POLL_SECONDS = 0.2
ID_CHUNK = 500
STREAM_FIELDS = ("stream", "stream_options")


def replay(
    settings: Settings, ledger: Ledger, version: ModelVersion, count: int, start: StartEngine = start_artifact
) -> Flips:
    """Ask a version the last `count` answered requests of the alias and compare; starts an engine of its own.

    Raises NotFoundError without traffic, EngineError if the version does not start or fails its proof.
    """
    rows = [row for row in _answered(settings, ledger, count) if row.version_id != version.id]
    if not rows:
        raise NotFoundError(f"alias {settings.serve.alias!r} has no answered requests of another version to replay")
    if settings.serve.engines:
        engine: ServingEngine = asyncio.run(engines_of(settings.serve.engines, version.id))[0]
    else:
        engine = Adapters(start).start(settings, Path(version.path), version.id, 0)
    try:
        engine.wait_ready(settings.serve.start_timeout_seconds)
        asyncio.run(prove(settings, version, engine))
        timeout_seconds = settings.serve.request_timeout_seconds
        with (
            httpx2.Client(base_url=engine.url, timeout=timeout_seconds) as client,
            ThreadPoolExecutor(IN_FLIGHT) as pool,
        ):
            answers = list(pool.map(lambda row: _ask(client, engine.name, row), rows))
    finally:
        engine.stop()
    pairs = [AnswerPair(row.id, row.prompt, row.answer, answer) for row, answer in zip(rows, answers, strict=True)]
    return count_flips(pairs, settings.dataset.label_field)


def report(settings: Settings, ledger: Ledger, version_id: str) -> Flips:
    """Compare what a shadow has answered so far with what was sent; raises NotFoundError without such answers."""
    alias = f"{settings.serve.alias}{SHADOW_ALIAS}"
    shadows = ledger.find(Traffic, project=settings.project, alias=alias, version_id=version_id)
    sent: dict[str, Traffic] = {}
    ids = [row.id.removeprefix(SHADOW_PREFIX) for row in shadows]
    for begin in range(0, len(ids), ID_CHUNK):
        sent |= {row.id: row for row in ledger.find(Traffic, id=ids[begin : begin + ID_CHUNK])}
    pairs = []
    for shadow, id in zip(shadows, ids, strict=True):
        if id in sent and not sent[id].is_partial:
            is_whole = shadow.status_code == 200 and not shadow.is_partial
            pairs.append(AnswerPair(id, sent[id].prompt, sent[id].answer, shadow.answer if is_whole else None))
    if not pairs:
        raise NotFoundError(f"{version_id} has answered no copied requests yet; `driftwheel shadow {version_id}`")
    return count_flips(pairs, settings.dataset.label_field)


def _answered(settings: Settings, ledger: Ledger, count: int) -> list[Traffic]:
    columns = TABLES[Traffic].c
    return ledger.find(
        Traffic, columns.status_code == 200, columns.is_partial.is_(False), columns.request != "",
        project=settings.project, alias=settings.serve.alias, limit=count,
    )  # fmt: skip


def _ask(client: httpx2.Client, model: str, row: Traffic) -> str | None:
    """Ask one logged request again, whole instead of streamed; return None if there is no answer."""
    try:
        fields = {name: value for name, value in json.loads(row.request).items() if name not in STREAM_FIELDS}
        response = client.post(row.route, json={**fields, "model": model})
    except (ValueError, httpx2.HTTPError):
        return None
    capture = AnswerCapture()
    capture.read_json(response.content)
    return capture.answer if response.status_code == 200 else None


def _begin(settings: Settings, ledger: Ledger, version: ModelVersion) -> None:
    """Ask the gateway to copy requests to a version, and wait until it does; raises EngineError if it does not."""
    asked_at = utc_now()
    ledger.set_switch(settings.project, SHADOW, version.id)
    deadline = time.monotonic() + settings.serve.start_timeout_seconds + settings.serve.drain_timeout_seconds
    while time.monotonic() < deadline:
        rows = ledger.find(Deployment, project=settings.project, version_id=version.id, stage=Stage.SHADOW.value)
        if any(row.created_at >= asked_at for row in rows):
            return
        if ledger.switch(settings.project, SHADOW) != version.id:
            raise EngineError(f"the gateway does not shadow {version.id}; its log says why")
        time.sleep(POLL_SECONDS)
    raise EngineError(f"the gateway did not begin to shadow {version.id} in time; is `driftwheel serve` running?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("version", metavar="VERSION", help="its id, or its short name such as v3")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--replay", type=int, metavar="N", help="ask it the last N logged requests, now")
    what.add_argument("--report", action="store_true", help="compare what it has answered as a shadow")
    what.add_argument("--stop", action="store_true", help="copy no more requests")


def main(arguments: argparse.Namespace) -> None:
    """Shadow, report or replay, and print."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    version = named_version(settings, ledger, arguments.version)
    if arguments.stop:
        ledger.set_switch(settings.project, SHADOW, "")
        sys.stdout.write(f"no more requests are copied to {version.id}\n")
    elif arguments.replay or arguments.report:
        flips = replay(settings, ledger, version, arguments.replay) if arguments.replay else None
        flips = flips or report(settings, ledger, version.id)
        sys.stdout.write((json.dumps(asdict(flips)) if arguments.json else as_text(flips)) + "\n")
    else:
        _begin(settings, ledger, version)
        sys.stdout.write(f"live requests are copied to {version.id}; --report compares, --stop ends\n")
