"""Traffic in a real ledger becomes signals, reports and decisions, window by window."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Window
from driftwheel.records.by_whom import Action
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
)
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import move_alias
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.outcomes import CLIENT_LEFT
from examples.support.world import Phase, answer, messages
from monitor.check import check, conclude
from monitor.drift import KindJudgment
from monitor.facts import gather_facts
from monitor.features import FEATURES, Feature, Measure
from monitor.look import Look, next_look
from monitor.signals import judge_drift
from tests.support.said import words_of
from tests.support.versions import add_with_parents, answered_request, published_version

# Evidently and its libraries warn about their own future; nothing of ours is silenced by it.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
    "ignore:invalid value encountered:RuntimeWarning",  # its summary correlates columns that are constant
)

WINDOW_ROWS = 100
START = utc_now()
FORK = multiprocessing.get_context("fork")


def learned(folder: Path) -> Path:
    """Write what the version learned, which the traffic is compared with."""
    folder.mkdir()
    rows = [
        {
            "prompt": [{"role": "user", "content": e.text}],
            "completion": [{"role": "assistant", "content": answer(e)}],
            "label": e.intent,
        }
        for e in messages(1000, 77, "steady")
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def watched(settings: Settings, ledger: Ledger, tmp_path: Path) -> Settings:
    """Settings with small windows, and a live version judged right on 95 % of 400 steady items."""
    path = tmp_path / "predictions.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, e in enumerate(messages(400, 1, "steady")):
            is_right = number % 20 != 0
            text = answer(e) if is_right else '{"intent":"refund_request","urgency":"low"}'
            row = {
                "id": str(number),
                "prompt": e.text,
                "answer": text,
                "label": e.intent,
                "latency_seconds": 0.1,
                "predicted": json.loads(text)["intent"],
                "is_correct": is_right,
                "slice": "old",
                "expected": answer(e),
                "mean_logprob": None,
            }
            file.write(json.dumps(row) + "\n")
    add_with_parents(
        ledger,
        Dataset(
            id="dataset_1",
            project="support",
            created_at=START,
            content_hash="h",
            path=str(learned(tmp_path / "dataset_1")),
            origin="files",
            train_rows=1,
            validation_rows=1,
            test_rows=1,
        ),
        published_version(
            "version_1",
            created_at=START,
            dataset_id="dataset_1",
            quantization="w8a8",
            scorecard=Scorecard(accuracy=0.95, items=400, predictions_path=str(path)),
        ),
        Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1),
    )
    monitor = settings.monitor.model_copy(update={"window_rows": WINDOW_ROWS, "reference_rows": 300})
    policy = settings.policy.model_copy(update={"min_fresh_labels": 300, "approval": "none"})
    return settings.model_copy(update={"monitor": monitor, "policy": policy})


def send(
    ledger: Ledger,
    count: int,
    seed: int,
    phase: Phase,
    first: int,
    *,
    is_labelled: bool = True,
    version_id: str = "version_1",
    wrong_every: int = 0,
) -> None:
    """Log traffic: steady messages are answered right, messages of the shift, and every so many, as a refund."""
    rows = []
    for number, e in enumerate(messages(count, seed, phase), first):
        is_right = phase == "steady" and not (wrong_every and number % wrong_every == 0)
        said = answer(e) if is_right else '{"intent":"refund_request","urgency":"low"}'
        rows.append(
            answered_request(
                f"req_{number:06d}",
                created_at=START + timedelta(seconds=number + 1),
                version_id=version_id,
                prompt=e.text,
                answer=said,
                label=answer(e) if is_labelled else None,
                label_source="correction" if is_labelled else None,
            )
        )
    ledger.add(*rows, *words_of(rows))


def verdicts(ledger: Ledger, kind: DriftKind) -> list[str]:
    found = ledger.find(DriftSignal, kind=kind.value, feature="all", newest_first=False)
    return [s.verdict.value for s in found]


NO_ANSWERS: tuple[dict[str, Any], ...] = (
    {"status_code": 400, "error": "the prompt is too long"},
    {"status_code": 422, "error": "an unknown field"},
    {"status_code": 429, "error": "busy"},
    {"status_code": 499, "error": CLIENT_LEFT, "is_partial": True},
    {"status_code": 200, "error": CLIENT_LEFT, "is_partial": True},
    {"status_code": 200, "route": "/v1/embeddings"},
)


def test_forty_requests_of_two_hundred_that_got_no_answer_ring_no_alarm(watched: Settings, ledger: Ledger) -> None:
    send(ledger, 2 * WINDOW_ROWS, 2, "steady", 0)
    bad = answered_request(
        "", version_id="version_1", status_code=0, prompt="A" * 500, answer="", latency_seconds=0.001
    )
    for number in range(40):
        at = START + timedelta(seconds=5 * number + 1, milliseconds=500)
        ledger.add(replace(bad, id=f"req_bad{number:04d}", created_at=at, **NO_ANSWERS[number % len(NO_ANSWERS)]))
    while check(watched, ledger):
        pass
    for kind in DriftKind:
        assert verdicts(ledger, kind) == ["steady"] * 2


def test_steady_traffic_is_left_alone_and_a_shift_is_found_in_time(watched: Settings, ledger: Ledger) -> None:
    send(ledger, 3 * WINDOW_ROWS, 2, "steady", 0)
    while check(watched, ledger):
        pass
    for kind in DriftKind:
        assert verdicts(ledger, kind) == ["steady"] * 3
    assert {d.verdict for d in ledger.find(RetrainDecision)} == {DecisionVerdict.HOLD}

    send(ledger, 3 * WINDOW_ROWS, 3, "shifted", 1000)
    reopened = Ledger(watched.database_url)  # as after a restart of the monitor
    while check(watched, reopened):
        pass
    reopened.close()
    assert verdicts(ledger, DriftKind.INPUT)[3:] == ["suspected", "drifted", "drifted"]
    assert verdicts(ledger, DriftKind.QUALITY)[3:] == ["suspected", "drifted", "drifted"]
    retrains = ledger.find(RetrainDecision, verdict=DecisionVerdict.RETRAIN.value)
    assert len(retrains) == 1, "one retrain at a time"
    assert "accuracy" in retrains[0].reasons[0]
    done = [(event.action, event.actor) for event in events_of(ledger, "support", actor="process:monitor")]
    assert sorted(done) == [(Action.ALARM, "process:monitor")] * 3 + [(Action.ASK_RETRAIN, "process:monitor")]


def test_a_number_of_5000_digits_in_feedback_ends_no_check(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0)
    text = f'{{"intent": "refund_request", "order": {"9" * 5000}}}'
    table = TABLES[Traffic]
    with ledger.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == "req_000007").values(label=text, answer=text))
        connection.execute(sa.update(table).where(table.c.id == "req_000008").values(label="9" * 5000))
    assert check(watched, ledger) is not None
    assert verdicts(ledger, DriftKind.QUALITY) == ["steady"]


def test_a_check_leaves_a_report_and_says_what_changed(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 3, "shifted", 0)
    result = check(watched, ledger)
    assert result is not None
    (decisive,) = [s for s in result.signals if s.kind is DriftKind.INPUT and s.feature == "all"]
    assert set(decisive.details.shifted_words) & {"nestora", "hub"}
    folder = Path(str(decisive.report_path))
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")[:2000].lower()
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["metrics"]
    features = {s.feature: s for s in result.signals if s.kind is DriftKind.INPUT}
    drawn = features["prompt_words"].details.evidently
    assert drawn is not None
    assert drawn.score is not None


def test_a_feature_that_is_registered_has_signals_a_threshold_and_a_place_in_the_report(
    watched: Settings, ledger: Ledger
) -> None:
    shouting = Feature(
        name="capitals",
        kind=DriftKind.INPUT,
        measure=Measure.NUMBER,
        value=lambda row: sum(letter.isupper() for letter in row.prompt),
    )
    send(ledger, WINDOW_ROWS, 2, "steady", 0)
    with ledger.write() as connection:
        prompt = TABLES[Traffic].c.prompt
        connection.execute(sa.update(TABLES[Traffic]).values(prompt=sa.func.upper(prompt)))
    result = check(watched, ledger, (*FEATURES, shouting))
    assert result is not None
    (signal,) = [s for s in result.signals if s.feature == "capitals"]
    (decisive,) = [s for s in result.signals if s.kind is DriftKind.INPUT and s.feature == "all"]
    assert signal.score > signal.threshold > 0
    assert (signal.kind, signal.method, signal.verdict) == (DriftKind.INPUT, "ks", DriftVerdict.DRIFTED)
    assert decisive.details.features["capitals"] == signal.score == decisive.score
    assert signal.details.evidently is not None
    assert "capitals" in (Path(str(signal.report_path)) / "report.html").read_text(encoding="utf-8")


def test_drift_without_labels_asks_for_labels(watched: Settings, ledger: Ledger) -> None:
    send(ledger, 2 * WINDOW_ROWS, 3, "shifted", 0, is_labelled=False)
    while result := check(watched, ledger):
        last = result.decision
    assert (last.verdict, last.remedy) == (DecisionVerdict.HOLD, "label")
    assert verdicts(ledger, DriftKind.QUALITY) == [DriftVerdict.INSUFFICIENT] * 2


def test_a_window_without_labels_does_not_end_a_run_of_lost_quality(watched: Settings, ledger: Ledger) -> None:
    for number, is_labelled in enumerate([True, False, True]):
        send(ledger, WINDOW_ROWS, 3 + number, "shifted", 1000 * number, is_labelled=is_labelled)
        assert check(watched, ledger)
    assert verdicts(ledger, DriftKind.QUALITY) == ["suspected", "insufficient", "drifted"]


def conclude_undrawn(watched: Settings, ledger: Ledger) -> DriftSignal:
    """Check the next window without drawing a report; return its quality signal."""
    look = next_look(watched, ledger)
    assert look is not None
    result = conclude(watched, ledger, look, judge_drift(look, FEATURES), {})
    return next(s for s in result.signals if s.kind is DriftKind.QUALITY)


def say(ledger: Ledger, first: int, last: int, **values: Any) -> None:
    """Attach feedback to requests by their numbers, now."""
    table = TABLES[Traffic]
    is_meant = table.c.id.between(f"req_{first:06d}", f"req_{last:06d}")
    with ledger.write() as connection:
        connection.execute(sa.update(table).where(is_meant).values(feedback_at=utc_now(), **values))


def test_labels_that_come_after_their_window_was_cut_are_counted(watched: Settings, ledger: Ledger) -> None:
    for number in range(3):
        send(ledger, WINDOW_ROWS, 3 + number, "shifted", 1000 * number, is_labelled=False)
        assert conclude_undrawn(watched, ledger).verdict is DriftVerdict.INSUFFICIENT
    right = '{"intent":"order_status","urgency":"low"}'
    say(ledger, 0, 1099, label=right, label_source="correction")
    send(ledger, WINDOW_ROWS, 6, "shifted", 3000, is_labelled=False)
    signal = conclude_undrawn(watched, ledger)
    assert (signal.verdict, signal.details.is_proved, signal.details.accuracy) == ("suspected", True, 0.0)


def test_an_answer_that_somebody_liked_is_no_labelled_one(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0, is_labelled=False)
    answer_column = TABLES[Traffic].c.answer
    say(ledger, 0, 65, label=answer_column, label_source="accepted", thumb=1)
    say(ledger, 66, 99, thumb=-1)
    signal = conclude_undrawn(watched, ledger)
    assert (signal.verdict, signal.details.accuracy) == (DriftVerdict.INSUFFICIENT, None)
    assert "thumbs down per thumb 34.0% of 100" in signal.details.said


def follow_up(ledger: Ledger) -> None:
    """Let version_2 follow version_1, as the outcome of a retrain."""
    version = replace(ledger.get(ModelVersion, "version_1"), id="version_2", number=2)
    made = RetrainDecision(
        id="decision_2",
        project="support",
        verdict=DecisionVerdict.RETRAIN,
        status=DecisionStatus.PROMOTED,
        trigger="policy",
        remedy="retrain",
        reasons=["quality"],
        version_id="version_2",
    )
    add_with_parents(ledger, version, made)
    move_alias(ledger, "support", "support", "version_2")


@pytest.mark.parametrize(
    ("windows_before", "phase", "wrong_every", "trial_windows", "is_back"),
    [
        (0, "steady", 2, 3, True),
        (0, "steady", 10, 3, False),
        (3, "steady", 2, 3, False),
        (0, "steady", 2, 0, False),
        (0, "shifted", 0, 3, False),
    ],
    ids=["worse", "no worse than allowed", "worse after its trial", "worse, but never rolled back", "asked new things"],
)
def test_a_version_that_does_worse_than_the_one_before_is_rolled_back(
    watched: Settings,
    ledger: Ledger,
    windows_before: int,
    phase: Phase,
    wrong_every: int,
    trial_windows: int,
    is_back: bool,
) -> None:
    policy = watched.policy.model_copy(update={"trial_windows": trial_windows, "min_fresh_labels": 100_000})
    watched = watched.model_copy(update={"policy": policy})
    send(ledger, WINDOW_ROWS, 2, "steady", 0)
    assert check(watched, ledger)
    follow_up(ledger)
    send(ledger, windows_before * WINDOW_ROWS, 4, "steady", 1000, version_id="version_2")
    while check(watched, ledger):
        pass
    send(ledger, WINDOW_ROWS, 5, phase, 2000, version_id="version_2", wrong_every=wrong_every)
    result = check(watched, ledger)
    assert result is not None
    assert (result.decision.remedy == "rollback") is is_back
    assert ledger.get(Alias, "support/support").version_id == ("version_1" if is_back else "version_2")
    status = ledger.get(RetrainDecision, "decision_2").status
    assert status is (DecisionStatus.ROLLED_BACK if is_back else DecisionStatus.PROMOTED)
    if is_back:
        assert "the version before had 100.0% on 100" in result.decision.reasons[0]
        (event,) = events_of(ledger, "support", actions=[Action.ROLL_BACK])
        assert (event.actor, event.reason) == ("process:monitor", "; ".join(result.decision.reasons))
        assert check(watched, ledger) is None, "what version_1 answered is checked already"


def _die_at(watched: Settings, look: Look, judged: list[KindJudgment], statement: int) -> None:
    """Conclude a look, and be killed at the n-th statement."""
    ledger, seen = Ledger(watched.database_url), [0]

    def count(*_: object) -> None:
        seen[0] += 1
        if seen[0] == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(ledger.engine, "after_cursor_execute", count)
    conclude(watched, ledger, look, judged, {})
    os._exit(0)  # no statement was left to die at


@pytest.mark.every_database
def test_a_monitor_killed_at_any_statement_leaves_the_whole_look_to_the_next(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0)
    assert check(watched, ledger)
    follow_up(ledger)
    send(ledger, WINDOW_ROWS, 5, "steady", 2000, version_id="version_2", wrong_every=2)
    look = next_look(watched, ledger)
    assert look is not None
    judged, statement, exit_code = judge_drift(look, FEATURES), 0, -signal.SIGKILL
    ledger.close()  # a connection is not for two processes
    while exit_code == -signal.SIGKILL:
        unread_rows = ledger.count(Traffic, version_id="version_2", check_id=None)
        assert (unread_rows, ledger.count(Window), ledger.count(RetrainDecision, remedy="rollback")) == (100, 1, 0)
        assert ledger.count(DriftSignal, check_id=look.check_id) == 0
        assert ledger.get(Alias, "support/support").version_id == "version_2"
        assert ledger.get(RetrainDecision, "decision_2").status is DecisionStatus.PROMOTED
        ledger.close()
        statement += 1
        child = FORK.Process(target=_die_at, args=(watched, look, judged, statement))
        child.start()
        child.join()
        exit_code = child.exitcode or 0
    assert (exit_code, statement > 15) == (0, True)
    assert ledger.count(Traffic, version_id="version_2", check_id=look.check_id) == WINDOW_ROWS
    assert ledger.count(RetrainDecision, remedy="rollback", check_id=look.check_id) == 1
    assert ledger.get(Alias, "support/support").version_id == "version_1"
    assert ledger.get(RetrainDecision, "decision_2").status is DecisionStatus.ROLLED_BACK


def test_a_way_back_that_is_barred_is_told_with_the_decision(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0)
    assert check(watched, ledger)
    follow_up(ledger)
    ledger.change(ledger.get(ModelVersion, "version_1"), status=ModelVersionStatus.REJECTED)
    send(ledger, WINDOW_ROWS, 5, "steady", 2000, version_id="version_2", wrong_every=2)
    result = check(watched, ledger)
    assert result is not None
    assert "version_1 is rejected, not published" in str(ledger.get(RetrainDecision, result.decision.id).error)
    assert ledger.get(Alias, "support/support").version_id == "version_2"
    assert check(watched, ledger) is None, "the window is closed"


def test_nothing_is_checked_before_a_window_is_full(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS - 1, 2, "steady", 0)
    assert check(watched, ledger) is None
    assert ledger.count(DriftSignal) == 0


@pytest.mark.parametrize(
    ("age", "counted"),
    [(timedelta(hours=1), 1), (timedelta(hours=25), 0), (timedelta(days=-400), 0)],
    ids=["an hour ago", "yesterday", "before the clock was set back"],
)
def test_the_daily_budget_counts_one_day(watched: Settings, ledger: Ledger, age: timedelta, counted: int) -> None:
    add_with_parents(
        ledger,
        RetrainDecision(
            id="d",
            project="support",
            created_at=START - age,
            verdict=DecisionVerdict.RETRAIN,
            status=DecisionStatus.REFUSED,
            trigger="policy",
            remedy="retrain",
            reasons=[],
            dataset_id="dataset",  # one that a person turns down has none, and is no retrain
        ),
    )
    send(ledger, 7, 2, "steady", 0)
    quality = DriftSignal(
        id="s",
        project="support",
        version_id="version_1",
        kind=DriftKind.QUALITY,
        feature="all",
        method="m",
        score=0.0,
        threshold=0.1,
        reference_rows=400,
        current_rows=7,
        verdict=DriftVerdict.INSUFFICIENT,
        check_id="c",
    )
    version = ledger.get(ModelVersion, "version_1")
    facts = gather_facts(
        ledger, watched.alias_key, version, frozenset(), quality, START, trial=None, caps=watched.dataset
    )
    assert facts.retrains_last_day == counted
    assert facts.refused_in_a_row == 1
    assert (facts.fresh_labels, facts.is_quality_known) == (7, False)
    assert "7 labelled rows" in facts.quality_text
