"""Runs one training in this process, alone or as one of several: trainer, curves, weights, metrics."""

from pathlib import Path
from typing import Any

from rich.console import Console

from driftwheel.records.json_form import as_json
from driftwheel.records.run_metrics import RunMetrics
from train.fidelity.trained import remember
from train.processes.first_process import folder_to_write, is_first_process
from train.processes.number_type import use_best_threads
from train.runs import weights_path
from train.training.methods import keep_start, save_weights, why_only_merged
from train.training.preference_trainer import make_preference_trainer
from train.training.progress import CurveWriter, ProgressBar, end_with_the_last_step
from train.training.sharding import Together, peak_memory_bytes, whole_weights
from train.training.trainer import make_trainer
from train.training.training_job import TrainingJob


def train_here(job: TrainingJob) -> RunMetrics:
    """Train in this process, alone or as one of several, write the weights and return the run's metrics.

    Of several processes only the first writes; the others take part until the end, and return its metrics too.
    """
    settings, run, path = job.settings, job.run, Path(job.run.path)
    curves = CurveWriter(path)
    bar = ProgressBar(curves, Console(stderr=True))
    own = [curves, bar, *job.callbacks] if is_first_process() else []
    if settings.train.num_processes == 1:  # several have one core each
        use_best_threads()
    make = make_trainer if settings.train.objective == "sft" else make_preference_trainer
    callbacks = own if settings.train.num_processes == 1 else [Together(), *own]
    trainer = make(settings.train, settings.base, job.rows_path, path, callbacks)
    keep_start(trainer.model, settings.train, path)
    end_with_the_last_step(trainer)
    try:
        result = trainer.train(resume_from_checkpoint=str(job.checkpoint) if job.checkpoint else None)
        facts = {
            "run_id": run.id,
            "dataset_id": run.dataset_id,
            "base_model": run.base_model,
            "method": run.method,
            "why_only_merged": why_only_merged(settings.train),
        }
        weights = whole_weights(trainer)
        with folder_to_write(weights_path(run), facts) as folder:
            if is_first_process():
                save_weights(trainer.model, settings.train, path, folder, weights)
                trainer.processing_class.save_pretrained(folder)
            facts |= as_json(remember(settings, job.rows_path, trainer, folder))
        return _metrics(trainer, result, curves, resumed_from=job.checkpoint)
    finally:
        bar.close()
        trainer.end()


def _metrics(trainer: Any, result: Any, curves: CurveWriter, *, resumed_from: Path | None) -> RunMetrics:
    parameters = list(trainer.model.parameters())
    state = trainer.state
    seconds = curves.elapsed_seconds
    margins = {h["step"]: h["eval_rewards/margins"] for h in state.log_history if "eval_rewards/margins" in h}
    return RunMetrics(
        train_loss=result.training_loss,
        eval_loss=state.best_metric,
        steps=state.global_step,
        best_step=state.best_global_step,
        epochs=round(state.epoch or 0.0, 3),
        stopped_early=state.global_step < state.max_steps,
        tokens=int(curves.useful_tokens),
        tokens_per_second=round(curves.useful_tokens / max(seconds, 1e-6), 1),
        train_seconds=round(seconds, 2),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        parameters=sum(p.numel() for p in parameters),
        peak_memory_bytes=peak_memory_bytes(trainer),
        reward_margin=margins.get(state.best_global_step),
        resumed_from_step=int(resumed_from.name.rpartition("-")[2]) if resumed_from else None,
    )
