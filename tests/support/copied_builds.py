"""Builds copies of a trained model again, with or without a planted fault, and collects what parity says.

Builds do not touch one another, so that each core makes its own.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from driftwheel.cli.command import open_ledger
from driftwheel.errors import ArtifactError, ParityError
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.edited_builds import Build, another_training
from tests.support.planted_faults import FAULTS
from tests.support.versions import add_with_parents
from train.merge import merge
from train.runs import newest_run, weights_path
from train.weights.scheme_choice import chosen_scheme
from train.worker import build_artifact, measure_forms


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model to look at."""

    settings: Settings
    ledger: Ledger
    run: TrainingRun


def subject_of(path: Path, run_id: str | None = None) -> Subject:
    """Return a settings file's newest run, or the one that is named."""
    settings = load_settings(path)
    ledger = open_ledger(settings)
    run = ledger.get(TrainingRun, run_id) if run_id else newest_run(ledger, settings.project)
    return Subject(settings=settings, ledger=ledger, run=run)


@contextmanager
def copied(subject: Subject, *, is_merged: bool) -> Iterator[tuple[Build, Ledger]]:
    """Give what a run trained, and its clean merged model if wanted, in a folder and a ledger of their own."""
    with tempfile.TemporaryDirectory() as name:
        run = replace(subject.run, path=str(Path(name) / "run"))
        shutil.copytree(weights_path(subject.run), weights_path(run))
        storage = subject.settings.storage.model_copy(update={"root": name, "database_url": None})
        few = subject.settings.parity.model_copy(update={"items": 200})
        settings = subject.settings.model_copy(update={"storage": storage, "parity": few})
        artifact = settings.root / "artifacts" / f"{run.id}-{chosen_scheme(settings.quantize).name}"
        build = Build(settings=settings, run=run, artifact=artifact)
        if is_merged:
            shutil.copytree(merge(subject.settings, subject.ledger, run.id), build.merged)
        ledger = Ledger(settings.database_url)
        add_with_parents(ledger, subject.ledger.get(Dataset, run.dataset_id))
        add_with_parents(ledger, run)
        try:
            yield build, ledger
        finally:
            ledger.close()


def what_is_named(path: Path, run_id: str, fault_name: str) -> tuple[str, str]:
    """Plant a fault and return the form of the model that is named, and the check that caught it; empty if none."""
    fault = next(fault for fault in FAULTS if fault.name == fault_name)
    with copied(subject_of(path, run_id), is_merged=True) as (build, ledger):
        try:
            if fault.hop == "merged":
                fault.plant(build)
            build_artifact(build.settings, ledger, build.run.id)
            if fault.hop == "quantized":
                fault.plant(build)
            measure_forms(build.settings, ledger, build.run.id, build.artifact)
        except ParityError as error:
            return error.hop, error.check
        except ArtifactError as error:
            return "quantized" if str(build.artifact) in str(error) else "", "manifest's hashes"
    return "", ""


def clean_rows(path: Path, run_id: str, seed: int) -> list[ParityRow] | str:
    """Build another adapter through every hop and return the parity table, or the refusal."""
    with copied(subject_of(path, run_id), is_merged=False) as (build, ledger):
        another_training(build, seed)
        try:
            return measure_forms(build.settings, ledger, build.run.id).rows
        except ParityError as error:
            return f"build {seed}: {error}"


def workers() -> Executor:
    """Return a process for each core; models this small gain nothing from a second thread."""
    return ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _one_thread)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
