"""Fine-tunes the base model on a Dataset, which makes a TrainingRun: LoRA, QLoRA or every weight, with TRL.

    python -m train finetune --config driftwheel.yaml --dataset DATASET_ID

The same dataset with the same `model` and `train` settings is the same run: finished work is found and not
redone, and a run that died continues from its last complete checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml

from driftwheel.errors import ConfigError, DriftwheelError, StorageError
from driftwheel.files import artifacts
from driftwheel.identity import content_hash, new_id, utc_now
from driftwheel.machine.system import only_process
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import base_ends, identity, load_base_tokenizer
from train.chat_template import template_hash
from train.data.splitting.leaks import check_dataset
from train.data.splitting.template_check import require_template, rows_of
from train.fidelity.trained import choose_probes
from train.launchers.registry import launch
from train.processes.number_type import with_number_type
from train.runs import FOLD, STARTED_FROM, STUDY, Fold, started_from, weights_path
from train.sizing.training_room import training_room
from train.training.checkpoints import last_complete_checkpoint
from train.training.class_weights import check_class_weights
from train.training.methods import why_only_merged
from train.training.training_job import TrainingJob
from train.weights.scheme_choice import require_layers

log = structlog.get_logger()


def finetune(
    settings: Settings,
    ledger: Ledger,
    dataset_id: str,
    *,
    callbacks: Sequence[Any] = (),
    study_id: str | None = None,
    fold: Fold | None = None,
) -> TrainingRun:
    """Fine-tune the base model on a dataset, or on one fold of it, or find that done already.

    `callbacks` are the Trainer's; `study_id` marks a trial of a search, which is a run like any other once it is
    trained by itself.
    Raises ConfigError, NotFoundError or DataError for what a person can put right, such as rows that leak into the
    test split, ConflictError if another process trains this run. Whatever fails is written into the run's row first.
    """
    dataset = ledger.get(Dataset, dataset_id)
    # Before the run is looked for: the number type is a part of what makes a run.
    settings = settings.model_copy(update={"train": with_number_type(settings.train)})
    if settings.merge.kind == "merged":
        # What no later step could store is said before hours of training, not after them.
        require_layers(settings.quantize, settings.base)
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
            check_dataset(settings.dataset, ledger, settings.project, dataset, settings.train.learn)
            metrics = _train(settings, rows_path, run, callbacks)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            ledger.change(run, status=TrainingRunStatus.FAILED, error=message, finished_at=utc_now())
            if own := _as_own_error(run, error):
                raise own from error
            raise
        return ledger.change(run, status=TrainingRunStatus.SUCCEEDED, metrics=metrics, finished_at=utc_now())


def _as_own_error(run: TrainingRun, error: Exception) -> DriftwheelError | None:
    """Say what to do about memory or space that ran out; None for an error that says so itself, or that is a bug."""
    if isinstance(error, MemoryError) or "out of memory" in f"{type(error).__name__}: {error}":
        return ConfigError(
            f"{run.id} ran out of memory; halve train.per_device_train_batch_size and double "
            "train.gradient_accumulation_steps"
        )
    if isinstance(error, OSError) and not isinstance(error, StorageError):
        return StorageError(f"{run.id} stopped: {error}; free some space and run the step again")
    return None


def find_or_add_run(
    settings: Settings, ledger: Ledger, dataset: Dataset, *, study_id: str | None = None, fold: Fold | None = None
) -> TrainingRun:
    """Return the row of the run that trains these settings on this dataset, new if there is none."""
    chosen = {
        "model": settings.model.model_dump(mode="json"),
        # On other devices it is the same run.
        "train": settings.train.model_dump(mode="json", exclude={"devices"}),
        "base_identity": identity(settings.base),
        **({"template_hash": template_hash(file)} if (file := settings.base.template.file) else {}),
        **({FOLD: fold.facts()} if fold else {}),
    }
    # Beside what is hashed: the base's identity says already which weights these are.
    settings_hash, start = content_hash(chosen), started_from(settings.root, settings.base_model())
    chosen |= {STARTED_FROM: start} if start else {}
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


def _train(settings: Settings, rows_path: Path, run: TrainingRun, callbacks: Sequence[Any]) -> RunMetrics:
    path = Path(run.path)
    check_class_weights(settings.train)
    # What is wrong with template and lengths would else be found when training has ended, and its weights were lost.
    tokenizer = load_base_tokenizer(settings.base)
    ends = base_ends(settings.base, tokenizer)
    require_template(tokenizer, ends, rows_of(rows_path, settings.train.objective, settings.train.learn))
    choose_probes(settings, rows_path, tokenizer, ends)
    if reason := why_only_merged(settings.train):
        log.warning("this result can be served only after a merge", run=run.id, reason=reason)
    # Without the database's address, which may have a password in it; a run's folder is shown to others.
    text = yaml.safe_dump(settings.without_secrets(), sort_keys=False, allow_unicode=True)
    (path / "settings.yaml").write_text(text, encoding="utf-8")
    checkpoint = last_complete_checkpoint(path)
    job = TrainingJob(settings=settings, rows_path=rows_path, run=run, checkpoint=checkpoint, callbacks=callbacks)
    with training_room(settings.train, settings.serve, settings.base, settings.root, run.id):
        return launch(job)
