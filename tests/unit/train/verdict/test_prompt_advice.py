"""After a trial: a prompt that is surely better, a retrain, or both; and what the last retrain won."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from driftwheel.records.bookkeeping import Step
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, RetrainDecision
from driftwheel.records.scorecard import Scorecard
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_versions, published_version
from train.evaluation.prompt_trial import NO_PROMPT, Trial
from train.verdict.prompt_advice import PastRetrain, advice, newest_retrain


def trial(name: str, difference: float, low: float, tokens: float = 10.0) -> Trial:
    return Trial(
        prompt=name,
        criterion="chrf",
        scores=Scorecard(prompt_tokens_mean=tokens),
        difference=difference,
        interval=(low, 2 * difference - low),
    )


NONE = Trial(prompt=NO_PROMPT, criterion="chrf", scores=Scorecard(prompt_tokens_mean=10.0))
SURE, UNSURE = trial("short.txt", 0.1, 0.04, 25.0), trial("long.txt", 0.3, -0.1)


@pytest.mark.parametrize(
    ("trials", "gain", "says"),
    [
        pytest.param([NONE, UNSURE, SURE], None, "+15 tokens a request: publish it before a retrain.", id="a prompt"),
        pytest.param(
            [NONE, SURE], 0.05, "before a retrain. The newest retrain (v2) changed", id="as good as a retrain"
        ),
        pytest.param([NONE, SURE], 0.24, "publish it now, and retrain for more. The newest", id="a retrain wins more"),
        pytest.param([NONE, UNSURE], 0.24, "No prompt is surely better: retrain. The newest", id="only a retrain"),
        pytest.param([NONE, UNSURE], -0.01, "Label what is answered wrong before", id="neither"),
        pytest.param([NONE, Trial(prompt="p", criterion="chrf", note="too long")], None, "retrain.", id="not asked"),
    ],
)
def test_what_is_surely_better_is_advised(trials: list[Trial], gain: float | None, says: str) -> None:
    past = None if gain is None else PastRetrain(version=2, gain=gain, seconds=720)
    said = advice(trials, past)
    assert says in said
    assert (past is None) == ("12 minutes" not in said)


def test_the_newest_retrain_that_was_judged_is_told(ledger: Ledger) -> None:
    assert newest_retrain(ledger, "support") is None
    add_versions(ledger, "v1")
    ledger.add(published_version("v2", number=2, verdict=GateVerdict(verdict="PROMOTE", difference=0.24)))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = RetrainDecision(
        id="judged",
        project="support",
        created_at=at,
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.PROMOTED,
        trigger="policy",
        remedy="retrain",
        reasons=[],
        version_id="v2",
    )
    failed = replace(
        made, id="failed", created_at=at + timedelta(days=1), status=DecisionStatus.FAILED, version_id=None
    )
    for decision in (made, failed):
        ledger.add(decision)
    for name, minutes in (("dataset", 1), ("finetune", 9)):
        until = at + timedelta(minutes=minutes)
        ledger.add(
            Step(
                id=f"judged/{name}",
                project="support",
                decision_id="judged",
                name=name,
                status="done",
                created_at=at,
                finished_at=until,
            )
        )
    assert newest_retrain(ledger, "support") == PastRetrain(version=2, gain=0.24, seconds=600)
