"""The argv of `accelerate launch`, a job file that comes back as it was written, and Ray's errors in one line."""

import sys
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError, DataError, EngineError, StorageError
from driftwheel.settings.training import TrainSettings
from train.processes.rank import RankJob
from train.processes.ray_workers import as_own_error, check_cluster, run_on_ray
from train.processes.together import launch_command


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
    assert command.endswith("-m train.processes.rank /shared/job.json")
    assert all(part in command for part in expected)
    assert absent not in command


def test_a_job_comes_back_as_it_was_written(tmp_path: Path) -> None:
    job = RankJob(
        settings={"project": "support"},
        settings_path="/x/driftwheel.yaml",
        rows_path="/x/rows",
        run={"id": "run_1"},
        checkpoint=None,
        result_path="/x/result.json",
    )
    job.write(tmp_path / "processes" / "job.json")
    assert RankJob.read(tmp_path / "processes" / "job.json") == job


def test_a_node_that_does_not_see_the_storage_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"does not see .* put it on a filesystem that they share"):
        RankJob.read(tmp_path / "job.json")


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
