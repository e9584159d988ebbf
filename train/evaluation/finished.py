"""Reads a finished evaluation from its folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from driftwheel.files import artifacts
from driftwheel.records.json_form import from_json
from driftwheel.records.nouns import Dataset
from driftwheel.records.predictions import PREDICTIONS
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.evaluation.baseline import earlier_baseline, find_baseline


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one artifact scored on one dataset's test split."""

    folder: Path
    scorecard: Scorecard
    fingerprint: Fingerprint
    """Empty where the endpoint was somebody else's."""


def load_evaluation(settings: Settings, ledger: Ledger, folder: Path) -> Evaluation:
    """Read a finished evaluation; its scorecard gets the base model's scores, on this dataset or an earlier one.

    Raises ArtifactError if it is unfinished or was changed.
    """
    artifacts.verify(folder)
    scorecard = from_json((folder / "scorecard.json").read_bytes(), Scorecard)
    baseline = find_baseline(settings, ledger.get(Dataset, str(scorecard.dataset_id)))
    return Evaluation(
        folder=folder,
        scorecard=replace(
            scorecard,
            predictions_path=str(folder / PREDICTIONS),
            baseline=baseline,
            earlier_baseline=None if baseline else earlier_baseline(settings, ledger),
        ),
        fingerprint=from_json((folder / "fingerprint.json").read_bytes(), Fingerprint),
    )
