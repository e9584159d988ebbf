"""What is live is said with what it scored, and how sure that is."""

import json
import re
import threading
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftwheel.cli.command import named_version
from driftwheel.cli.status import as_json, as_text, ask_gateway, gather
from driftwheel.control.controls import set_paused
from driftwheel.errors import NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step, Window
from driftwheel.records.check_details import DECIDING
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    Deployment,
    DeploymentStage,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.outcomes import UNWATCHED
from driftwheel.traffic.overdue_check import overdue_check
from tests.support.versions import add_with_parents, answered_request, published_version

DATASET = Dataset(
    id="d",
    project="support",
    content_hash="h",
    path="p",
    origin="files",
    train_rows=8,
    validation_rows=1,
    test_rows=1,
)
RUN = TrainingRun(
    id="r",
    project="support",
    dataset_id="d",
    base_model="b",
    method="lora",
    settings={},
    settings_hash="s",
    seed=0,
    path="p",
    status=TrainingRunStatus.SUCCEEDED,
)


def version(id: str, number: int, **facts: Any) -> ModelVersion:
    made = published_version(id, number=number, run_id="r", dataset_id="d", status=ModelVersionStatus.CANDIDATE)
    return replace(made, **facts)


def test_the_live_versions_accuracy_stands_with_its_interval(settings: Settings, ledger: Ledger) -> None:
    scorecard = Scorecard(accuracy=0.9257, intervals={"accuracy": (0.9039, 0.9429)})
    add_with_parents(ledger, version("version_1", 1, scorecard=scorecard))
    add_with_parents(
        ledger, Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1)
    )
    assert "accuracy       92.6% [90.4%, 94.3%] when it was judged" in as_text(gather(ledger, settings.alias_key))


def test_a_text_tasks_grade_stands_where_a_label_tasks_accuracy_does(settings: Settings, ledger: Ledger) -> None:
    scorecard = Scorecard(accuracy=0.0, criterion="chrf", grade=0.614, intervals={"grade": (0.58, 0.642)})
    add_with_parents(ledger, version("version_1", 1, scorecard=scorecard))
    add_with_parents(
        ledger, Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1)
    )
    text = as_text(gather(ledger, settings.alias_key))
    assert "grade          61.4 of 100 [58.0, 64.2] when it was judged, by chrf" in text
    assert "0.0%" not in text


def test_before_anything_is_live_the_next_command_is_named(settings: Settings, ledger: Ledger) -> None:
    steps = [
        (None, "driftwheel data build"),
        (DATASET, "driftwheel train"),
        (RUN, "driftwheel publish"),
        (version("version_6", 6, status=ModelVersionStatus.REJECTED), "driftwheel train"),
        (version("version_7", 7, status=ModelVersionStatus.PUBLISHED), "driftwheel promote v7"),
    ]
    for record, command in steps:
        add_with_parents(ledger, *([record] if record else []))
        assert f"nothing yet; next: {command}" in as_text(gather(ledger, settings.alias_key))


def test_a_version_goes_by_its_id_or_its_number(settings: Settings, ledger: Ledger) -> None:
    add_with_parents(ledger, version("version_a", 1), version("v1", 2))
    assert named_version(ledger, settings.project, "version_a").number == 1
    assert named_version(ledger, settings.project, "v2").id == "v1"
    assert named_version(ledger, settings.project, "v1").id == "v1"
    with pytest.raises(NotFoundError, match="no version 'v3'"):
        named_version(ledger, settings.project, "v3")


def make_live(ledger: Ledger, **alias: Any) -> None:
    """Add a live version v1 of the run `r`, which the gateway has just reported."""
    add_with_parents(ledger, replace(RUN, id="r"), version("version_1", 1, status=ModelVersionStatus.PUBLISHED))
    facts: dict[str, Any] = {
        "version_id": "version_1",
        "observed_version_id": "version_1",
        "observed_at": utc_now(),
        "fence": 1,
    }
    ledger.add(Alias(id="support/support", project="support", name="support", **facts | alias))


