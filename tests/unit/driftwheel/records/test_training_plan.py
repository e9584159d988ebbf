"""What a person plans of a retrain goes through the one door, stands in its event, and is what the worker does."""

import json
from dataclasses import replace

import pytest

from driftwheel.cli.main import main
from driftwheel.control import controls
from driftwheel.errors import ConfigError, ConflictError, NotFoundError
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.nouns import RetrainDecision
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, dataset_stub
from train.retrain_state import Job, Progress
from train.worker import STEPS

PLAN = TrainingPlan(dataset_id="dataset_1", method="full", num_train_epochs=0.5)


@pytest.fixture(autouse=True)
def dataset(settings: Settings, ledger: Ledger) -> None:
    add_with_parents(ledger, replace(dataset_stub("dataset_1"), project=settings.project), dataset_stub("dataset_2"))


def asked(settings: Settings, ledger: Ledger, plan: TrainingPlan | None, *, override: bool = True) -> RetrainDecision:
    return controls.request_retrain(
        settings.policy,
        ledger,
        settings.alias_key,
        trigger="button",
        reason="the shop opens",
        override=override,
        by=Cause(actor="person:ada"),
        caps=settings.dataset,
        plan=plan,
    )


def test_a_plan_is_kept_with_the_decision_and_its_event_names_the_author(settings: Settings, ledger: Ledger) -> None:
    decision = asked(settings, ledger, PLAN)
    assert ledger.get(RetrainDecision, decision.id).known.plan == PLAN
    (event,) = events_of(ledger, settings.project, actions=[Action.ASK_RETRAIN])
    assert event.actor == "person:ada"
    assert {name: event.after[name] for name in PLAN.said()} == PLAN.said()
    assert PLAN.in_words() == "on dataset_1, by full, 0.5 passes over the data"


def test_what_stands_against_a_retrain_stands_against_a_planned_one(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(ConflictError, match="fresh labelled rows"):
        asked(settings, ledger, PLAN, override=False)
    asked(settings, ledger, PLAN)
    with pytest.raises(ConflictError, match="one retrain at a time"):
        asked(settings, ledger, PLAN)


@pytest.mark.parametrize("id", ["dataset_gone", "dataset_2"], ids=["of nobody", "of another project"])
def test_a_dataset_that_is_not_there_is_refused_at_the_door(id: str, settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(NotFoundError):
        asked(settings, ledger, TrainingPlan(dataset_id=id))
    assert ledger.count(RetrainDecision) == 0


def test_the_job_takes_the_dataset_and_trains_as_planned(settings: Settings, ledger: Ledger) -> None:
    decision = asked(settings, ledger, PLAN)
    by_steps = settings.model_copy(update={"train": TrainSettings(max_steps=7)})
    job = Job(by_steps, ledger, decision.id).planned()
    train = job.settings.train
    assert (train.method, train.num_train_epochs, train.max_steps) == ("full", 0.5, -1)
    made = STEPS[0].run(job, Progress())
    assert (made.dataset_id, made.train_rows) == ("dataset_1", 1)


def test_a_retrain_without_a_plan_is_as_the_settings_say(settings: Settings, ledger: Ledger) -> None:
    decision = asked(settings, ledger, TrainingPlan())
    assert decision.known.plan is None
    job = Job(settings, ledger, decision.id).planned()
    assert (job.settings, job.dataset_id, job.with_baseline) == (settings, None, False)


@pytest.mark.parametrize(
    ("train", "plan", "said"),
    [
        ({}, TrainingPlan(method="magic"), r"train\.method"),
        ({}, TrainingPlan(num_train_epochs=0), r"train\.num_train_epochs"),
        ({"objective": "dpo"}, TrainingPlan(dataset_id="dataset_1"), "learns from feedback"),
    ],
    ids=["a method that there is not", "no pass", "a dataset for preferences"],
)
def test_what_the_settings_cannot_do_is_said_in_words(
    train: dict[str, object], plan: TrainingPlan, said: str, settings: Settings
) -> None:
    wanted = settings.model_copy(update={"train": TrainSettings.model_validate(train)})
    with pytest.raises(ConfigError, match=said):
        wanted.planned(plan)


def test_the_verb_asks_for_the_same(settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(settings.path), "--json", "--override", "--reason", "a try"]
    assert main(["retrain", *words, "--dataset", "dataset_1", "--method", "full", "--epochs", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["known"]["plan"]["num_train_epochs"] == 0.5
    (found,) = ledger.find(RetrainDecision)
    assert found.known.plan == PLAN
