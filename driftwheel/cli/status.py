"""Show one loop on one screen: what is live, what was measured last, what is going on.

driftwheel status
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import TypeVar

from driftwheel.alias_key import AliasKey
from driftwheel.check_details import DECIDING
from driftwheel.cli.command import add_common_arguments, opened, plain
from driftwheel.controls import is_paused
from driftwheel.records import (
    Alias,
    Dataset,
    DriftSignal,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.retention import pruned_rows, unchecked_rows

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
    signals: list[DriftSignal]
    decision: RetrainDecision | None
    is_paused: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print what is live and what is going on."""
    settings, ledger = opened(arguments)
    status = gather(ledger, settings.alias_key)
    sys.stdout.write((as_json(status) if arguments.json else as_text(status)) + "\n")


def gather(ledger: Ledger, key: AliasKey) -> Status:
    """Read the status of one project."""
    project, alias = key.project, find_alias(ledger, *key)
    last = _newest(ledger, DriftSignal, project)
    return Status(
        alias=alias,
        live=ledger.get(ModelVersion, alias.version_id) if alias else None,
        dataset=_newest(ledger, Dataset, project),
        run=_newest(ledger, TrainingRun, project),
        version=_newest(ledger, ModelVersion, project),
        requests=ledger.count(Traffic, project=project),
        labelled=ledger.count(Traffic, TABLES[Traffic].c.label.is_not(None), project=project),
        pruned=pruned_rows(ledger, project),
        pruned_unchecked=unchecked_rows(ledger, project),
        signals=ledger.find(DriftSignal, project=project, check_id=last.check_id, feature=DECIDING) if last else [],
        decision=_newest(ledger, RetrainDecision, project),
        is_paused=is_paused(ledger, project),
    )


def _newest(ledger: Ledger, noun: type[Noun], project: str) -> Noun | None:
    found = ledger.find(noun, project=project, limit=1)
    return found[0] if found else None


def as_json(status: Status) -> str:
    """Return the status as one JSON line."""
    return json.dumps(asdict(status), default=plain)


def as_text(status: Status) -> str:
    """Return the status as aligned lines."""
    version, decision = status.version, status.decision
    lines = _live_lines(status)
    lines += [
        (name, f"{record.id} ({record.status})" if record else "none")
        for name, record in (("dataset", status.dataset), ("run", status.run))
    ]
    lines.append(("version", f"v{version.number} {version.id} ({version.status})" if version else "none"))
    lines.append(("traffic", f"{status.requests} requests, {status.labelled} with a label"))
    if status.pruned:
        unchecked = f", {status.pruned_unchecked} of them before a drift check saw them" * bool(status.pruned_unchecked)
        lines.append(("pruned", f"{status.pruned} requests{unchecked}"))
    for signal in status.signals:
        numbers = f"score {signal.score:.3g} against {signal.threshold:.3g}, {signal.current_rows} rows"
        lines.append((f"{signal.kind} drift", f"{signal.verdict} ({numbers})"))
    if decision:
        lines.append(("decision", f"{decision.verdict}, {decision.status}: {'; '.join(decision.reasons)}"))
    lines.append(("retraining", "PAUSED" if status.is_paused else "on"))
    return "\n".join(f"{name:<14} {text}" for name, text in lines)


def _live_lines(status: Status) -> list[tuple[str, str]]:
    """Return what is live and what it scored, or what to do until something is."""
    alias, live = status.alias, status.live
    if alias is None or live is None:
        return [("live", f"nothing yet; next: {_next_step(status)}")]
    is_synced = alias.observed_version_id == alias.version_id and not alias.observed_error
    state = "serving" if is_synced else f"desired; the gateway serves {alias.observed_version_id or 'nothing'}"
    lines = [("live", f"{alias.name} -> v{live.number} {live.id} ({state})")]
    if alias.observed_error:
        lines.append(("error", alias.observed_error))
    accuracy = live.scorecard.accuracy
    if accuracy is not None:
        low_high = live.scorecard.intervals.get("accuracy")
        reach = f" [{low_high[0]:.1%}, {low_high[1]:.1%}]" if low_high else ""
        lines.append(("accuracy", f"{accuracy:.1%}{reach} when it was judged"))
    return lines


def _next_step(status: Status) -> str:
    """Return the command that brings the first version closer to its users."""
    version, run = status.version, status.run
    if version is not None and version.status is ModelVersionStatus.PUBLISHED:
        return f"driftwheel promote v{version.number}"
    was_judged = version is not None and run is not None and version.run_id == run.id
    if run is not None and run.status is TrainingRunStatus.SUCCEEDED and not was_judged:
        return "driftwheel publish"
    return "driftwheel train" if status.dataset is not None else "driftwheel data build"
