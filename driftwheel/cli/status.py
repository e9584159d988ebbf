"""Show one loop on one screen: what is live, what was measured last, what is going on and why, and the next command.

driftwheel status
"""

import argparse
import http.client
import json
import sys
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from driftwheel.cli.command import add_common_arguments, opened, plain
from driftwheel.control.controls import is_paused
from driftwheel.control.gateway_reports import STALE_SECONDS
from driftwheel.control.retrain_limits import WAITING
from driftwheel.identity import utc_now
from driftwheel.inert_text import inert
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Step
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    Deployment,
    DeploymentStage,
    DriftKind,
    DriftSignal,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.records.scorecard import Scorecard, headline
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.new_normal import as_it_stands
from driftwheel.traffic.outcome_query import is_unwatched
from driftwheel.traffic.overdue_check import overdue_check
from driftwheel.traffic.retention import pruned_rows, unchecked_rows

ASKED_SECONDS = 2.0
"""A gateway answers this from memory."""
Noun = TypeVar("Noun", Dataset, DriftSignal, ModelVersion, RetrainDecision, TrainingRun)


@dataclass(frozen=True, kw_only=True)
class Status:
    """The newest record of each noun, and the switch."""

    alias: Alias | None
    live: ModelVersion | None
    dataset: Dataset | None
    run: TrainingRun | None
    version: ModelVersion | None
    requests: int
    labelled: int
    pruned: int
    """Requests that `traffic.keep_days` or `traffic.keep_mib` let go."""
    pruned_unchecked: int
    """Those of them that no drift check had seen."""
    canary: Deployment | None
    """A candidate that answers a share of the requests."""
    signals: list[DriftSignal]
    """Of the newest check, as they count now."""
    accepted: list[DriftKind]
    """The kinds whose drift somebody accepted since as the new normal: their scores are of before."""
    decision: RetrainDecision | None
    retrain: RetrainDecision | None
    """The newest decision to retrain; decisions to hold may have been made since."""
    step: Step | None
    """The newest step of that retrain."""
    is_paused: bool
    at: datetime
    gateway: str | None = None
    """What is wrong with the gateway on this machine, or with its engines; None where nothing is, or none was asked."""
    monitor: str | None = None
    """What waits for a check for too long; None where nothing does, or nobody looked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print what is live and what is going on."""
    settings, ledger = opened(arguments)
    status = gather(ledger, settings.alias_key)
    if status.alias is not None:
        answering = status.alias.observed_version_id or status.alias.version_id
        overdue = overdue_check(settings.monitor, ledger, settings.alias_key, version_id=answering, at=status.at)
        status = replace(status, gateway=ask_gateway(settings.serve, settings.logs), monitor=overdue)
    sys.stdout.write((as_json(status) if arguments.json else as_text(status)) + "\n")


def gather(ledger: Ledger, key: AliasKey) -> Status:
    """Read the status of one project."""
    project, alias = key.project, find_alias(ledger, *key)
    last = _newest(ledger, DriftSignal, project)
    said = ledger.find(DriftSignal, project=project, check_id=last.check_id, feature=DECIDING) if last else []
    signals = as_it_stands(ledger, said)
    retrains = ledger.find(RetrainDecision, project=project, verdict=DecisionVerdict.RETRAIN, limit=1)
    steps = ledger.find(Step, decision_id=retrains[0].id, limit=1) if retrains else []
    canaries = ledger.find(Deployment, project=project, alias=key.name, stage=DeploymentStage.CANARY, limit=1)
    return Status(
        alias=alias,
        canary=canaries[0] if canaries else None,
        live=ledger.get(ModelVersion, alias.version_id) if alias else None,
        dataset=_newest(ledger, Dataset, project),
        run=_newest(ledger, TrainingRun, project),
        version=_newest(ledger, ModelVersion, project),
        requests=ledger.count(Traffic, project=project),
        labelled=ledger.count(Traffic, TABLES[Traffic].c.label.is_not(None), ~is_unwatched(), project=project),
        pruned=pruned_rows(ledger, project),
        pruned_unchecked=unchecked_rows(ledger, project),
        signals=signals,
        accepted=[now.kind for now, then in zip(signals, said, strict=True) if now.verdict is not then.verdict],
        decision=_newest(ledger, RetrainDecision, project),
        retrain=retrains[0] if retrains else None,
        step=steps[0] if steps else None,
        is_paused=is_paused(ledger, project),
        at=utc_now(),
    )


