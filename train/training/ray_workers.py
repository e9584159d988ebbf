"""A job file becomes a Ray Train run: one worker a process, spread over the cluster's nodes.

Ray places the workers, joins them into a process group and ends them together: when one dies, and when the process that
waits here does. Everything else is what `accelerate launch` runs on one machine.
"""

import signal
import sys
from pathlib import Path
from typing import Any

from driftwheel.config import TrainSettings
from driftwheel.errors import ConfigError, DriftwheelError, EngineError

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


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
            run_config=RunConfig(name="ray", storage_path=str(job_path.parent)),
        ).fit()
    except ray.train.TrainingFailedError as error:
        raise _clear(error) from error
    finally:
        ray.shutdown()


def _connect(ray: Any, train: TrainSettings) -> None:
    try:
        ray.init(
            address=train.ray_address, log_to_driver=False, logging_level="error",
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
        )  # fmt: skip
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
    from train.rank import take_part
    from train.training.process_tuning import tune_process

    tune_process()
    take_part(Path(config["job"]))


def _clear(error: Any) -> DriftwheelError:
    """Turn Ray's report into one line: the first worker that failed, and why."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if not failures:
        return EngineError(f"Ray could not run the workers: {_first_line(error)}; `ray status` shows the cluster")
    rank, cause = min(failures.items())
    own = next((e for e in _causes(cause) if isinstance(e, DriftwheelError)), None)
    if own is not None:
        return type(own)(str(own))
    return EngineError(f"worker {rank} of the Ray job failed: {_first_line(cause)}; run the step again to resume")


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
