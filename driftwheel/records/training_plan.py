"""What a person wants of one retrain: the Dataset to learn from, the method, and the passes over the data.

Every field has a default, so that what an older program wrote can still be read.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How one retrain differs from the settings; None leaves a thing as these have it."""

    dataset_id: str | None = None
    """The Dataset to learn from and to be judged on; None builds one of the labelled traffic."""
    method: str | None = None
    """As `train.method`."""
    num_train_epochs: float | None = None
    """As `train.num_train_epochs`; it replaces `train.max_steps` too."""

    def said(self) -> dict[str, object]:
        """Return what is planned, by name."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in values if value is not None}

    def in_words(self) -> str:
        """Return the plan as a person reads it."""
        words = [f"on {self.dataset_id}" if self.dataset_id else "", f"by {self.method}" if self.method else ""]
        passes = "" if self.num_train_epochs is None else f"{self.num_train_epochs:g} passes over the data"
        return ", ".join(filter(None, [*words, passes]))
