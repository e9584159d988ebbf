"""A drift check: turns the next full window into drift signals and a decision; `check` lists the steps in order.

python -m monitor check --config driftwheel.yaml
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
import structlog

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.control import controls
from driftwheel.errors import GateError, NotFoundError
from driftwheel.identity import new_id, utc_now
from driftwheel.records.bookkeeping import Window
from driftwheel.records.by_whom import Action, process
from driftwheel.records.check_details import DECIDING, ColumnDrift, DecisionBasis
from driftwheel.records.nouns import (
    Alias,
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    RetrainDecision,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.drift import KindJudgment
from monitor.engine_state import fails
from monitor.facts import gather_facts, trial_of
from monitor.features import FEATURES, Feature
from monitor.known_rows import keep_answered
from monitor.look import Look, next_look
from monitor.policy import decide
from monitor.signals import draw_report, drift_signals, engine_signal, judge_drift, over_in_a_row, quality_signal
from monitor.windows import close_window, pass_over

log = structlog.get_logger()


@dataclass(frozen=True)
class CheckResult:
    """What one check wrote."""

    signals: list[DriftSignal]
    decision: RetrainDecision


def check(settings: Settings, ledger: Ledger, features: Sequence[Feature] = FEATURES) -> CheckResult | None:
    """Examine the next full window of the live version's traffic, or return None if there is none yet.

    Window and reference -> input and output drift -> report -> quality -> engine -> signals -> decision, and the way
    back from a version that disappoints.
    """
    look = next_look(settings, ledger)
    if look is None:
        return None
    judged = judge_drift(look, features)
    return conclude(settings, ledger, look, judged, draw_report(look, judged, features))


def conclude(
    settings: Settings, ledger: Ledger, look: Look, judged: Sequence[KindJudgment], columns: dict[str, ColumnDrift]
) -> CheckResult:
    """Write window, signals and decision of a look down, and go back to the version before where that is decided."""
    signals = [*drift_signals(look, judged, columns), quality_signal(look), engine_signal(look)]
    alias = get_alias(ledger, *settings.alias_key)  # before the decision, which is void if the alias moves meanwhile
    decision, raised = _decide(settings, ledger, look, alias, signals), _raised(ledger, look, signals)
    # All or nothing, the way back included: after a crash at any point the next look cuts the same window again. Of two
    # monitors that look at once one fails here and leaves no trace.
    with ledger.write() as connection:
        window = _window(look, signals)
        close_window(ledger, connection, window, [row.id for row in look.sample.rows], signals)
        pass_over(connection, look.source, window)
        for signal in raised:
            _note_alarm(ledger, connection, signal)
        decision = _carry_out(ledger, connection, look, alias, decision)
    keep_answered(ledger, look.source, window, look.sample.answered)
    verdicts = {s.kind.value: s.verdict.value for s in signals if s.feature == DECIDING}
    log.info("checked", version=look.version.id, decision=decision.verdict, remedy=decision.remedy, **verdicts)
    return CheckResult(signals, decision)


def _raised(ledger: Ledger, look: Look, signals: Sequence[DriftSignal]) -> list[DriftSignal]:
    """Return the alarms that are new: no earlier window of the version was judged and found drifted right before.

    One that a person accepted as the new normal is over, and what rings after it is another one.
    """
    found = []
    for signal in signals:
        if signal.feature == DECIDING and signal.verdict is DriftVerdict.DRIFTED:
            is_judged = TABLES[DriftSignal].c.verdict != DriftVerdict.INSUFFICIENT
            last = ledger.find(
                DriftSignal,
                is_judged,
                limit=1,
                version_id=signal.version_id,
                kind=signal.kind.value,
                feature=DECIDING,
            )
            if not last or last[0].verdict is not DriftVerdict.DRIFTED or _was_accepted(ledger, look, last[0]):
                found.append(signal)
    return found


def _was_accepted(ledger: Ledger, look: Look, signal: DriftSignal) -> bool:
    windows = ledger.find(Window, id=signal.check_id) if look.accepted is not None else []
    return bool(windows) and look.was_accepted(signal.kind, windows[0].number)


def _note_alarm(ledger: Ledger, connection: sa.Connection, signal: DriftSignal) -> None:
    score = {"kind": signal.kind, "score": signal.score, "threshold": signal.threshold, "method": signal.method}
    after = score | {"version_id": signal.version_id, "check_id": signal.check_id}
    note_with(ledger, connection, process("monitor"), Action.ALARM, signal.project, signal.id, after=after)


def _window(look: Look, signals: Sequence[DriftSignal]) -> Window:
    return Window(
        id=look.check_id,
        project=look.project,
        version_id=look.version.id,
        number=look.number,
        rows=len(look.sample.rows),
        started_at=look.sample.started_at,
        ended_at=look.sample.ended_at,
        over_in_a_row=over_in_a_row(look, signals),
    )


def _decide(
    settings: Settings, ledger: Ledger, look: Look, alias: Alias, signals: Sequence[DriftSignal]
) -> RetrainDecision:
    decisive = {s.kind: s for s in signals if s.feature == DECIDING}
    drifted = frozenset(kind for kind, s in decisive.items() if s.verdict is DriftVerdict.DRIFTED)
    trial = trial_of(
        settings.monitor,
        settings.policy,
        ledger,
        alias,
        look.version,
        look.evidence.windows[-1],
        checks=look.number - 1,
        level=look.level,
        is_input_steady=decisive[DriftKind.INPUT].verdict in (DriftVerdict.STEADY, DriftVerdict.INSUFFICIENT),
    )
    quality = decisive[DriftKind.QUALITY]
    facts = gather_facts(ledger, settings.alias_key, look.version, drifted, quality, utc_now(), trial, settings.dataset)
    facts = replace(facts, is_engine_failing=fails(decisive[DriftKind.ENGINE].details.error_share))
    decision, at = decide(facts, settings.policy), utc_now()
    return RetrainDecision(
        id=new_id("decision", [look.check_id], at),
        project=look.project,
        created_at=at,
        verdict=decision.verdict,
        status=decision.status,
        trigger=decision.trigger,
        remedy=decision.remedy,
        reasons=decision.reasons,
        check_id=look.check_id,
        known=DecisionBasis(
            version_id=look.version.id,
            verdicts={kind.value: s.verdict.value for kind, s in decisive.items()},
            fresh_labels=facts.fresh_labels,
            refused_in_a_row=facts.refused_in_a_row,
            findings=[f for s in decisive.values() if s.details.diagnosis for f in s.details.diagnosis.findings],
        ),
    )


def _carry_out(
    ledger: Ledger, connection: sa.Connection, look: Look, alias: Alias, decision: RetrainDecision
) -> RetrainDecision:
    """Write a decision down, and go back to the version before where it says so."""
    if decision.remedy == "rollback":
        try:
            by = process("monitor", "; ".join(decision.reasons))
            controls.rollback_with(ledger, connection, alias, by=by)
        except (GateError, NotFoundError) as error:
            # Nothing was written for it yet, and the next look would meet it again: the window is closed, the decision
            # says what stood in the way.
            decision = replace(decision, error=str(error))
            log.warning("cannot roll back", version=look.version.id, error=str(error))
        else:
            _mark_rolled_back(ledger, connection, look, decision)
    return controls.record_with(ledger, connection, decision)


def _mark_rolled_back(ledger: Ledger, connection: sa.Connection, look: Look, decision: RetrainDecision) -> None:
    """Say so where the version came from."""
    made = ledger.find(
        RetrainDecision,
        project=look.project,
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.PROMOTED,
        version_id=look.version.id,
    )
    for retrain in made:
        ledger.change_with(connection, retrain, status=DecisionStatus.ROLLED_BACK, error="; ".join(decision.reasons))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Check the next full window and print the decision."""
    settings = settings_from(arguments)
    result = check(settings, open_ledger(settings))
    if result is None:
        sys.stderr.write(f"no full window of {settings.monitor.window_rows} requests to check yet\n")
        return
    print_record(result.decision, as_json=arguments.json)
