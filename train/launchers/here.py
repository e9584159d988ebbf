"""Launches a run in this very process: what `train.num_processes: 1` means, whatever the executor."""

from driftwheel.records.run_metrics import RunMetrics
from train.training.session import train_here
from train.training.training_job import TrainingJob


def launch(job: TrainingJob) -> RunMetrics:
    """Train here."""
    return train_here(job)
