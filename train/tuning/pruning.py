"""Stops trials that will not be among the better ones, by their validation losses on the way."""

from typing import Any

import optuna
from transformers import TrainerCallback


class Pruner(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Reports each validation loss to the study, and stops a trial that will not be among the better ones."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Report, and raise TrialPruned where the study says so."""
        loss = metrics["eval_loss"]
        self._trial.report(loss, state.global_step)
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"validation loss {loss:.4f} at step {state.global_step} is over the median")