def decision(**facts: Any) -> RetrainDecision:
    made: dict[str, Any] = {"verdict": DecisionVerdict.RETRAIN, "trigger": "policy", "remedy": "retrain", "reasons": []}
    return RetrainDecision(id="decision_1", project="support", **made | facts)


WAITING = decision(status=DecisionStatus.AWAITING_APPROVAL)


def test_a_loop_that_turns_by_itself_waits_for_no_command(settings: Settings, ledger: Ledger) -> None:
    make_live(ledger)
    said = as_text(gather(ledger, settings.alias_key))
    assert "(serving)" in said
    assert "next  " not in said


@pytest.mark.parametrize(
    ("record", "alias", "words"),
    [
        (WAITING, {}, ["retrain        decision_1 waits for a person", "driftwheel approve decision_1 (or refuse)"]),
        (decision(status=DecisionStatus.FAILED, error="too few rows"), {}, ["decision_1 failed: too few rows"]),
        (decision(status=DecisionStatus.REFUSED, error="worse by 3"), {}, ["decision_1 refused: worse by 3"]),
        (decision(status=DecisionStatus.OPEN), {}, ["decision_1 waits for the worker"]),
        (version("v_2", 2, status=ModelVersionStatus.PUBLISHED), {}, ["next           driftwheel promote v2"]),
        (
            version("v_2", 2, status=ModelVersionStatus.REJECTED, verdict=GateVerdict(reason="loses 4 points")),
            {},
            ["v2 v_2 (rejected: loses 4 points)"],
        ),
        (None, {"observed_at": None}, ["next           driftwheel up (no gateway has served it yet)"]),
        (None, {"observed_at": utc_now() - timedelta(minutes=5)}, ["driftwheel up (no gateway has reported since"]),
        (None, {"observed_error": "the fingerprint differs"}, ["error          the fingerprint differs"]),
        (replace(RUN, id="r2", status=TrainingRunStatus.FAILED, error="no memory"), {}, ["r2 (failed: no memory)"]),
        (replace(RUN, id="r2"), {}, ["next           driftwheel publish"]),
    ],
    ids=[
        "waits for approval",
        "a retrain that failed",
        "a retrain that the gate refused",
        "no worker",
        "published, not live",
        "refused by the gate",
        "never served",
        "a silent gateway",
        "a refused swap",
        "a run that failed",
        "a run that nobody judged",
    ],
)
def test_status_says_why_and_what_comes_next(
    settings: Settings, ledger: Ledger, record: Any, alias: dict[str, Any], words: list[str]
) -> None:
    make_live(ledger, **alias)
    if record is not None:
        add_with_parents(ledger, replace(record, created_at=utc_now()))
    said = as_text(gather(ledger, settings.alias_key))
    assert [word for word in words if word not in said] == [], said


def test_a_retrain_that_is_held_says_where_and_by_what(settings: Settings, ledger: Ledger) -> None:
    make_live(ledger)
    ledger.add(decision(status=DecisionStatus.RUNNING))
    hold = decision(status=DecisionStatus.CLOSED, verdict=DecisionVerdict.HOLD, reasons=["cool-down"])
    ledger.add(replace(hold, id="decision_2", created_at=utc_now(), error="no way back"))
    ledger.put_step(Step(id="decision_1/merge", project="support", decision_id="decision_1", name="merge", status="x"))
    set_paused(ledger, "support", True)
    said = as_text(gather(ledger, settings.alias_key))
    assert "decision       decision_2 hold, closed: cool-down (no way back)" in said
    assert re.search(r"retrain        decision_1 at merge since ..:.. UTC, held by the pause", said)
    assert "next           driftwheel resume" in said


