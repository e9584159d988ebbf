"""Launchers: each value of `train.executor` has one, what they are told, and what cannot be trained together."""

import subprocess
import sys
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from driftwheel.errors import ConfigError, DataError, EngineError, StorageError
from driftwheel.records.nouns import TrainingRun
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train import launchers
from train.launchers.local import launch_command
from train.launchers.ray import as_own_error, check_cluster, run_on_ray
from train.launchers.registry import launch, launcher
from train.launchers.together import train_together, write_result
from train.training.training_job import TrainingJob

QUEUE = """
from driftwheel.records.run_metrics import RunMetrics

def launch(job):
    return RunMetrics(steps=job.settings.train.num_processes)
"""


@pytest.fixture
def job(settings: Settings, tmp_path: Path) -> TrainingJob:
    """A job for two processes, which are told of it by a file."""
    run = TrainingRun(
        id="run_1",
        project="support",
        dataset_id="dataset_1",
        base_model="base",
        method="lora",
        settings={"train": {"lora_r": 16}},
        settings_hash="abc",
        seed=7,
        path=str(tmp_path / "runs" / "run_1"),
    )
    settings = settings.model_copy(update={"train": TrainSettings(num_processes=2)})
    return TrainingJob(settings=settings, rows_path=tmp_path / "rows", run=run, checkpoint=tmp_path / "checkpoint-4")


def test_every_executor_of_the_settings_has_a_launcher() -> None:
    names = typing.get_args(TrainSettings.model_fields["executor"].annotation)
    assert names
    assert all(callable(launcher(name)) for name in names)


def test_a_launcher_is_added_by_one_file_and_its_name(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue_of_a_cluster.py").write_text(QUEUE, encoding="utf-8")
    monkeypatch.setattr(launchers, "__path__", [*launchers.__path__, str(tmp_path)])
    train = job.settings.train.model_copy(update={"executor": "queue_of_a_cluster"})
    queued = replace(job, settings=job.settings.model_copy(update={"train": train}))
    assert launch(queued) == RunMetrics(steps=2)


def test_nothing_heavy_is_imported_before_a_training_begins() -> None:
    """OpenMP and CUDA read their settings when torch is imported, and the verb sets them first."""
    verbs = "train.verbs.finetune, train.verbs.tune, train.verbs.step, train.launchers.rank"
    code = f"import sys, {verbs}; print(sorted({{'torch', 'trl'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("train", "expected", "absent"),
    [
        (TrainSettings(num_processes=4), ["--num_processes 4", "--use_fsdp --fsdp_version 2", "bf16"], "--multi_gpu"),
        (TrainSettings(num_processes=2, fsdp=False, bf16=False), ["--multi_gpu", "--mixed_precision no"], "fsdp"),
    ],
    ids=["sharded", "replicated"],
)
def test_accelerate_is_told_what_the_settings_say(train: TrainSettings, expected: list[str], absent: str) -> None:
    command = " ".join(launch_command(train, Path("/shared/job.json")))
    assert "-m accelerate.commands.launch" in command
    assert command.endswith("-m train.launchers.rank /shared/job.json")
    assert all(part in command for part in expected)
    assert absent not in command


def test_a_job_comes_back_as_it_was_written(job: TrainingJob, tmp_path: Path) -> None:
    job.write(tmp_path / "processes" / "job.json")
    found = TrainingJob.read(tmp_path / "processes" / "job.json")
    assert replace(found, run=replace(found.run, created_at=job.run.created_at)) == job


def test_a_job_file_holds_no_address_of_the_database(job: TrainingJob, tmp_path: Path) -> None:
    address = SecretStr("postgresql://flow:secret@db/ledger")
    storage = job.settings.storage.model_copy(update={"database_url": address})
    replace(job, settings=job.settings.model_copy(update={"storage": storage})).write(tmp_path / "job.json")
    assert "secret" not in (tmp_path / "job.json").read_text(encoding="utf-8")
    assert TrainingJob.read(tmp_path / "job.json").settings.storage.database_url is None


def test_the_first_process_tells_the_waiting_one_its_metrics(job: TrainingJob) -> None:
    metrics = RunMetrics(train_loss=0.5, steps=24, stopped_early=False)
    assert train_together(job, lambda path: write_result(path, metrics)) == metrics


def test_a_job_with_callbacks_is_refused_by_other_processes(job: TrainingJob) -> None:
    with pytest.raises(ConfigError, match=r"set train\.num_processes to 1"):
        train_together(replace(job, callbacks=[object()]), lambda path: None)


def test_a_node_that_does_not_see_the_storage_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"does not see .* put it on a filesystem that they share"):
        TrainingJob.read(tmp_path / "job.json")


@pytest.mark.parametrize(
    ("resources", "has_gpus"),
    [({"CPU": 4.0}, False), ({"CPU": 8.0, "GPU": 2.0}, True)],
    ids=["without GPUs", "with GPUs"],
)
def test_a_cluster_with_enough_devices_is_used(resources: dict[str, float], has_gpus: bool) -> None:
    assert check_cluster(resources, TrainSettings(num_processes=2)) is has_gpus


def test_a_cluster_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 1 GPU"):
        check_cluster({"CPU": 64.0, "GPU": 1.0}, TrainSettings(num_processes=2))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[ray\]'"):
        run_on_ray(TrainSettings(executor="ray", num_processes=2), tmp_path / "job.json")


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        ({1: DataError("row 7 is empty")}, DataError, "row 7 is empty"),
        ({0: RuntimeError("Read error: Connection reset by peer\nGLHF")}, EngineError, "lost a worker .*worker 0"),
        ({0: RuntimeError("odd"), 1: LookupError("late")}, EngineError, "failed .worker 0: odd"),
        ({}, EngineError, "could not run the workers"),
    ],
    ids=["a worker's own error", "a worker that died", "a bug", "none placed"],
)
def test_a_failed_ray_job_is_one_line(failures: dict[int, Exception], kind: type[Exception], message: str) -> None:
    from ray.train import WorkerGroupError

    error = as_own_error(WorkerGroupError("the group failed", failures))
    assert type(error) is kind
    assert "\n" not in str(error)
    with pytest.raises(kind, match=message):
        raise error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "dpo"}, "objective dpo"),
        ({"method": "qlora"}, "4-bit weights"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"neftune_noise_alpha": 5.0}, "neftune"),
        ({"executor": "ray", "num_processes": 1}, "num_processes of 2"),
    ],
    ids=["preferences", "sharded 4-bit weights", "pissa", "neftune", "ray with one worker"],
)
def test_what_cannot_be_trained_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainSettings(**{"num_processes": 2, **changes})


def test_what_cannot_be_trained_together_is_refused_when_the_settings_are_read(settings: Settings) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(settings.path, ["train.num_processes=2", "train.objective=dpo"])
    assert str(refused.value).endswith(
        "train: objective dpo compares the answers of one batch and trains in one process; set train.num_processes to 1"
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "full"}, {"method": "qlora", "fsdp": False}, {"use_dora": True}, {"executor": "ray"}],
    ids=["lora", "full", "qlora that is not sharded", "dora", "ray"],
)
def test_what_can_be_trained_together_is_let_through(changes: dict[str, Any]) -> None:
    assert TrainSettings(**{"num_processes": 2, **changes}).num_processes == 2
