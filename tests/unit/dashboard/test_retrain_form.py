"""A retrain is watched while it goes on, and the form that starts one is of the world that it was drawn on."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import DecisionStatus, RetrainDecision, TrainingRun, TrainingRunStatus
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import button, texts, view

pytestmark = pytest.mark.usefixtures("shown")


@pytest.fixture
def running(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> RetrainDecision:
    """A retrain that trains: 20 of 40 steps in 30 seconds."""
    decision = ledger.change(ledger.get(RetrainDecision, seeded["waiting"]), status=DecisionStatus.RUNNING)
    now, folder = utc_now(), settings.root / "runs" / "run_live"
    folder.mkdir(parents=True)
    point = {"step": 20, "loss": 1.5, "elapsed_seconds": 30.0}
    (folder / "curves.jsonl").write_text(json.dumps(point) + "\n", encoding="utf-8")
    run = ledger.find(TrainingRun, status=TrainingRunStatus.SUCCEEDED)[0]
    step = Step(
        id=f"{decision.id}/finetune", project=settings.project, decision_id=decision.id, name="finetune", status=""
    )
    live = replace(run, id="run_live", finished_at=None, status=TrainingRunStatus.RUNNING, created_at=now)
    ledger.add(replace(live, path=str(folder), settings={"max_steps": 40}))
    ledger.put_step(replace(step, status="running", created_at=now - timedelta(seconds=35)))
    settings.logs.mkdir(parents=True, exist_ok=True)
    (settings.logs / f"{decision.id}-finetune.log").write_text("step 20 of 40\n", encoding="utf-8")
    return decision


def test_a_running_retrain_is_shown_with_steps_log_and_time_left(running: RetrainDecision) -> None:
    page = view("training_runs")
    assert not page.exception
    # Its training says 30 s; the seeded retrain before it took a minute each for the dataset and to merge.
    assert "At finetune. About 2 min 30 s left" in texts(page)
    assert "step 20 of 40" in [c.value for c in page.code]
    assert page.dataframe[0].value["step"].tolist() == ["finetune"]


def test_the_form_starts_a_retrain_with_a_reason(ledger: Ledger, settings: Settings) -> None:
    page = view("training_runs")
    page.text_input[0].input("the shop opens tomorrow")
    button(page, "start").click().run()
    (found,) = ledger.find(RetrainDecision, project=settings.project)
    assert (found.status, found.reasons[0]) == (DecisionStatus.OPEN, "the shop opens tomorrow")


def test_the_form_of_an_old_page_starts_nothing_after_a_promotion(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    ledger.change(ledger.get(RetrainDecision, seeded["waiting"]), status=DecisionStatus.REFUSED)
    page = view("training_runs")
    page.text_input[0].input("v1 got worse")
    alias, before = get_alias(ledger, *settings.alias_key), ledger.count(RetrainDecision)
    ledger.change(alias, version_id=seeded["v2"], fence=alias.fence + 1)
    button(page, "start").click().run()
    assert ledger.count(RetrainDecision) == before
    assert "v2 was made live meanwhile" in texts(page)


def test_a_running_retrain_is_cancelled(running: RetrainDecision, ledger: Ledger) -> None:
    button(view("training_runs"), "cancel").click().run()
    assert ledger.get(RetrainDecision, running.id).status is DecisionStatus.CANCELLED


def test_the_form_plans_dataset_method_and_passes(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    ledger.change(ledger.get(RetrainDecision, seeded["waiting"]), status=DecisionStatus.REFUSED)
    page = view("training_runs")
    page.selectbox(key="plan_dataset").select(seeded["dataset"])
    page.selectbox(key="plan_method").select("full")
    page.number_input(key="plan_passes").set_value(1.5)
    page.run()
    assert "How long full takes, and how much memory, is not known" in texts(page)
    page.text_input[0].input("a bigger try")
    button(page, "start").click().run()
    (found,) = ledger.find(RetrainDecision, status=DecisionStatus.OPEN)
    plan = TrainingPlan(dataset_id=seeded["dataset"], method="full", num_train_epochs=1.5)
    assert (found.reasons[0], found.known.plan) == ("a bigger try", plan)


def test_the_form_says_how_long_it_takes_and_how_much_memory(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    ledger.change(ledger.get(RetrainDecision, seeded["waiting"]), status=DecisionStatus.REFUSED)
    run = ledger.find(TrainingRun, status=TrainingRunStatus.SUCCEEDED)[0]
    metrics = RunMetrics(train_seconds=98.0, epochs=1.0, peak_memory_bytes=3 * 2**30)
    ledger.add(replace(run, id="run_measured", created_at=utc_now(), metrics=metrics))
    page = view("training_runs")
    page.selectbox(key="plan_dataset").select(seeded["dataset"])
    page.number_input(key="plan_passes").set_value(2.0).run()
    # 980 rows took 98 s in one pass; the seeded retrain before it took a minute each for the dataset and to merge.
    said = texts(page)
    assert "About 3 min 16 s to train on 980 rows, 5 min 16 s with all steps, judging by run measured." in said
    assert "It takes about 3.0 GiB of memory" in said
