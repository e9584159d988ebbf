"""A Dataset becomes a TrainingRun: TRL's supervised fine-tuning with LoRA, QLoRA or every weight.

    python -m train finetune --config driftwheel.yaml --dataset DATASET_ID

The same dataset with the same `model` and `train` settings is the same run: finished work is found and not
redone, and a run that died continues from its last complete checkpoint.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import yaml
from rich.console import Console

from driftwheel import artifacts
from driftwheel.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.config import Settings
from driftwheel.errors import ConfigError, NotFoundError, StorageError
from driftwheel.ledger import Ledger
from driftwheel.locks import only_process
from driftwheel.records import Dataset, TrainingRun, TrainingRunStatus, content_hash, new_id, utc_now
from train.base_model import identity
from train.data.leaks import check_dataset
from train.training.process_tuning import tune_process, use_one_gpu

if TYPE_CHECKING:
    from train.data.folds import Fold
    from train.training.progress import CurveWriter

log = structlog.get_logger()
WHOLE = "model"
"""Folder of a run that has every weight of its own, and not an adapter beside its base."""

STUDY, FOLD = "study", "fold"
"""Keys of a run's settings: the search that it is a trial of, and the fold that it was trained on."""


def weights_path(run: TrainingRun) -> Path:
    """Return the folder that holds what a run trained: its adapter, or the whole model."""
    return Path(run.path) / (WHOLE if run.method in ("full", "ensemble") else "adapter")


def newest_run(ledger: Ledger, project: str) -> TrainingRun:
    """Return the newest run that succeeded; a search's trial or a fold is taken only by its id.

    Raises NotFoundError if there is none.
    """
    for run in ledger.find(TrainingRun, project=project, status=TrainingRunStatus.SUCCEEDED):
        if not run.settings.get(STUDY) and not run.settings.get(FOLD):
            return run
    raise NotFoundError(f"project {project!r} has no finished run yet; `driftwheel train` makes one")


def finetune(
    settings: Settings,
    ledger: Ledger,
    dataset_id: str,
    *,
    callbacks: Sequence[Any] = (),
    study_id: str | None = None,
    fold: "Fold | None" = None,
) -> TrainingRun:
    """Fine-tune the base model on a dataset, or on one fold of it, or find that done already.

    `callbacks` are the Trainer's; `study_id` marks a trial of a search, which is a run like any other once it is
    trained by itself.
    Raises ConfigError, NotFoundError or DataError for what a person can put right, such as rows that leak into the
    test split, ConflictError if another process trains this run. Whatever fails is written into the run's row first.
    """
    dataset = ledger.get(Dataset, dataset_id)
    run = find_or_add_run(settings, ledger, dataset, study_id=study_id, fold=fold)
    rows_path = Path(dataset.path if fold is None else fold.path)
    conflict = f"another process is training {run.id}; wait for it or stop it"
    with only_process(Path(run.path) / "lock", conflict):
        run = ledger.get(TrainingRun, run.id)
        if run.status is TrainingRunStatus.SUCCEEDED and artifacts.is_complete(weights_path(run)):
            return run
        if run.status is not TrainingRunStatus.RUNNING:
            run = ledger.change(run, status=TrainingRunStatus.RUNNING, error=None, finished_at=None)
        try:
            check_dataset(settings, ledger, dataset)
            metrics = _train(settings, rows_path, run, callbacks)
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


def find_or_add_run(
    settings: Settings, ledger: Ledger, dataset: Dataset, *, study_id: str | None = None, fold: "Fold | None" = None
) -> TrainingRun:
    """Return the row of the run that trains these settings on this dataset, new if there is none."""
    chosen = {
        "model": settings.model.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "base_identity": identity(settings),
        **({FOLD: fold.facts()} if fold else {}),
    }
    settings_hash = content_hash(chosen)
    found = ledger.find(
        TrainingRun, project=settings.project, dataset_id=dataset.id, settings_hash=settings_hash, limit=1
    )
    if found:
        if study_id is None and found[0].settings.get(STUDY):
            return ledger.change(found[0], settings=chosen)
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
        settings=chosen if study_id is None else {**chosen, STUDY: study_id},
        settings_hash=settings_hash,
        seed=settings.train.seed,
        path=str(settings.root / "runs" / run_id),
    )
    ledger.add(run)
    return run