def test_a_dead_engine_and_a_dead_gateway_are_told_apart(settings: Settings, tmp_path: Path) -> None:
    class NotReady(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        serve = settings.serve.model_copy(update={"port": server.server_address[1]})
        assert "no engine answers; the newest of" in str(ask_gateway(serve, tmp_path))
        thread.join()
    assert "`driftwheel up` starts one" in str(ask_gateway(serve, tmp_path))


def test_labels_of_requests_that_nobody_learns_from_are_not_counted(settings: Settings, ledger: Ledger) -> None:
    for number, alias in enumerate(("support", f"support{UNWATCHED}")):
        ledger.add(
            answered_request(
                f"req_{number}",
                project=settings.project,
                alias=alias,
                prompt="hi",
                answer="x",
                label="x",
                label_source="label",
            )
        )
    assert "2 requests, 1 with a label" in as_text(gather(ledger, settings.alias_key))


def test_answers_that_no_monitor_looks_at_are_told(settings: Settings, ledger: Ledger) -> None:
    """Without a monitor, or with one of which each check failed, the status said that all was well."""
    make_live(ledger)
    monitor, now = settings.monitor.model_copy(update={"window_rows": 3}), utc_now()
    asked_at = now - timedelta(hours=1)
    ledger.add(*(answered_request(id, version_id="version_1", created_at=asked_at) for id in ("req_1", "req_2")))
    assert overdue_check(monitor, ledger, settings.alias_key, version_id="version_1", at=now) is None, (
        "they fill no window"
    )
    ledger.add(answered_request("req_3", version_id="version_1", created_at=asked_at))
    said = overdue_check(monitor, ledger, settings.alias_key, version_id="version_1", at=now)
    assert said is not None
    assert said.startswith(f"3 answers wait for a check since {asked_at:%Y-%m-%d %H:%M} UTC, and 3 fill")
    assert f"monitor        {said}" in as_text(replace(gather(ledger, settings.alias_key), monitor=said))
    check = Window(id="check_1", project="support", version_id="version_1", number=1, rows=3, created_at=now)
    ledger.add(check)
    assert overdue_check(monitor, ledger, settings.alias_key, version_id="version_1", at=now) is None, "it catches up"


def test_a_canary_stands_with_its_share(settings: Settings, ledger: Ledger) -> None:
    """The status named the candidate as live, with its accuracy, and not that it answers only a share."""
    make_live(ledger)
    assert "canary" not in as_text(gather(ledger, settings.alias_key))
    facts: dict[str, Any] = {"project": "support", "alias": "support", "fence": 1, "reason": "canary at fence 1"}
    ledger.add(Deployment(id="dep", version_id="version_1", stage=DeploymentStage.CANARY, share=0.25, **facts))
    assert "canary         version_1 answers 25% of the requests since" in as_text(gather(ledger, settings.alias_key))


def drifted() -> DriftSignal:
    return DriftSignal(
        id="signal_1",
        project="support",
        version_id="version_1",
        kind=DriftKind.INPUT,
        feature=DECIDING,
        method="m",
        score=7.5,
        threshold=1.5,
        reference_rows=100,
        current_rows=100,
        verdict=DriftVerdict.DRIFTED,
        check_id="check_1",
    )


def test_a_check_of_the_version_before_is_told_as_its(settings: Settings, ledger: Ledger) -> None:
    """After a swap or a rollback the alarm of the version before stood under the new one, as if it were its own."""
    make_live(ledger)
    signal = drifted()
    ledger.add(signal)
    status = gather(ledger, settings.alias_key)
    assert "input drift    drifted (score 7.5 against 1.5, 100 rows)" in as_text(status)
    before = replace(status, signals=[replace(signal, version_id="version_0")])
    assert "100 rows of version_0, which answers no more)" in as_text(before)


def test_drift_that_was_accepted_since_is_told_as_accepted(settings: Settings, ledger: Ledger) -> None:
    """It said `steady`, with a score far over the threshold beside it."""
    add_with_parents(ledger, version("version_1", 1))
    signal = drifted()
    ledger.add(signal, replace(signal, id="signal_2", kind=DriftKind.QUALITY, verdict=DriftVerdict.STEADY))
    shown = as_text(gather(ledger, settings.alias_key))
    assert "input drift    drifted (score 7.5 against 1.5" in shown
    accepted = {"version_id": "version_1", "check_ids": ["check_1"], "number": 1}
    ledger.set_switch("support", "normal/version_1", json.dumps(accepted))
    status = gather(ledger, settings.alias_key)
    assert "input drift    accepted as the new normal (before that: score 7.5 against 1.5" in as_text(status)
    assert "quality drift  steady" in as_text(status)
    assert json.loads(as_json(status))["accepted"] == ["input"]
