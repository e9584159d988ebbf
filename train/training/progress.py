"""Callbacks of the Trainer that draw a progress bar and write the points of curves.jsonl.

The bar goes to stderr: live on a terminal, elsewhere one plain line in five seconds at most.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from driftwheel.errors import ConfigError
from train.step_progress import PLAIN_LINE_SECONDS
from train.training.checkpoints import CHECKPOINT_MARK
from train.training.curves import CURVES, CurvePoint, as_line, read_curves


class CurveWriter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Appends a point to curves.jsonl at each log and marks each finished checkpoint."""

    def __init__(self, run_path: Path) -> None:
        self.run_path = run_path
        self.useful_tokens = 0.0
        self._elapsed_before = 0.0
        self._started_at = time.monotonic()
        self._last_at = self._started_at
        self._tokens_before = 0.0

    @property
    def elapsed_seconds(self) -> float:
        """Training time so far, including that of earlier attempts."""
        return self._elapsed_before + time.monotonic() - self._started_at

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop the points after the checkpoint that training resumes from."""
        points = [p for p in read_curves(self.run_path) if p.step <= state.global_step]
        (self.run_path / CURVES).write_text("".join(map(as_line, points)), encoding="utf-8")
        self._elapsed_before = points[-1].elapsed_seconds if points else 0.0
        self._started_at = self._last_at = time.monotonic()
        self.useful_tokens = self._tokens_before = max((p.tokens or 0.0 for p in points), default=0.0)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
        """Write one point; raises ConfigError when the loss is no number any more."""
        if "loss" not in logs and "eval_loss" not in logs:
            return
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise ConfigError(f"the loss is {loss} at step {state.global_step}; lower train.learning_rate")
        speed = self._tokens_per_second(logs) if "num_tokens" in logs and loss is not None else None
        point = CurvePoint(
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 4),
            loss=loss,
            eval_loss=logs.get("eval_loss"),
            learning_rate=logs.get("learning_rate"),
            tokens=self.useful_tokens,
            tokens_per_second=speed,
            elapsed_seconds=round(self.elapsed_seconds, 3),
        )
        with (self.run_path / CURVES).open("a", encoding="utf-8") as file:
            file.write(as_line(point))

    def _tokens_per_second(self, logs: Mapping[str, float]) -> float:
        # The Trainer counts non-padding tokens, from zero again after a resume.
        now, tokens = time.monotonic(), self._tokens_before + float(logs["num_tokens"])
        speed = (tokens - self.useful_tokens) / max(now - self._last_at, 1e-6)
        self._last_at, self.useful_tokens = now, tokens
        return round(speed, 1)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint that was just written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            (folder / CHECKPOINT_MARK).touch()


class ProgressBar(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Shows loss, useful tokens a second and the time left."""

    def __init__(self, curves: CurveWriter, console: Console) -> None:
        self._curves, self._console = curves, console
        self._loss: float | None = None
        self._eval_loss: float | None = None
        self._validated = 0
        self._started_at = self._printed_at = time.monotonic()
        self._first_step = 0
        columns = (TextColumn("fine-tuning"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar at the step that training resumes from."""
        self._started_at, self._first_step = time.monotonic(), state.global_step
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self._bar.start()
        if state.global_step >= state.max_steps:
            self._say(f"all {state.max_steps} steps were trained before; only the rest is done")
        elif state.global_step:
            self._say(f"resumed at step {state.global_step} of {state.max_steps}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
        """Take over the newest losses."""
        self._loss = logs.get("loss", self._loss)
        self._eval_loss = logs.get("eval_loss", self._eval_loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar, or print a line now and then."""
        now = time.monotonic()
        per_step = (now - self._started_at) / max(1, state.global_step - self._first_step)
        tokens = self._curves.useful_tokens
        speed = tokens / max(self._curves.elapsed_seconds, 1e-6)
        # The first loss is logged after the first step, and validation comes later.
        loss = "" if self._loss is None else f"loss {self._loss:.4f}  "
        validation = "" if self._eval_loss is None else f"validation {self._eval_loss:.4f}  "
        text = f"{loss}{validation}{speed:,.0f} tokens/s"
        self._bar.update(self._task, completed=state.global_step, description=text)
        if not self._console.is_terminal and now - self._printed_at >= PLAIN_LINE_SECONDS:
            self._printed_at = now
            left = per_step * (state.max_steps - state.global_step)
            self._say(f"step {state.global_step}/{state.max_steps}  {text}  {left:.0f} s left")

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        """Count the batches of a validation, and print a line now and then."""
        self._validated += 1
        now, total = time.monotonic(), len(eval_dataloader) if eval_dataloader is not None else None
        text = f"validation batch {self._validated}" + ("" if total is None else f"/{total}")
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal and now - self._printed_at >= PLAIN_LINE_SECONDS:
            self._printed_at = now
            self._say(f"step {state.global_step}/{state.max_steps}  {text}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the next validation at its first batch."""
        self._validated = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the bar, and say how the training ended."""
        self.close()
        losses = {"loss": self._loss, "validation": self._eval_loss}
        shown = "".join(f"  {name} {loss:.4f}" for name, loss in losses.items() if loss is not None)
        is_early = state.global_step < state.max_steps
        why = ", because validation got no better" if is_early else ""
        seconds = time.monotonic() - self._started_at
        self._say(f"trained {state.global_step} of {state.max_steps} steps in {seconds:.0f} s{why}{shown}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the bar, also after a failure."""
        self._bar.stop()


def end_with_the_last_step(trainer: Any) -> None:
    """Keep a trainer from training on when it resumes from its last step's checkpoint.

    Transformers looks whether it is done only after a step, so that a run which died between its last checkpoint and
    the writing of its weights would learn from one more batch than its settings say.
    """
    drawn = trainer.get_batch_samples

    def get_batch_samples(*given: Any) -> Any:
        if trainer.state.global_step < trainer.state.max_steps:
            return drawn(*given)
        trainer.control.should_training_stop = True
        return [], None

    trainer.get_batch_samples = get_batch_samples