def _train(settings: Settings, rows_path: Path, run: TrainingRun, callbacks: Sequence[Any]) -> dict[str, Any]:
    if settings.train.num_processes == 1:
        use_one_gpu()  # before torch looks for GPUs
    from train.training.methods import why_only_merged
    from train.training.processes import check_processes
    from train.training.trainer import last_complete_checkpoint

    check_processes(settings.train)
    path = Path(run.path)
    if reason := why_only_merged(settings.train):
        log.warning("this result can be served only after a merge", run=run.id, reason=reason)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (path / "settings.yaml").write_text(text, encoding="utf-8")
    checkpoint = last_complete_checkpoint(path)
    if settings.train.num_processes == 1:
        return train_here(settings, rows_path, run, checkpoint, callbacks)
    from train.training.together import train_together

    if callbacks:
        raise ConfigError("a search trains each trial in one process; set train.num_processes to 1 for it")
    return train_together(settings, rows_path, run, checkpoint)


def train_here(
    settings: Settings, rows_path: Path, run: TrainingRun, checkpoint: Path | None, callbacks: Sequence[Any] = ()
) -> dict[str, Any]:
    """Train in this process, alone or as one of several, write the weights and return the run's metrics.

    Of several processes only the first writes; the others take part until the end, and return its metrics too.
    """
    from train.fidelity.trained import remember
    from train.training.methods import keep_start, save_weights, why_only_merged
    from train.training.preference_trainer import make_preference_trainer
    from train.training.processes import Together, folder_to_write, is_first_process, whole_weights
    from train.training.progress import CurveWriter, ProgressBar
    from train.training.trainer import make_trainer

    path = Path(run.path)
    curves = CurveWriter(path)
    bar = ProgressBar(curves, Console(stderr=True))
    own = [curves, bar, *callbacks] if is_first_process() else []
    make = make_trainer if settings.train.objective == "sft" else make_preference_trainer
    trainer = make(settings, rows_path, path, own if settings.train.num_processes == 1 else [Together(), *own])
    keep_start(trainer.model, settings.train, path)
    try:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        facts = {"run_id": run.id, "dataset_id": run.dataset_id, "base_model": run.base_model, "method": run.method,
                 "why_only_merged": why_only_merged(settings.train)}  # fmt: skip
        weights = whole_weights(trainer)
        with folder_to_write(weights_path(run), facts) as folder:
            if is_first_process():
                save_weights(trainer.model, settings.train, path, folder, weights)
                trainer.processing_class.save_pretrained(folder)
            facts |= remember(settings, rows_path, trainer, folder)
        return _metrics(trainer, result, curves, resumed_from=checkpoint)
    finally:
        bar.close()
        trainer.end()


def _metrics(trainer: Any, result: Any, curves: "CurveWriter", *, resumed_from: Path | None) -> dict[str, Any]:
    from train.training.processes import peak_memory_bytes

    parameters = list(trainer.model.parameters())
    state = trainer.state
    seconds = curves.elapsed_seconds
    margins = {h["step"]: h["eval_rewards/margins"] for h in state.log_history if "eval_rewards/margins" in h}
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
        "peak_memory_bytes": peak_memory_bytes(trainer),
        **({"reward_margin": margins.get(state.best_global_step)} if margins else {}),
        "resumed_from_step": int(resumed_from.name.rpartition("-")[2]) if resumed_from else None,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--dataset", metavar="DATASET_ID", help="dataset to train on (the newest)")
    parser.add_argument("--folds", type=int, metavar="K", help="cross-validate the settings on K folds instead")


def main(arguments: argparse.Namespace) -> None:
    """Fine-tune and print the run, or cross-validate and print the losses; preferences build their own Dataset."""
    tune_process()
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    if settings.train.objective != "sft" and arguments.dataset is None:
        from train.prefer import prefer

        if arguments.folds is not None:
            raise ConfigError("--folds cross-validates train.objective sft only; leave one of them out")
        print_record(prefer(settings, ledger), as_json=arguments.json)
        return
    dataset_id = arguments.dataset or ledger.newest(Dataset, settings.project).id
    if arguments.folds is not None:
        _cross_validate(settings, ledger, dataset_id, arguments)
        return
    print_record(finetune(settings, ledger, dataset_id), as_json=arguments.json)


def _cross_validate(settings: Settings, ledger: Ledger, dataset_id: str, arguments: argparse.Namespace) -> None:
    from train.cross_validate import as_text, cross_validate, earlier_results

    if arguments.folds < 2:
        raise ConfigError(f"--folds {arguments.folds} holds nothing out; give at least 2")
    result = cross_validate(settings, ledger, dataset_id, arguments.folds)
    others = earlier_results(settings, dataset_id, arguments.folds)
    sys.stdout.write((json.dumps(result) if arguments.json else as_text(settings, result, others)) + "\n")
