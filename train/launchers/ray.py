"""Launches a run on a Ray cluster with Ray Train: one worker a process, spread over the cluster's nodes.

Ray places the workers, joins them into a process group and ends them together: when one dies, and when the process that
waits here does. Everything else is what `accelerate launch` runs on one machine.
"""

import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, DriftwheelError, EngineError
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.settings.training import TrainSettings
from train.launchers.rank import take_part
from train.launchers.together import train_together
from train.processes.process_tuning import tune_process
from train.training.training_job import TrainingJob

LOST = "onnection "
"""In what gloo and NCCL say of a process that is gone: connection reset, closed, refused."""


def launch(job: TrainingJob) -> RunMetrics:
    """Train a run in `train.num_processes` workers of the cluster; raises what `run_on_ray` raises."""
    return train_together(job, partial(run_on_ray, job.settings.train))


def run_on_ray(train: TrainSettings, job_path: Path) -> None:
    """Train a job on the cluster at `train.ray_address`, to its end.

    Raises ConfigError if Ray is missing, if there is no cluster or it is too small; EngineError if a worker fails.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise ConfigError("train.executor ray needs Ray; install the ray extra: pip install -e '.[ray]'") from error
    _connect(ray, train)
    name = f"ray-{os.uname().nodename}-{os.getpid()}"  # under a known name Ray would take up an earlier attempt
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that Ray's workers are stopped first
    try:
        has_gpus = check_cluster(ray.cluster_resources(), train)
        TorchTrainer(
            take_part_on_ray,
            train_loop_config={"job": str(job_path)},
            scaling_config=ScalingConfig(
                num_workers=train.num_processes, use_gpu=has_gpus, placement_strategy="SPREAD"
            ),
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if has_gpus else "gloo"),
            run_config=RunConfig(name=name, storage_path=str(job_path.parent)),
        ).fit()
    except ray.train.TrainingFailedError as error:
        raise as_own_error(error) from error
    finally:
        ray.shutdown()
        shutil.rmtree(job_path.parent / name, ignore_errors=True)


def _connect(ray: Any, train: TrainSettings) -> None:
    try:
        ray.init(address=train.ray_address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster at {train.ray_address!r}; start one (`ray start --head` on one machine, "
            "`ray start --address=HEAD:6379` on the others) or set train.ray_address"
        ) from error


def check_cluster(resources: dict[str, float], train: TrainSettings) -> bool:
    """Return whether the cluster has GPUs; raises ConfigError if it has fewer devices than processes are wanted."""
    kind = "GPU" if resources.get("GPU") else "CPU"
    count = int(resources.get(kind, 0))
    if count < train.num_processes:
        raise ConfigError(
            f"train.num_processes is {train.num_processes} and the Ray cluster has {count} {kind}(s); lower it or add "
            "nodes"
        )
    return kind == "GPU"


def take_part_on_ray(config: dict[str, str]) -> None:
    """Train as one of the job's workers; Ray has already joined them and set RANK and WORLD_SIZE."""
    tune_process()
    take_part(Path(config["job"]))


def as_own_error(error: Any) -> DriftwheelError:
    """Turn Ray's report into one line: a worker's own error, or that one was lost, or what the first one said."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if not failures:
        return EngineError(f"Ray could not run the workers: {_first_line(error)}; `ray status` shows the cluster")
    own = [failure for _, failure in sorted(failures.items()) if isinstance(failure, DriftwheelError)]
    if own:
        return own[0]
    reasons = [f"worker {rank}: {_first_line(failure)}" for rank, failure in sorted(failures.items())]
    if any(LOST in reason for reason in reasons):
        return EngineError(
            f"the Ray job lost a worker ({reasons[0]}); `ray status` shows the nodes; run the step again to resume"
        )
    return EngineError(f"the Ray job failed ({reasons[0]})")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
