"""Records of what a training measured, kept with its TrainingRun."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """Numbers of one training; None for what was not measured, or is not known yet."""

    train_loss: float | None = None
    """Mean over the steps, in nats a token."""
    eval_loss: float | None = None
    """The least validation loss, which chose the checkpoint; replayed rows weigh no more in it than new ones."""
    steps: int | None = None
    best_step: int | None = None
    """The step of the least validation loss."""
    epochs: float | None = None
    stopped_early: bool | None = None
    tokens: int | None = None
    """Tokens that were trained on, without padding."""
    tokens_per_second: float | None = None
    train_seconds: float | None = None
    """Over all attempts, if it was resumed."""
    trainable_parameters: int | None = None
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    """Of the GPU, or without one of the process; of several processes the one that took most."""
    reward_margin: float | None = None
    """Preferences only: how much more the better answers are rewarded, at the best step."""
    resumed_from_step: int | None = None

    def known(self) -> dict[str, float]:
        """Return what was measured, by name."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in values if value is not None}
