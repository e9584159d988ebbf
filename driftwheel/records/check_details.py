"""Records of a drift check: the details of its signals, and the facts that its decision rested on.

Every field has a default, so that what an older program wrote can still be read.
"""

from dataclasses import dataclass, field

from driftwheel.records.diagnosis import Diagnosis, Finding
from driftwheel.records.json_form import only_with
from driftwheel.records.training_plan import TrainingPlan

DECIDING = "all"
"""The feature of the drift signal that decides its kind; the other signals of the kind are its single features."""


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """What the Evidently report says about one column."""

    score: float | None = None
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class SignalDetails:
    """What a signal's check knew beside the numbers of the signal; each kind fills in what is its own."""

    level: float | None = None
    """False-alarm probability of this one decision."""
    features: dict[str, float] = field(default_factory=dict)
    """Standardized statistic of each feature of the kind."""
    shifted_words: list[str] = field(default_factory=list)
    """Words whose share of the prompts grew most."""
    strangest_prompts: list[str] = field(default_factory=list)
    """Prompts least like anything in the reference."""
    diagnosis: Diagnosis | None = None
    """What changed, in sentences; with the decisive signal of each kind that is over its threshold."""
    evidently: ColumnDrift | None = None
    accuracy: float | None = None
    """Share of right answers among the labelled rows of the newest windows; None where they are no fair sample."""
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    """Ends of its 95 % interval, which holds what the answers without a label might be."""
    estimate: float | None = None
    """The same share among labels that people chose to give; it says less, and starts no retrain."""
    basis: str | None = None
    """Which answers are labelled."""
    is_proved: bool | None = None
    """Whether a loss is beyond an anytime-valid bound; an alarm without it is an estimate."""
    said: list[str] = field(default_factory=list)
    """How often people correct and complain, now and before, in words."""
    baseline: float | None = None
    """The same when the version was judged."""
    criterion: str | None = None
    """What graded the answers, where they are good by degrees; then all these shares are mean grades."""
    labelled_rows: int | None = None
    error_share: float | None = None
    latency_ratio: float | None = None
    """Median latency over that of the version's first window."""


@dataclass(frozen=True, kw_only=True)
class DecisionBasis:
    """What was known when the policy decided."""

    version_id: str | None = None
    verdicts: dict[str, str] = field(default_factory=dict)
    """The verdict on each kind of drift."""
    findings: list[Finding] = field(default_factory=list)
    """What changed in prompts and answers, in sentences, each with what would help."""
    fresh_labels: int | None = None
    refused_in_a_row: int | None = None
    plan: TrainingPlan | None = only_with("plan")
    """What a person wants of this retrain, where it differs from the settings."""
