"""Tuning: a search finds the better settings, is durable, and prunes; its space is checked before it runs."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from transformers import TrainerCallback

from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import Range, TuneSettings
from driftwheel.store.ledger import Ledger
from train.finetune import finetune
from train.runs import newest_run
from train.tuning import tune as module
from train.tuning.search_report import as_text, search_path, write_picture
from train.tuning.search_space import as_flags, grid, search_space, with_values
from train.tuning.tune import open_study, study_id, tune


def searching(settings: Settings, steps: int = 2, **changes: Any) -> Settings:
    train = settings.train.model_copy(update={"max_steps": steps})
    return settings.model_copy(update={"train": train, "tune": TuneSettings(**changes)})


def of_trial(settings: Settings, values: dict[str, Any]) -> Settings:
    return settings.model_copy(update={"train": with_values(settings.train, values)})


def rates(settings: Settings, *values: float, **changes: Any) -> Settings:
    return searching(settings, sampler="grid", space={"learning_rate": list(values)}, **changes)


def test_a_grid_finds_the_better_of_two_learning_rates(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    settings = rates(train_settings, 1e-6, 2e-2)
    summary = tune(settings, ledger, dataset.id)

    assert [t.state for t in summary.trials] == ["complete", "complete"]
    assert summary.best is not None
    assert summary.best.values == {"learning_rate": 2e-2}
    flags = shlex.split(summary.best.flags)
    assert load_settings(settings.path, flags[1::2], environ={}).train == with_values(
        settings.train, {"learning_rate": 2e-2}
    )
    run = ledger.get(TrainingRun, str(summary.best.run_id))
    assert run.metrics.eval_loss == summary.best.eval_loss
    assert json.loads((search_path(settings.root, summary.id) / "search.json").read_text("utf-8")) == asdict(summary)
    assert f"publish --run {run.id}" in as_text(summary)


@pytest.mark.parametrize(("trials", "needed"), [(1, ["2"]), (2, [])], ids=["too few", "enough"])
def test_a_grid_that_is_larger_than_the_trials_says_so_and_what_it_would_need(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, trials: int, needed: list[str]
) -> None:
    with capture_logs() as said:
        summary = tune(rates(train_settings, 1e-6, 2e-2, trials=trials), ledger, dataset.id)
    assert len(summary.trials) == trials
    assert [re.findall(r"--trials (\d+)", e["event"])[0] for e in said if "grid" in e["event"]] == needed


def test_trains_the_best_trial_no_second_time_and_lets_it_be_published_by_then(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    settings = rates(train_settings, 1e-2)
    summary = tune(settings, ledger, dataset.id)
    with pytest.raises(NotFoundError, match="no finished run"):
        newest_run(ledger, "support")
    assert summary.best is not None
    run = finetune(of_trial(settings, summary.best.values), ledger, dataset.id)
    assert run.id == summary.best.run_id
    assert newest_run(ledger, "support").id == run.id


@pytest.mark.every_database
def test_a_killed_search_goes_on_and_redoes_no_finished_trial(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    settings = rates(train_settings, 1e-3, 1e-2, 2e-2, steps=4)
    study = _kill_in_second_trial(settings, ledger, dataset)
    runs = {r.id: r for r in ledger.find(TrainingRun)}
    assert sorted(r.status for r in runs.values()) == [TrainingRunStatus.RUNNING, TrainingRunStatus.SUCCEEDED]

    summary = tune(settings, ledger, dataset.id)
    assert summary.id == study
    assert [t.state for t in summary.trials] == ["complete", "interrupted", "complete", "complete"]
    assert summary.trials[3].run_id == summary.trials[1].run_id
    assert ledger.count(TrainingRun) == 3
    first = next(r for r in runs.values() if r.status is TrainingRunStatus.SUCCEEDED)
    assert ledger.get(TrainingRun, first.id) == first
    resumed = ledger.get(TrainingRun, str(summary.trials[1].run_id))
    assert resumed.metrics.resumed_from_step == 2


def _kill_in_second_trial(settings: Settings, ledger: Ledger, dataset: Dataset) -> str:
    """Do by hand what `tune` does until a kill: one trial told, one asked for, its run cut off after step 2."""

    class Killed(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                raise KeyboardInterrupt

    name = study_id(settings, dataset.id)
    study = open_study(settings, name)
    for point in grid(search_space(settings.tune, settings.train)):
        study.enqueue_trial(point)
    module._run_trial(settings, ledger, dataset, study)
    trial = study.ask()
    values = {"learning_rate": trial.suggest_categorical("learning_rate", [1e-3, 1e-2, 2e-2])}
    with pytest.raises(KeyboardInterrupt):
        finetune(of_trial(settings, values), ledger, dataset.id, callbacks=[Killed()], study_id=name)
    trial.set_user_attr("run_id", ledger.find(TrainingRun, limit=1)[0].id)
    return name


def test_more_trials_continue_the_same_search(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    space = {"learning_rate": Range(low=1e-3, high=1e-1, log=True), "lora_r": [4, 8]}
    first = tune(searching(train_settings, sampler="random", trials=2, space=space), ledger, dataset.id)
    second = tune(searching(train_settings, sampler="random", trials=4, space=space), ledger, dataset.id)
    assert second.trials[:2] == first.trials
    assert len(second.trials) == 4
    assert len({t.values["learning_rate"] for t in second.trials}) == 4
    assert second.importance.keys() <= space.keys()
    assert as_text(second).count("validation loss") == 4


def test_stops_a_trial_that_is_worse_than_the_median(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    summary = tune(rates(train_settings, 1e-2, 1.1e-2, 1.2e-2, 1.3e-2, 1.4e-2, 1e-7), ledger, dataset.id)
    last = summary.trials[-1]
    assert (last.state, last.last_step) == ("pruned", 2)
    run = ledger.get(TrainingRun, str(last.run_id))
    assert run.status is TrainingRunStatus.FAILED
    assert "over the median" in str(run.error)


def test_a_search_goes_on_after_a_trial_that_cannot_be_trained(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    settings = searching(train_settings, sampler="grid", space={"lr_scheduler_type": ["zigzag", "constant"]})
    summary = tune(settings, ledger, dataset.id)
    assert [t.state for t in summary.trials] == ["fail", "complete"]
    assert "cannot be used" in str(summary.trials[0].error)


def test_says_why_no_trial_could_be_trained(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    settings = searching(train_settings, sampler="grid", space={"lr_scheduler_type": ["zigzag"]})
    with pytest.raises(ConfigError, match="the last said: the train section cannot be used"):
        tune(settings, ledger, dataset.id)


def test_draws_a_search_into_one_file_without_a_network(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tmp_path: Path
) -> None:
    space = {"learning_rate": [1e-3, 1e-2], "lora_r": [4, 8]}
    settings = searching(train_settings, sampler="grid", space=space, pruner="none")
    summary = tune(settings, ledger, dataset.id)
    write_picture(open_study(settings, summary.id), tmp_path / "search.html")
    page = (tmp_path / "search.html").read_text("utf-8")
    assert page.count("Plotly.newPlot(") >= 4
    assert "<script src=" not in page


@pytest.mark.parametrize(
    ("train", "keys"),
    [
        ({}, {"learning_rate", "warmup_steps", "num_train_epochs", "lora_r"}),
        ({"method": "full"}, {"learning_rate", "warmup_steps", "num_train_epochs"}),
        ({"max_steps": 10}, {"learning_rate", "warmup_steps", "lora_r"}),
    ],
    ids=["lora", "full has no rank", "steps replace epochs"],
)
def test_the_usual_space_fits_the_method(settings: Settings, train: dict[str, Any], keys: set[str]) -> None:
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=train)})
    assert search_space(changed.tune, changed.train).keys() == keys


@pytest.mark.parametrize(
    ("values", "points"),
    [
        (Range(low=0.001, high=0.1, log=True), [0.001, 0.00316, 0.01, 0.0316, 0.1]),
        (Range(low=0.0, high=0.2), [0, 0.05, 0.1, 0.15, 0.2]),
        (Range(low=0.0, high=0.3, step=0.1), [0, 0.1, 0.2, 0.3]),
        (Range(low=1, high=3), [1, 2, 3]),
        (Range(low=2, high=8, step=2), [2, 4, 6, 8]),
        ([16, 8], [16, 8]),
    ],
    ids=["log", "linear", "steps", "whole", "whole steps", "list"],
)
def test_a_grid_cuts_a_range_at_its_ends_and_between(values: Any, points: list[float]) -> None:
    assert [p["x"] for p in grid({"x": values})] == pytest.approx(points, rel=2e-3)


def test_a_searched_rank_keeps_the_adapters_scale(settings: Settings) -> None:
    chosen = with_values(settings.train, {"lora_r": 64})
    assert chosen.lora_alpha / chosen.lora_r == settings.train.lora_alpha / settings.train.lora_r
    assert as_flags(settings.path, chosen) == "--set train.lora_r=64 --set train.lora_alpha=128"
    assert with_values(settings.train, {"lora_r": 64, "lora_alpha": 7}).lora_alpha == 7


def test_flags_make_the_settings_file_what_was_chosen(settings: Settings) -> None:
    values = {
        "learning_rate": 1.5e-5,
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "bf16": False,
        "optim": "adafactor",
        "lora_target_modules": ["q_proj", "v_proj"],
        "lora_modules_to_save": None,
    }
    flags = shlex.split(as_flags(settings.path, with_values(settings.train, values)))
    assert flags[0::2] == ["--set"] * 5
    assert load_settings(settings.path, flags[1::2], environ={}).train == with_values(settings.train, values)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{learning_rat: [1]}", "did you mean learning_rate"),
        ("{learning_rate: []}", "has no value to try"),
        ("{learning_rate: {low: 2, high: 1}}", "low below high"),
        ("{learning_rate: {low: 0, high: 1, log: true}}", "low above 0"),
        ("{learning_rate: {low: 1, hi: 2}}", "hi: no such key"),
    ],
    ids=["unknown key", "no value", "ends swapped", "log of nothing", "unknown part"],
)
def test_refuses_a_space_that_means_nothing(settings: Settings, space: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(settings.path, [f"tune.space={space}"], environ={})


def test_refuses_a_value_that_its_setting_does_not_allow(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"tune\.space\.lora_r"):
        with_values(settings.train, {"lora_r": 0})
