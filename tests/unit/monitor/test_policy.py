"""When to retrain, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, DriftKind
from driftwheel.settings.watching import PolicySettings
from monitor.policy import PolicyFacts, Trial, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = PolicySettings(approval="none", min_fresh_labels=100, cooldown_seconds=3600, max_retrains_per_day=2)
LOST = PolicyFacts(
    now=NOW, drifted=frozenset({DriftKind.QUALITY}), fresh_labels=500, quality_text="accuracy 40% on 100 rows"
)
DRIFT = replace(LOST, drifted=frozenset({DriftKind.INPUT}), quality_text="accuracy 93% on 100 rows")
HOUR = timedelta(hours=1)
TRIAL = Trial(
    previous_id="v1", is_worse=True, had_sound_engine=True, is_input_steady=True, text="accuracy 40% before 95%"
)
WORSE = replace(LOST, trial=TRIAL)
SLOW = replace(LOST, drifted=frozenset({DriftKind.ENGINE}), trial=replace(TRIAL, is_worse=False))

SLOWER = replace(LOST, drifted=LOST.drifted | {DriftKind.ENGINE}, is_engine_failing=False)


@pytest.mark.parametrize(
    ("facts", "changes", "remedy", "words"),
    [
        (LOST, {}, "retrain", "accuracy 40%"),
        (replace(LOST, drifted=LOST.drifted | DRIFT.drifted), {}, "retrain", "input drift"),
        (DRIFT, {}, "none", "no reason to retrain"),
        (replace(DRIFT, is_quality_known=False), {}, "label", "label some"),
        (replace(LOST, drifted=frozenset()), {}, "none", "no alarm"),
        (replace(LOST, drifted=LOST.drifted | {DriftKind.ENGINE}), {}, "engine", "does not help"),
        (SLOWER, {}, "retrain", "look at the engine"),
        (replace(SLOWER, is_quality_proved=False), {}, "engine", "does not help"),
        (replace(SLOWER, fresh_labels=99), {}, "label", "99 fresh"),
        (replace(LOST, fresh_labels=99), {}, "label", "99 fresh labelled rows, 100 needed"),
        (replace(LOST, is_paused=True), {}, "wait", "paused"),
        (replace(LOST, is_retraining=True), {}, "wait", "under way"),
        (replace(LOST, last_retrain_at=NOW - HOUR / 2), {}, "wait", "cool-down: 1800 s left"),
        (replace(LOST, last_retrain_at=NOW - 2 * HOUR), {}, "retrain", "fresh labelled rows"),
        (replace(LOST, last_retrain_at=NOW + timedelta(days=365)), {}, "retrain", "fresh labelled rows"),
        (replace(LOST, retrains_last_day=2), {}, "wait", "the budget is 2"),
        (replace(LOST, refused_in_a_row=2), {}, "wait", "a person must start the next"),
        (replace(DRIFT, last_retrain_at=NOW - 3 * HOUR), {"schedule_seconds": 7200}, "retrain", "more than 7200 s ago"),
        (replace(DRIFT, live_since=NOW - 3 * HOUR), {"schedule_seconds": 7200}, "retrain", "more than 7200 s ago"),
        (replace(DRIFT, last_retrain_at=NOW - HOUR), {"schedule_seconds": 7200}, "none", "no reason"),
        (replace(DRIFT, last_retrain_at=NOW + 900 * HOUR), {"schedule_seconds": 7200}, "retrain", "7200 s ago"),
        (replace(DRIFT, is_quality_suspected=True), {}, "none", "an alarm if the next windows say the same"),
        (replace(LOST, drifted=frozenset(), is_quality_suspected=True), {}, "none", "if the next windows"),
        (replace(LOST, is_quality_proved=False), {}, "label", "an estimate retrains nothing"),
        (WORSE, {}, "rollback", "accuracy 40% before 95%: back to v1"),
        (replace(WORSE, drifted=frozenset()), {}, "rollback", "back to v1"),
        (replace(WORSE, is_paused=True), {}, "rollback", "back to v1"),
        (replace(WORSE, trial=replace(TRIAL, is_input_steady=False)), {}, "retrain", "accuracy 40%"),
        (replace(WORSE, trial=replace(TRIAL, is_worse=False)), {}, "retrain", "accuracy 40%"),
        (SLOW, {}, "rollback", "since the swap: back to v1"),
        (replace(SLOW, trial=replace(TRIAL, is_worse=False, had_sound_engine=False)), {}, "engine", "does not help"),
    ],
    ids=[
        "quality lost",
        "quality lost with drift",
        "drift alone",
        "drift, quality unknown",
        "nothing",
        "engine fault",
        "quality lost behind a slow engine",
        "quality lost by an estimate behind a slow engine",
        "quality lost behind a slow engine, too few labels",
        "too few labels",
        "paused",
        "under way",
        "cool-down",
        "cool-down over",
        "clock set back a year",
        "daily budget",
        "breaker",
        "schedule",
        "first schedule",
        "schedule not due",
        "schedule after the clock was set back",
        "drift, quality suspected",
        "quality suspected",
        "quality lost by an estimate",
        "new version worse",
        "new version worse, no alarm yet",
        "new version worse while retraining is paused",
        "new version worse, but on another input",
        "new version no worse than the one before",
        "engine fault since the swap",
        "engine fault before the swap too",
    ],
)
def test_the_decision_and_its_reason(facts: PolicyFacts, changes: dict[str, float], remedy: str, words: str) -> None:
    decision = decide(facts, SETTINGS.model_copy(update=changes))
    assert decision.remedy == remedy
    assert words in "; ".join(decision.reasons)
    assert (decision.verdict is DecisionVerdict.RETRAIN) is (remedy == "retrain")
    assert decision.status is (DecisionStatus.OPEN if remedy == "retrain" else DecisionStatus.CLOSED)


def test_manual_approval_waits_for_a_person() -> None:
    decision = decide(LOST, SETTINGS.model_copy(update={"approval": "retrain"}))
    assert (decision.verdict, decision.status) == (DecisionVerdict.RETRAIN, DecisionStatus.AWAITING_APPROVAL)
