"""A Dataset becomes a TrainingRun: TRL's supervised fine-tuning with LoRA, QLoRA or every weight.

    python -m train finetune --config driftwheel.yaml --dataset DATASET_ID

The same dataset with the same `model` and `train` settings is the same run: finished work is found and not
redone, and a run that died continues from its last complete checkpoint.
"""

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from driftwheel import artifacts
from driftwheel.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.config import Settings
from driftwheel.errors import ConfigError, ConflictError, StorageError
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, TrainingRun, TrainingRunStatus, content_hash, new_id, utc_now
from train.base_model import identity
from train.process_tuning import tune_process

if TYPE_CHECKING:
    from train.progress import CurveWriter


def weights_path(run: TrainingRun) -> Path:
    """Return the folder that holds what a run trained: its adapter, or the whole model."""
    return Path(run.path) / ("model" if run.method == "full" else "adapter")


def finetune(settings: Settings, ledger: Ledger, dataset_id: str) -> TrainingRun:
    """Fine-tune the base model on a dataset, or find that done already.

    Raises ConfigError, NotFoundError or DataError for what a person can put right, ConflictError if another
    process trains this run. Whatever fails is written into the run's row first.
    """
    dataset = ledger.get(Dataset, dataset_id)
    run = _find_or_add(settings, ledger, dataset)
    with _only_trainer(run):
        run = ledger.get(TrainingRun, run.id)
        if run.status is TrainingRunStatus.SUCCEEDED and artifacts.is_complete(weights_path(run)):
            return run
        if run.status is not TrainingRunStatus.RUNNING:
            run = ledger.change(run, status=TrainingRunStatus.RUNNING, error=None, finished_at=None)
        try:
            metrics = _train(settings, dataset, run)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            ledger.change(run, status=TrainingRunStatus.FAILED, error=message, finished_at=utc_now())
            if isinstance(error, MemoryError) or "out of memory" in message:
                raise ConfigError(
                    f"{run.id} ran out of memory; halve train.per_device_train_batch_size and double "
                    "train.gradient_accumulation_steps"
                ) from error
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise StorageError(f"{run.id} stopped: {error}; free some space and run the step again") from error
            raise
        return ledger.change(run, status=TrainingRunStatus.SUCCEEDED, metrics=metrics, finished_at=utc_now())


def _find_or_add(settings: Settings, ledger: Ledger, dataset: Dataset) -> TrainingRun:
    chosen = {
        "model": settings.model.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "base_identity": identity(settings),
    }
    settings_hash = content_hash(chosen)
    found = ledger.find(
        TrainingRun, project=settings.project, dataset_id=dataset.id, settings_hash=settings_hash, limit=1
    )
    if found:
        return found[0]
    at = utc_now()
    run_id = new_id("run", [settings.project, dataset.id, settings_hash], at)
    run = TrainingRun(
        id=run_id,
        project=settings.project,
        created_at=at,
        dataset_id=dataset.id,
        base_model=settings.base_model(),
        method=settings.train.method,
        settings=chosen,
        settings_hash=settings_hash,
        seed=settings.train.seed,
        path=str(settings.root / "runs" / run_id),
    )
    ledger.add(run)
    return run


@contextmanager
def _only_trainer(run: TrainingRun) -> Iterator[None]:
    """Hold the run folder's lock; raises ConflictError if another process has it."""
    path = Path(run.path)
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"another process is training {run.id}; wait for it or stop it") from error
        yield


def _train(settings: Settings, dataset: Dataset, run: TrainingRun) -> dict[str, Any]:
    from train.progress import CurveWriter, ProgressBar
    from train.trainer import last_complete_checkpoint, make_trainer

    path = Path(run.path)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (path / "settings.yaml").write_text(text, encoding="utf-8")
    curves = CurveWriter(path)
    bar = ProgressBar(curves, Console(stderr=True))
    trainer = make_trainer(settings, Path(dataset.path), path, [curves, bar])
    checkpoint = last_complete_checkpoint(path)
    try:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        bar.close()
        trainer.end()
    facts = {"run_id": run.id, "dataset_id": dataset.id, "base_model": run.base_model, "method": run.method}
    with artifacts.writing(weights_path(run), facts) as folder:
        trainer.model.save_pretrained(folder)
        trainer.processing_class.save_pretrained(folder)
    return _metrics(trainer, result, curves, resumed_from=checkpoint)


def _metrics(trainer: Any, result: Any, curves: "CurveWriter", *, resumed_from: Path | None) -> dict[str, Any]:
    parameters = list(trainer.model.parameters())
    state = trainer.state
    seconds = curves.elapsed_seconds
    return {
        "train_loss": result.training_loss,
        "eval_loss": state.best_metric,
        "steps": state.global_step,
        "best_step": state.best_global_step,
        "epochs": round(state.epoch or 0.0, 3),
        "stopped_early": state.global_step < state.max_steps,
        "tokens": int(curves.useful_tokens),
        "tokens_per_second": round(curves.useful_tokens / max(seconds, 1e-6), 1),
        "train_seconds": round(seconds, 2),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "parameters": sum(p.numel() for p in parameters),
        "resumed_from_step": int(resumed_from.name.rpartition("-")[2]) if resumed_from else None,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--dataset", metavar="DATASET_ID", help="dataset to train on (the newest)")


def main(arguments: argparse.Namespace) -> None:
    """Fine-tune and print the run."""
    tune_process()
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    dataset_id = arguments.dataset or ledger.newest(Dataset, settings.project).id
    print_record(finetune(settings, ledger, dataset_id), as_json=arguments.json)
