"""The ledger becomes one screen: what is live, what was measured last, what is going on."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from driftwheel import controls
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
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES


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
    signals: list[DriftSignal]
    decision: RetrainDecision | None
    is_paused: bool


def gather(settings: Settings, ledger: Ledger) -> Status:
    """Read the status of one project."""
    project = settings.project

    def newest(noun: Any) -> Any:
        found = ledger.find(noun, project=project, limit=1)
        return found[0] if found else None

    aliases = ledger.find(Alias, id=settings.serve.alias, project=project)
    alias = aliases[0] if aliases else None
    live = ledger.get(ModelVersion, alias.version_id) if alias else None
    last = newest(DriftSignal)
    signals = ledger.find(DriftSignal, project=project, check_id=last.check_id, feature="all") if last else []
    return Status(
        alias=alias,
        live=live,
        dataset=newest(Dataset),
        run=newest(TrainingRun),
        version=newest(ModelVersion),
        requests=ledger.count(Traffic, project=project),
        labelled=ledger.count(Traffic, TABLES[Traffic].c.label.is_not(None), project=project),
        signals=signals,
        decision=newest(RetrainDecision),
        is_paused=controls.is_paused(settings, ledger),
    )


def as_json(status: Status) -> str:
    """Return the status as one JSON line."""
    return json.dumps(asdict(status), default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v))


def _next_step(status: Status) -> str:
    """Return the command that brings the first version closer to its users."""
    version, run = status.version, status.run
    if version is not None and version.status is ModelVersionStatus.PUBLISHED:
        return f"driftwheel promote v{version.number}"
    was_judged = version is not None and run is not None and version.run_id == run.id
    if run is not None and run.status is TrainingRunStatus.SUCCEEDED and not was_judged:
        return "driftwheel publish"
    return "driftwheel train" if status.dataset is not None else "driftwheel data build"


def as_text(status: Status) -> str:
    """Return the status as aligned lines."""
    alias, live, decision = status.alias, status.live, status.decision
    lines: list[tuple[str, str]] = []
    if alias and live:
        is_synced = alias.observed_version_id == alias.version_id and not alias.observed_error
        state = "serving" if is_synced else f"desired; the gateway serves {alias.observed_version_id or 'nothing'}"
        lines.append(("live", f"{alias.id} -> v{live.number} {live.id} ({state})"))
        lines += [("error", alias.observed_error)] if alias.observed_error else []
        accuracy = live.scorecard.get("accuracy")
        low_high = (live.scorecard.get("intervals") or {}).get("accuracy")
        reach = f" [{low_high[0]:.1%}, {low_high[1]:.1%}]" if low_high else ""
        lines += [("accuracy", f"{accuracy:.1%}{reach} when it was judged")] if accuracy is not None else []
    else:
        lines.append(("live", f"nothing yet; next: {_next_step(status)}"))
    newest = {"dataset": status.dataset, "run": status.run}
    lines += [(name, f"{r.id} ({r.status})" if r else "none") for name, r in newest.items()]
    version = status.version
    lines.append(("version", f"v{version.number} {version.id} ({version.status})" if version else "none"))
    lines.append(("traffic", f"{status.requests} requests, {status.labelled} with a label"))
    for signal in status.signals:
        numbers = f"score {signal.score:.3g} against {signal.threshold:.3g}, {signal.current_rows} rows"
        lines.append((f"{signal.kind} drift", f"{signal.verdict} ({numbers})"))
    if decision:
        lines.append(("decision", f"{decision.verdict}, {decision.status}: {'; '.join(decision.reasons)}"))
    lines.append(("retraining", "PAUSED" if status.is_paused else "on"))
    return "\n".join(f"{name:<14} {text}" for name, text in lines)
