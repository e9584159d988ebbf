"""Estimates what a training will take, minutes and memory, from the trainings before it; without Streamlit.

Another length of text or another machine takes another time: an estimate says which run it is from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus

REMEMBERED_RUNS = 50
TRAINING = "finetune"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training takes; None for what no run before it tells."""

    training_seconds: float | None
    other_seconds: float | None
    """Of the retrain's other steps."""
    memory_bytes: int | None
    from_run: str | None
    """The run that time and memory are judged by."""

    @property
    def seconds(self) -> float | None:
        """Of the whole retrain."""
        if self.training_seconds is None or self.other_seconds is None:
            return None
        return self.training_seconds + self.other_seconds


def estimate(
    runs: Sequence[TrainingRun],
    datasets: Mapping[str, Dataset],
    usual: Mapping[str, float],
    *,
    method: str,
    rows: float,
    passes: float,
) -> Estimate:
    """Return what training so many rows so often takes, by the newest finished run of the same method.

    `runs` are newest first; `usual` is how long each step took in earlier retrains, in seconds.
    """
    known = [run for run in runs if run.method == method and run.status is TrainingRunStatus.SUCCEEDED]
    paced = next(((run, pace) for run in known if (pace := _seconds_a_row(run, datasets)) is not None), None)
    measured = next((run for run in known if run.metrics.peak_memory_bytes), None)
    source = paced[0] if paced else measured
    return Estimate(
        training_seconds=paced[1] * rows * passes if paced else None,
        other_seconds=sum(seconds for name, seconds in usual.items() if name != TRAINING) if usual else None,
        memory_bytes=measured.metrics.peak_memory_bytes if measured else None,
        from_run=source.id if source else None,
    )


def _seconds_a_row(run: TrainingRun, datasets: Mapping[str, Dataset]) -> float | None:
    """Return how long a run took for one row in one pass; None where it does not say."""
    dataset, took, passes = datasets.get(run.dataset_id), run.metrics.train_seconds, run.metrics.epochs
    if dataset is None or not took or not passes or not dataset.train_rows:
        return None
    return took / (passes * dataset.train_rows)


def same_run(runs: Sequence[TrainingRun], *, dataset_id: str, method: str, passes: float) -> TrainingRun | None:
    """Return a finished run with this Dataset, method and number of passes: a retrain uses it, if all else is equal."""
    for run in runs:
        train = run.settings.get("train", run.settings)
        same = isinstance(train, dict) and train.get("num_train_epochs") == passes
        if (run.dataset_id, run.method) == (dataset_id, method) and same and run.status is TrainingRunStatus.SUCCEEDED:
            return run
    return None
