"""A run becomes several processes that train it together: `accelerate launch` here, or Ray's workers on its nodes.

This process keeps the ledger, follows the curves and reads the result; the processes see only the job file.
"""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.records import TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.processes.executor import LocalExecutor
from train.processes.rank import RankJob
from train.training.progress import read_curves

FOLLOW_SECONDS = 2.0
RUN_FIELDS = ("id", "project", "dataset_id", "base_model", "method", "settings", "settings_hash", "seed", "path")


def train_together(settings: Settings, rows_path: Path, run: TrainingRun, checkpoint: Path | None) -> dict[str, Any]:
    """Train a run in `train.num_processes` processes and return its metrics.

    Raises ConfigError if this machine or the cluster has fewer devices, DriftwheelError with a process's own reason if
    one fails; then all of them have ended.
    """
    folder = Path(run.path) / "processes"
    job_path, result_path = folder / "job.json", folder / "result.json"
    result_path.unlink(missing_ok=True)
    RankJob(
        settings=settings.model_dump(mode="json"),
        settings_path=str(settings.path),
        rows_path=str(rows_path),
        run={name: getattr(run, name) for name in RUN_FIELDS},
        checkpoint=str(checkpoint) if checkpoint else None,
        result_path=str(result_path),
    ).write(job_path)
    with following(Path(run.path)):
        if settings.train.executor == "ray":
            from train.processes.ray_workers import run_on_ray

            run_on_ray(settings.train, job_path)
        else:
            check_devices(settings.train)
            LocalExecutor().run(
                launch_command(settings.train, job_path),
                log_path=folder / "processes.log",
                environment={"OMP_NUM_THREADS": str(threads_per_process(settings.train.num_processes))},
            )
    metrics: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    return metrics


def launch_command(train: TrainSettings, job_path: Path) -> list[str]:
    """Return the argv of `accelerate launch` for a job on this machine.

    Sharding on a CPU goes the same way: without `--cpu`, which would ask for MPI.
    """
    sharding = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_state_dict_type", "FULL_STATE_DICT"]
    return [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--num_processes", str(train.num_processes),
        "--mixed_precision", "bf16" if train.bf16 else "no", "--dynamo_backend", "no", "--main_process_port", "0",
        *(sharding if train.fsdp else ["--multi_gpu"]),
        "-m", "train.processes.rank", str(job_path),
    ]  # fmt: skip


def check_devices(train: TrainSettings) -> None:
    """Raise ConfigError if this machine has GPUs, but fewer than there are to be processes."""
    import torch

    count = torch.cuda.device_count()
    if 0 < count < train.num_processes:
        raise ConfigError(
            f"train.num_processes is {train.num_processes} and this machine has {count} GPU(s); lower it, or set "
            "train.executor to ray to use several machines"
        )


def threads_per_process(processes: int) -> int:
    """Return how many threads each process may keep busy, so that together they have one a core."""
    import torch

    threads: int = torch.get_num_threads()
    return max(1, threads // processes)


@contextmanager
def following(run_path: Path) -> Iterator[None]:
    """Print each new point of a run's curves on stderr while other processes train."""
    is_over = threading.Event()
    thread = threading.Thread(target=_follow, args=(run_path, is_over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _follow(run_path: Path, is_over: threading.Event) -> None:
    seen = len(read_curves(run_path))
    while not is_over.wait(FOLLOW_SECONDS):
        points = read_curves(run_path)
        if points[seen:]:
            sys.stderr.write(_line(points) + "\n")
        seen = len(points)


def _line(points: Sequence[dict[str, Any]]) -> str:
    newest = {key: value for point in points for key, value in point.items() if value is not None}
    names = {"step": "step {}", "loss": "loss {:.4f}", "eval_loss": "validation {:.4f}",
             "tokens_per_second": "{:,.0f} tokens/s"}  # fmt: skip
    return "  ".join(text.format(newest[key]) for key, text in names.items() if key in newest)
