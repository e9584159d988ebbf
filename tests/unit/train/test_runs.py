"""What is taken where a verb is not told which run."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from driftwheel.identity import utc_now
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.fidelity.parity_table import Parity
from train.verbs import parity


def test_the_verb_parity_follows_no_trial_no_fold_and_no_failed_run(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[dict[str, Any]] = [{}, {"study": "study_1"}, {"fold": {"number": 1}}, {}]
    for number, settings in enumerate(marks):
        run = TrainingRun(
            id=f"run_{number}",
            project="support",
            created_at=utc_now(),
            status=TrainingRunStatus.FAILED if number == 3 else TrainingRunStatus.SUCCEEDED,
            dataset_id=dataset.id,
            base_model="base",
            method="lora",
            settings=settings,
            settings_hash="h",
            seed=0,
            path=f"runs/run_{number}",
        )
        ledger.add(run)
    asked = []

    def measure_forms(settings: Settings, ledger: Ledger, run_id: str, artifact: Path | None) -> Parity:
        asked.append(run_id)
        place = Path("artifact")
        return Parity(artifact=place, folder=place, probes=[], chain=[], rows=[], max_tokens=1, digest="d")

    monkeypatch.setattr(parity, "measure_forms", measure_forms)
    parser = argparse.ArgumentParser()
    parity.add_arguments(parser)
    parity.main(parser.parse_args(["--config", str(train_settings.path)]))
    assert asked == ["run_0"]
