"""When to retrain, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from driftwheel.config import PolicySettings
from driftwheel.records import DecisionStatus, DecisionVerdict, DriftKind
from monitor.policy import PolicyFacts, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = PolicySettings(approval="auto", min_fresh_labels=100, cooldown_seconds=3600, max_retrains_per_day=2)
LOST = PolicyFacts(
    now=NOW, drifted=frozenset({DriftKind.QUALITY}), fresh_labels=500, quality_text="accuracy 40% on 100 rows"
)
DRIFT = replace(LOST, drifted=frozenset({DriftKind.INPUT}), quality_text="accuracy 93% on 100 rows")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("facts", "changes", "remedy", "words"),
    [
        (LOST, {}, "retrain", "accuracy 40%"),
        (replace(LOST, drifted=LOST.drifted | DRIFT.drifted), {}, "retrain", "input drift"),
        (DRIFT, {}, "none", "no reason to retrain"),
        (replace(DRIFT, is_quality_known=False), {}, "label", "label some"),
        (replace(LOST, drifted=frozenset()), {}, "none", "no alarm"),
        (replace(LOST, drifted=LOST.drifted | {DriftKind.ENGINE}), {}, "engine", "does not help"),
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
    ],
    ids=[
        "quality lost", "quality lost with drift", "drift alone", "drift, quality unknown", "nothing", "engine fault",
        "too few labels", "paused", "under way", "cool-down", "cool-down over", "clock set back a year", "daily budget",
        "breaker", "schedule", "first schedule", "schedule not due",
        "schedule after the clock was set back",
    ],
)  # fmt: skip
def test_the_decision_and_its_reason(facts: PolicyFacts, changes: dict[str, float], remedy: str, words: str) -> None:
    decision = decide(facts, SETTINGS.model_copy(update=changes))
    assert decision.remedy == remedy
    assert words in "; ".join(decision.reasons)
    assert (decision.verdict is DecisionVerdict.RETRAIN) is (remedy == "retrain")
    assert decision.status is (DecisionStatus.OPEN if remedy == "retrain" else DecisionStatus.CLOSED)


def test_manual_approval_waits_for_a_person() -> None:
    decision = decide(LOST, SETTINGS.model_copy(update={"approval": "manual"}))
    assert (decision.verdict, decision.status) == (DecisionVerdict.RETRAIN, DecisionStatus.AWAITING_APPROVAL)