def ask_gateway(serve: ServeSettings, logs: Path) -> str | None:
    """Ask the gateway whether an engine answers users, and return what is wrong, or None."""
    connection = http.client.HTTPConnection(serve.address, timeout=ASKED_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no gateway answers at http://{serve.address} ({error}); `driftwheel up` starts one"
    finally:
        connection.close()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return f"the gateway runs, but no engine answers; the newest of {logs}/engine-*.log says why"
    return None


def _newest(ledger: Ledger, noun: type[Noun], project: str) -> Noun | None:
    found = ledger.find(noun, project=project, limit=1)
    return found[0] if found else None


def as_json(status: Status) -> str:
    """Return the status as one JSON line."""
    return json.dumps(asdict(status), default=plain)


def as_text(status: Status) -> str:
    """Return the status as aligned lines."""
    lines = [*_live_lines(status), *_made_lines(status)]
    lines.append(("traffic", f"{status.requests} requests, {status.labelled} with a label"))
    if status.pruned:
        unchecked = f", {status.pruned_unchecked} of them before a drift check saw them" * bool(status.pruned_unchecked)
        lines.append(("pruned", f"{status.pruned} requests{unchecked}"))
    lines += _watched_lines(status)
    lines += _decision_lines(status)
    lines.append(("retraining", "PAUSED" if status.is_paused else "on"))
    if status.live is not None and (following := _following_step(status)):
        lines.append(("next", following))
    return "\n".join(f"{name:<14} {inert(text)}" for name, text in lines)


def _made_lines(status: Status) -> list[tuple[str, str]]:
    """Return what was made last, and why it failed or was refused."""
    run, version = status.run, status.version
    lines = [("dataset", f"{status.dataset.id} ({status.dataset.status})" if status.dataset else "none")]
    why = f": {run.error}" if run is not None and run.error else ""
    lines.append(("run", f"{run.id} ({run.status}{why})" if run else "none"))
    is_refused = version is not None and version.status is ModelVersionStatus.REJECTED
    why = f": {version.verdict.reason}" if version is not None and is_refused and version.verdict.reason else ""
    return [*lines, ("version", f"v{version.number} {version.id} ({version.status}{why})" if version else "none")]


def _watched_lines(status: Status) -> list[tuple[str, str]]:
    """Return what the newest check found; of a version that answers no more, with its name."""
    lines = [("monitor", status.monitor)] if status.monitor else []
    answering = (status.alias.observed_version_id or status.alias.version_id) if status.alias else None
    for signal in status.signals:
        numbers = f"score {signal.score:.3g} against {signal.threshold:.3g}, {signal.current_rows} rows"
        whose = "" if answering in (None, signal.version_id) else f" of {signal.version_id}, which answers no more"
        is_accepted = signal.kind in status.accepted
        verdict = "accepted as the new normal" if is_accepted else f"{signal.verdict}"
        lines.append((f"{signal.kind} drift", f"{verdict} ({'before that: ' * is_accepted}{numbers}{whose})"))
    return lines


def _decision_lines(status: Status) -> list[tuple[str, str]]:
    decision, retrain = status.decision, status.retrain
    lines = []
    if decision:
        said = f"{decision.verdict}, {decision.status}: {'; '.join(decision.reasons)}"
        why = f" ({decision.error})" if decision.error and decision.verdict is DecisionVerdict.HOLD else ""
        lines.append(("decision", f"{decision.id} {said}{why}"))
    if retrain:
        lines.append(("retrain", f"{retrain.id} {_how_far(status, retrain)}"))
    return lines


def _how_far(status: Status, retrain: RetrainDecision) -> str:
    """Return where a retrain stands, and why it stands there."""
    if retrain.status is DecisionStatus.AWAITING_APPROVAL:
        return "waits for a person"
    if retrain.status is DecisionStatus.AWAITING_PROMOTION:
        return f"has made {retrain.version_id}, which waits for a person to let it go live"
    if retrain.status is DecisionStatus.OPEN:
        return "waits, because retraining is paused" if status.is_paused else "waits for the worker"
    if retrain.status in (DecisionStatus.RUNNING, DecisionStatus.PROMOTING):
        at = f"at {status.step.name} since {status.step.created_at:%H:%M} UTC" if status.step else "has begun"
        return f"{at}, held by the pause" if status.is_paused else at
    return f"{retrain.status}: {retrain.error}" if retrain.error else f"{retrain.status}"


def _live_lines(status: Status) -> list[tuple[str, str]]:
    """Return what is live and what it scored, or what to do until something is."""
    alias, live = status.alias, status.live
    if alias is None or live is None:
        return [("live", f"nothing yet; next: {_next_step(status)}")]
    is_synced = alias.observed_version_id == alias.version_id and not alias.observed_error
    state = "serving" if is_synced else f"desired; the gateway serves {alias.observed_version_id or 'nothing'}"
    lines = [("live", f"{alias.name} -> v{live.number} {live.id} ({state})")]
    if (canary := status.canary) is not None:
        since = f"{canary.updated_at:%Y-%m-%d %H:%M} UTC"
        lines.append(("canary", f"{canary.version_id} answers {canary.share:.0%} of the requests since {since}"))
    if alias.observed_error:
        lines.append(("error", alias.observed_error))
    if status.gateway:
        lines.append(("gateway", status.gateway))
    if (judged := headline(live.scorecard)) is not None:
        reach = f" [{judged.reach.replace(' to ', ', ')}]" if judged.interval else ""
        lines.append((judged.name.partition(" ")[0], f"{judged.text}{reach} when it was judged{_by(live.scorecard)}"))
    return lines


def _by(card: Scorecard) -> str:
    return f", by {card.criterion}" if card.criterion else ""


def _next_step(status: Status) -> str:
    """Return the command that brings the first version closer to its users."""
    version, run = status.version, status.run
    if version is not None and version.status is ModelVersionStatus.PUBLISHED:
        return f"driftwheel promote v{version.number}"
    was_judged = version is not None and run is not None and version.run_id == run.id
    if run is not None and run.status is TrainingRunStatus.SUCCEEDED and not was_judged:
        return "driftwheel publish"
    return "driftwheel train" if status.dataset is not None else "driftwheel data build"


def _following_step(status: Status) -> str | None:
    """Return the command that a loop with a live version waits for; None where it turns by itself."""
    alias, live, version, run = status.alias, status.live, status.version, status.run
    reported_at = alias.observed_at if alias else None
    if reported_at is None:
        return "driftwheel up (no gateway has served it yet)"
    if (status.at - reported_at).total_seconds() > STALE_SECONDS:
        return f"driftwheel up (no gateway has reported since {reported_at:%Y-%m-%d %H:%M} UTC)"
    if status.is_paused:
        return "driftwheel resume"
    if status.retrain and status.retrain.status in WAITING:
        return f"driftwheel approve {status.retrain.id} (or refuse)"
    is_newer = version is not None and live is not None and version.number > live.number
    if version is not None and is_newer and version.status is ModelVersionStatus.PUBLISHED:
        return f"driftwheel promote v{version.number}"
    if run is not None and run.status is TrainingRunStatus.SUCCEEDED and (version is None or version.run_id != run.id):
        return "driftwheel publish" if live is None or live.run_id != run.id else None
    return None
