"""Records of an evaluation: a version's scores, and how far each form of it is from the trained model.

Every field has a default, so that a scorecard that an older program wrote can still be read.
"""

from dataclasses import dataclass, field
from typing import Literal

from driftwheel.records.json_form import only_with
from driftwheel.records.storage_path import StoragePath
from driftwheel.text.grades import Criterion

Task = Literal["labels", "json", "text", "extractive", "tools"]
Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""

Measurement = tuple[float, float | None]
"""A value and its standard error."""
GeneralTask = dict[str, int | Measurement | None]
"""`items`, and each metric of lm-eval by its name."""


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """How many items a slice has, and the share that was answered right."""

    items: int
    accuracy: float
    grade: float | None = only_with("grade")
    """Mean grade of the items, where the criterion is not right or wrong."""
    grade_interval: Interval | None = only_with("grade")


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How one label was told from the others; a share without any item is None."""

    items: int
    precision: float | None
    precision_interval: Interval | None
    recall: float
    recall_interval: Interval | None
    f1: float


@dataclass(frozen=True, kw_only=True)
class FieldScore:
    """How many expected objects have a field, and the share of answers with an equal value."""

    items: int
    accuracy: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each right label (row) was given as each label (column)."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The answers whose confidence lies from `low` to `high`, and how many of them were right."""

    low: float
    high: float
    items: int
    confidence: float
    accuracy: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class FaultScore:
    """The same questions with and without one kind of fault, paired."""

    items: int
    drop: float | None = only_with("drop")
    """Share of right answers that the fault costs."""
    drop_interval: Interval | None = only_with("drop")
    accuracy_before: float | None = only_with("drop")
    accuracy_before_interval: Interval | None = only_with("drop")
    accuracy: float | None = only_with("drop")
    accuracy_interval: Interval | None = only_with("drop")
    same_answer: float | None = only_with("drop")
    same_answer_interval: Interval | None = only_with("drop")
    note: str | None = only_with("note")
    """Why there are no numbers."""


@dataclass(frozen=True, kw_only=True)
class HopDifference:
    """How far one form of a model is from another; a difference that is no number is None."""

    against: str
    agreeing: int
    """Probes whose greedy answer is the other form's."""
    agreement: float
    agreement_interval: Interval
    tokens: int
    mean_logprob_difference: float | None
    """Mean absolute difference on the reference answers' tokens, in nats."""
    max_logprob_difference: float | None
    loss_share: float | None
    """The mean difference as a share of the other form's mean loss."""


@dataclass(frozen=True, kw_only=True)
class HopNoise:
    """How far a form of a model is from itself when it is read again, and what a hop changed beyond that.

    Shares are of the mean loss; intervals are 98 %, so that each end is passed by chance once in 100 samples.
    """

    items: int
    agreeing: int
    """Probes that were answered alike by both readings of the same form."""
    loss_share: float
    """Mean difference of log-probabilities between both readings of the same form."""
    own_share: float
    """The hop's difference without that noise."""
    own_interval: Interval
    loss_rise: float
    """By how much the loss on the reference answers rose in the hop; a fall is below zero."""
    loss_rise_interval: Interval


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """One form of a model in the parity table: its accuracy on the probes, and how far it is from the form before."""

    hop: str
    items: int
    accuracy: float
    accuracy_interval: Interval | None = None
    is_read_back: bool | None = only_with("is_read_back")
    """Of the trained form: whether it was read from disk, because its run is older than parity tables."""
    against: str | None = only_with("against")
    """The form before it; None for the first one, and then the fields up to `first` are None too."""
    agreeing: int | None = only_with("against")
    agreement: float | None = only_with("against")
    agreement_interval: Interval | None = only_with("against")
    tokens: int | None = only_with("against")
    mean_logprob_difference: float | None = only_with("against")
    max_logprob_difference: float | None = only_with("against")
    loss_share: float | None = only_with("against")
    first: HopDifference | None = only_with("against")
    """The same against the trained form."""
    noise: HopNoise | None = only_with("noise")
    """What reading the same form twice shows; None where it was not measured, or is no number."""
    coarser: tuple[str, ...] | None = only_with("coarser")
    """Of the quantized form: the schemes that `auto` passed over for this model, each with the reason."""


