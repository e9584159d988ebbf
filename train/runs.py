"""Paths in a TrainingRun's folder, and a project's newest run."""

from dataclasses import dataclass
from pathlib import Path

from driftwheel.errors import NotFoundError
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.store.ledger import Ledger

WHOLE = "model"
"""Folder of a run that has every weight of its own, and not an adapter beside its base."""


STUDY, FOLD, STARTED_FROM = "study", "fold", "started_from"
"""Keys of a run's settings: the search that it is a trial of, the fold that it was trained on, and the run from whose
merged weights it went on."""
MERGED = "merged"


def weights_path(run: TrainingRun) -> Path:
    """Return the folder that holds what a run trained: its adapter, or the whole model."""
    return Path(run.path) / (WHOLE if run.method in ("full", "ensemble") else "adapter")


def merged_path(run: TrainingRun) -> Path:
    """Return the folder that holds a run's whole model, merged and cast."""
    return Path(run.path) / MERGED


def started_from(root: Path, base: str) -> str | None:
    """Return the id of the run whose merged weights a base model is; None for a base model from elsewhere."""
    folder = Path(base)
    return folder.parent.name if folder.name == MERGED and folder.parent.parent == root / "runs" else None


def newest_run(ledger: Ledger, project: str) -> TrainingRun:
    """Return the newest run that succeeded; a search's trial or a fold is taken only by its id.

    Raises NotFoundError if there is none.
    """
    for run in ledger.find(TrainingRun, project=project, status=TrainingRunStatus.SUCCEEDED):
        if not run.settings.get(STUDY) and not run.settings.get(FOLD):
            return run
    raise NotFoundError(f"project {project!r} has no finished run yet; `driftwheel train` makes one")


@dataclass(frozen=True)
class Fold:
    """One of `of` ways to hold out a part of a Dataset; its folder has train.jsonl and validation.jsonl."""

    number: int
    of: int
    seed: int
    path: Path

    def facts(self) -> dict[str, int]:
        """Return what tells this fold from another of the same Dataset."""
        return {"number": self.number, "of": self.of, "seed": self.seed}
