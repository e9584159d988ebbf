"""Lets other processes train a run: a job file for them, their curves on stderr, and the result that the first wrote.

This process keeps the ledger; the others see only the job file, and write their result beside it.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from driftwheel.files import artifacts
from driftwheel.records.run_metrics import RunMetrics
from train.training.curves import CurvePoint, read_curves
from train.training.training_job import TrainingJob

FOLLOW_SECONDS = 2.0
"""How often the curves are looked at: a person wants to see that it goes on, and a step rarely takes less."""
JOB, RESULT = "job.json", "result.json"


def train_together(job: TrainingJob, start: Callable[[Path], None]) -> RunMetrics:
    """Write the job file, let `start` run the processes that read it to their end, and return the run's metrics."""
    path = Path(job.run.path) / "processes" / JOB
    path.with_name(RESULT).unlink(missing_ok=True)
    job.write(path)
    with following(Path(job.run.path)):
        start(path)
    return RunMetrics(**json.loads(path.with_name(RESULT).read_text(encoding="utf-8")))


def write_result(job_path: Path, metrics: RunMetrics) -> None:
    """Write the result beside a job file, where the waiting process looks for it."""
    artifacts.write_json(job_path.with_name(RESULT), asdict(metrics))


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


def _line(points: Sequence[CurvePoint]) -> str:
    newest = {key: value for point in points for key, value in asdict(point).items() if value is not None}
    names = {
        "step": "step {}",
        "loss": "loss {:.4f}",
        "eval_loss": "validation {:.4f}",
        "tokens_per_second": "{:,.0f} tokens/s",
    }
    return "  ".join(text.format(newest[key]) for key, text in names.items() if key in newest)
