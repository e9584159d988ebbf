"""One of the processes that train a run together; accelerate and Ray start it with RANK and WORLD_SIZE set.

    accelerate launch --num_processes 2 -m train.launchers.rank JOB.json

It never opens the ledger: the process that wrote the job did that, and reads the result from the file beside it.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from driftwheel.cli.process import run_command
from driftwheel.machine.system import die_with_parent
from train.launchers.registry import launcher
from train.launchers.together import write_result
from train.processes.first_process import is_first_process
from train.processes.process_tuning import tune_process
from train.training.training_job import TrainingJob


def take_part(path: Path) -> None:
    """Train as one of a job's processes; the first one writes the result."""
    metrics = launcher("here")(TrainingJob.read(path))
    if is_first_process():
        write_result(path, metrics)


def _name_the_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print a traceback as usual, and below it the line that the waiting process looks for."""
    sys.__excepthook__(kind, error, trace)
    sys.stderr.write(f"error: {kind.__name__}: {(str(error).strip().splitlines() or [''])[0]}\n")


def main(arguments: argparse.Namespace) -> None:
    """Take part in the job."""
    die_with_parent(signal.SIGKILL)  # nothing trains on unseen when the launcher is killed
    sys.excepthook = _name_the_error
    tune_process()
    take_part(arguments.job)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One process's part of a training that several share.")
    parser.add_argument("job", type=Path)
    sys.exit(run_command("rank", main, parser.parse_args()))
