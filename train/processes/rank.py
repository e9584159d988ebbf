"""A job file becomes one process's part of a training that several share.

    accelerate launch --num_processes 2 -m train.processes.rank JOB.json

It never opens the ledger: the process that wrote the job did that, and reads the result from the file beside it.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.cli.process import run_command
from driftwheel.errors import StorageError
from driftwheel.records import TrainingRun
from driftwheel.settings.settings import Settings
from train.processes.process_tuning import tune_process

PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What the processes of one run are told."""

    settings: dict[str, Any]
    settings_path: str
    rows_path: str
    run: dict[str, Any]
    checkpoint: str | None
    result_path: str

    def write(self, path: Path) -> None:
        """Write the job file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        artifacts.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "RankJob":
        """Read a job file; raises StorageError where this machine does not see it."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise StorageError(
                f"{os.uname().nodename} does not see {path}; every node must reach storage.root under the same path: "
                "put it on a filesystem that they share"
            ) from error


def take_part(path: Path) -> dict[str, Any]:
    """Train as one of a job's processes; the first one writes the result."""
    from train.processes.sharding import is_first_process
    from train.training.session import train_here

    job = RankJob.read(path)
    settings = Settings(**job.settings, path=Path(job.settings_path))
    checkpoint = Path(job.checkpoint) if job.checkpoint else None
    metrics = train_here(settings, Path(job.rows_path), TrainingRun(**job.run), checkpoint)
    if is_first_process():
        artifacts.write_json(Path(job.result_path), metrics)
    return metrics


def _die_with_launcher() -> None:
    """Ask the kernel to kill this process when its launcher is killed: nothing trains on unseen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _name_the_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print a traceback as usual, and below it the line that the waiting process looks for."""
    sys.__excepthook__(kind, error, trace)
    sys.stderr.write(f"error: {kind.__name__}: {(str(error).strip().splitlines() or [''])[0]}\n")


def main(arguments: argparse.Namespace) -> None:
    """Take part in the job."""
    _die_with_launcher()
    sys.excepthook = _name_the_error
    tune_process()
    take_part(arguments.job)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One process's part of a training that several share.")
    parser.add_argument("job", type=Path)
    sys.exit(run_command("rank", main, parser.parse_args()))
