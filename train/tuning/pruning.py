"""Stops trials that will not be among the better ones, by their validation losses on the way."""

from typing import Any

import optuna


def pruner(trial: optuna.Trial) -> Any:
    """Return the Trainer's callback that reports each validation loss to the study, and stops a trial that is no good.

    It raises TrialPruned where the study says so.
    """
    # Here and not above: it imports torch, and OpenMP must have been told before that how threads are to wait.
    from transformers import TrainerCallback

    class Pruner(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
            loss = metrics["eval_loss"]
            trial.report(loss, state.global_step)
            if trial.should_prune():
                raise optuna.TrialPruned(f"validation loss {loss:.4f} at step {state.global_step} is over the median")

    return Pruner()
