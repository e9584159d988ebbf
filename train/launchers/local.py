"""Launches a run as several processes of this machine with `accelerate launch`."""

import os
import sys
from pathlib import Path

import torch

from driftwheel.errors import ConfigError
from driftwheel.machine.child_secrets import for_stage
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.settings.training import TrainSettings
from train.launchers.together import train_together
from train.processes.executor import LocalExecutor
from train.training.training_job import TrainingJob

SHARDED = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_state_dict_type", "FULL_STATE_DICT"]


def launch(job: TrainingJob) -> RunMetrics:
    """Train a run in `train.num_processes` processes of this machine.

    Raises ConfigError if it has fewer devices, DriftwheelError with a process's own reason if one fails; then all of
    them have ended.
    """
    train = job.settings.train

    def start(job_path: Path) -> None:
        check_devices(train)
        LocalExecutor().run(
            launch_command(train, job_path),
            log_path=job_path.with_name("processes.log"),
            environment={
                **for_stage(os.environ),
                "OMP_NUM_THREADS": str(threads_per_process(train.num_processes)),
            },
        )

    return train_together(job, start)


def launch_command(train: TrainSettings, job_path: Path) -> list[str]:
    """Return the argv of `accelerate launch` for a job on this machine.

    Sharding on a CPU goes the same way: without `--cpu`, which would ask for MPI.
    """
    options = {
        "--num_machines": "1",
        "--num_processes": str(train.num_processes),
        "--mixed_precision": "no" if train.bf16 is False else "bf16",
        "--dynamo_backend": "no",
        "--main_process_port": "0",
    }
    flags = [word for option in options.items() for word in option]
    flags += SHARDED if train.fsdp else ["--multi_gpu"]
    return [sys.executable, "-m", "accelerate.commands.launch", *flags, "-m", "train.launchers.rank", str(job_path)]


def check_devices(train: TrainSettings) -> None:
    """Raise ConfigError if this machine has GPUs, but fewer than there are to be processes."""
    count = torch.cuda.device_count()
    if 0 < count < train.num_processes:
        raise ConfigError(
            f"train.num_processes is {train.num_processes} and this machine has {count} GPU(s); lower it, or set "
            "train.executor to ray to use several machines"
        )


def threads_per_process(processes: int) -> int:
    """Return how many threads each process may keep busy, so that together they have one a core."""
    threads: int = torch.get_num_threads()
    return max(1, threads // processes)
