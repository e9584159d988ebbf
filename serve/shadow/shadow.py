"""Shadow traffic and replay: compares a candidate's answers with those that users got.

`driftwheel shadow VERSION` (serve/verbs/shadow.py) is the verb.
"""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import sqlalchemy as sa

from driftwheel.control.controls import SHADOW, set_shadow
from driftwheel.errors import ConflictError, EngineError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.nouns import Deployment, DeploymentStage, ModelVersion, Traffic
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.answer_form import label_field_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcome_query import is_answered
from driftwheel.traffic.outcomes import Outcome, outcome_of
from serve.engines.adapters import StartEngine
from serve.engines.engine import start_artifact
from serve.engines.launchers import launcher_for
from serve.engines.proof import prove
from serve.relaying.capture import AnswerCapture
from serve.shadow.flips import AnswerPair, Flips, count_flips
from serve.shadow.mirror import SHADOW_ALIAS, SHADOW_PREFIX

IN_FLIGHT = 8
POLL_SECONDS = 0.2
ID_CHUNK = 500  # older builds of SQLite take 999 parameters in a statement
STREAM_FIELDS = ("stream", "stream_options")


def replay(
    settings: Settings, ledger: Ledger, version: ModelVersion, count: int, start: StartEngine = start_artifact
) -> Flips:
    """Ask a version the last `count` answered requests of the alias and compare; starts an engine of its own.

    Raises NotFoundError without traffic, EngineError if the version does not start or fails its proof.
    """
    rows = [row for row in _answered(ledger, settings.alias_key, count) if row.version_id != version.id]
    if not rows:
        raise NotFoundError(f"alias {settings.serve.alias!r} has no answered requests of another version to replay")
    # Blue-green whatever the settings say: an engine of its own must not go by the live one's name, nor take its log.
    serve = settings.serve.model_copy(update={"swap": "blue_green"})
    launcher = launcher_for(serve, settings.logs, start)
    engine = launcher.launch(version, asyncio.run(launcher.places(version))[0])
    try:
        engine.wait_ready(settings.serve.start_timeout_seconds)
        asyncio.run(prove(settings.serve, version, engine))
        timeout_seconds = settings.serve.request_timeout_seconds
        with (
            httpx2.Client(base_url=engine.url, timeout=timeout_seconds, trust_env=False) as client,
            ThreadPoolExecutor(IN_FLIGHT) as pool,
        ):
            answers = list(pool.map(lambda row: _ask(client, engine.name, row), rows))
    finally:
        engine.stop()
    pairs = [AnswerPair(row.id, row.prompt, row.answer, answer) for row, answer in zip(rows, answers, strict=True)]
    return count_flips(pairs, label_field_of(settings.dataset, ledger, version.id))


def report(ledger: Ledger, key: AliasKey, version_id: str, *, label_field: str | None) -> Flips:
    """Compare what a shadow has answered so far with what was sent; raises NotFoundError without such answers."""
    alias = f"{key.name}{SHADOW_ALIAS}"
    shadows = ledger.find(Traffic, project=key.project, alias=alias, version_id=version_id)
    sent: dict[str, Traffic] = {}
    ids = [row.id.removeprefix(SHADOW_PREFIX) for row in shadows]
    for begin in range(0, len(ids), ID_CHUNK):
        sent |= {row.id: row for row in ledger.find(Traffic, id=ids[begin : begin + ID_CHUNK])}
    pairs = []
    for shadow, id in zip(shadows, ids, strict=True):
        if id in sent and outcome_of(sent[id]) is Outcome.ANSWERED:
            is_whole = outcome_of(shadow) is Outcome.ANSWERED
            pairs.append(AnswerPair(id, sent[id].prompt, sent[id].answer, shadow.answer if is_whole else None))
    if not pairs:
        raise NotFoundError(f"{version_id} has answered no copied requests yet; `driftwheel shadow {version_id}`")
    return count_flips(pairs, label_field)


def _answered(ledger: Ledger, key: AliasKey, count: int) -> list[Traffic]:
    columns = TABLES[Traffic].c
    is_whole = sa.and_(is_answered(), columns.request != "")
    return ledger.find(Traffic, is_whole, project=key.project, alias=key.name, limit=count)


def _ask(client: httpx2.Client, model: str, row: Traffic) -> str | None:
    """Ask one logged request again, whole instead of streamed; return None if there is no answer."""
    try:
        fields = {name: value for name, value in json.loads(row.request).items() if name not in STREAM_FIELDS}
        response = client.post(row.route, json={**fields, "model": model})
    except (ValueError, httpx2.HTTPError):
        return None
    capture = AnswerCapture()
    capture.read_json(response.content)
    return capture.logged if response.status_code == 200 else None


def begin(serve: ServeSettings, ledger: Ledger, project: str, version: ModelVersion) -> None:
    """Ask the gateway to copy requests to a version, and wait until it does; raises EngineError if it does not."""
    asked_at = utc_now()
    set_shadow(ledger, project, version.id)
    deadline = time.monotonic() + serve.start_timeout_seconds + serve.drain_timeout_seconds
    while time.monotonic() < deadline:
        rows = ledger.find(Deployment, project=project, version_id=version.id, stage=DeploymentStage.SHADOW.value)
        if any(row.created_at >= asked_at for row in rows):
            return
        if ledger.switch(project, SHADOW) != version.id:
            raise EngineError(f"the gateway does not shadow {version.id}; its log says why")
        time.sleep(POLL_SECONDS)
    raise EngineError(f"the gateway did not begin to shadow {version.id} in time; is `driftwheel serve` running?")


def stop(ledger: Ledger, version: ModelVersion) -> None:
    """Copy no more requests to a version; raises ConflictError if they are copied to another one."""
    shadowed = ledger.switch(version.project, SHADOW)
    if shadowed not in ("", version.id):
        raise ConflictError(
            f"requests are copied to {shadowed}, not to {version.id}; `driftwheel shadow {shadowed} --stop`"
        )
    set_shadow(ledger, version.project, "")