@dataclass(frozen=True, kw_only=True)
class PromptScore:
    """What the untuned base model scored with one way of prompting; every score is None where it could not be asked."""

    items: int = 0
    unanswered: int | None = None
    criterion: Criterion | None = only_with("criterion")
    grade: float | None = only_with("criterion")
    ungraded: int | None = only_with("criterion")
    accuracy: float | None = None
    exact_match: float | None = None
    macro_f1: float | None = None
    json_validity: float | None = None
    object_match: float | None = None
    rouge_l: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    token_f1: float | None = None
    prompt_tokens_mean: float | None = None
    intervals: dict[str, Interval | None] | None = None
    note: str | None = only_with("note")
    """Why it could not be asked."""


@dataclass(frozen=True, kw_only=True)
class EarlierBaseline:
    """What prompting the base model reached on an earlier Dataset."""

    dataset_id: str
    prompts: dict[str, PromptScore]


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What an artifact scored on a test split; what does not apply to the task is None, shares are from 0 to 1."""

    task: Task | None = None
    items: int = 0
    unanswered: int = 0
    """Items that the engine refused; they count as wrong."""
    criterion: Criterion | None = only_with("criterion")
    """What graded the answers; None where an older program wrote the scorecard, and then they are right or wrong."""
    grade: float | None = only_with("criterion")
    """Mean grade of the answers that have one; for labels it is the accuracy."""
    ungraded: int | None = only_with("criterion")
    """Answers that the criterion or its grader could not grade; they count neither way."""
    accuracy: float | None = None
    exact_match: float | None = None
    json_validity: float | None = None
    object_match: float | None = None
    tool_names: float | None = None
    """Share of answers that call the right tools, whatever they give them; no call where none is right."""
    tool_calls: float | None = None
    """Share of answers that call the right tools with the right arguments."""
    precision_macro: float | None = None
    recall_macro: float | None = None
    macro_f1: float | None = None
    precision_micro: float | None = None
    recall_micro: float | None = None
    micro_f1: float | None = None
    labels: dict[str, LabelScore] | None = None
    confusion: Confusion | None = None
    intervals: dict[str, Interval | None] = field(default_factory=dict)
    """The 95 % interval of each share, by the share's name."""
    calibration_error: float | None = None
    brier: float | None = None
    reliability: tuple[ReliabilityBin, ...] | None = None
    fields: dict[str, FieldScore] | None = None
    rouge_1: float | None = None
    rouge_2: float | None = None
    rouge_l: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    token_f1: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    prompt_tokens_mean: float | None = None
    completion_tokens_mean: float | None = None
    slices: dict[str, SliceScore] = field(default_factory=dict)
    outside_label_set: float | None = None
    """Share of labels that training never showed."""
    outside_schema: float | None = None
    """Share of objects with a field or value that training never showed."""
    outside_prompt: float | None = None
    """Share of extractive answers that are not wholly from the prompt."""
    invented: float | None = only_with("invented")
    """Share of texts with a number, or a word that training answers have from their prompts, that the prompt lacks."""
    prompt_overlap: float | None = None
    completion_tokens_per_second: float | None = None
    robustness: dict[str, FaultScore] | None = None
    general: dict[str, GeneralTask] | None = None
    perplexity: float | None = None
    """Of the reference answers."""
    dataset_id: str | None = None
    engine_start_seconds: float | None = None
    parity: tuple[ParityRow, ...] | None = only_with("parity")
    predictions_path: StoragePath | None = only_with("predictions_path")
    """What each item was answered; added when a finished evaluation is read."""
    baseline: dict[str, PromptScore] | None = None
    """The base model on the same items, by the way of prompting; added like `predictions_path`."""
    earlier_baseline: EarlierBaseline | None = None
    """The base model on an earlier Dataset, where it was not asked on this one."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The one number by which a version is judged: its accuracy, or its mean grade by the criterion."""

    name: str
    value: float
    interval: Interval | None

    @property
    def text(self) -> str:
        """The number as people read it: a share in percent, a grade of 100."""
        return f"{self.value:.1%}" if self.name == "accuracy" else f"{100 * self.value:.1f} of 100"

    @property
    def reach(self) -> str:
        """Its interval in the same unit; empty without one."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return f"{low:.1%} to {high:.1%}" if self.name == "accuracy" else f"{100 * low:.1f} to {100 * high:.1f}"


def headline(card: Scorecard | PromptScore | None) -> Headline | None:
    """Return the number by which a scorecard is judged; None where it was not measured."""
    if card is None:
        return None
    name, value = ("accuracy", card.accuracy) if card.criterion is None else (f"grade by {card.criterion}", card.grade)
    key = "accuracy" if card.criterion is None else "grade"
    return None if value is None else Headline(name=name, value=value, interval=(card.intervals or {}).get(key))
