"""Records of a Dataset's report: where its rows came from, what was dropped and why, and their statistics.

Rows of older versions lack the newer fields, so that every field has a default.
"""

from dataclasses import dataclass, field

from driftwheel.text.answers import AnswerForm


@dataclass(frozen=True)
class BrokenRow:
    """A row that cannot be used, and why."""

    place: str
    """``file:line``, for messages to a person."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Median, 95th percentile and largest of some lengths."""

    p50: int = 0
    p95: int = 0
    max: int = 0


@dataclass(frozen=True, kw_only=True)
class ParaphraseCount:
    """How many rewordings were asked for, and of which model."""

    model: str = ""
    asked: int = 0
    failed: str | None = None
    """Why there are none."""


@dataclass(frozen=True, kw_only=True)
class RowLengths:
    """How long rows are; tokens are counted as the base model reads a row, prompt and answer in its chat template."""

    prompt_characters: Lengths | None = None
    prompt_words: Lengths | None = None
    answer_characters: Lengths | None = None
    tokens: Lengths | None = None
    rows_cut_by_max_length: int | None = None
    """Rows that are longer than `train.max_length` and lose the end of their answer."""
    tokens_not_counted: str | None = None
    """Why they were not counted; mostly because there is no base model yet."""

    def lengths(self) -> dict[str, Lengths]:
        """Return the lengths that were measured, by what they are of."""
        names = ("prompt_characters", "prompt_words", "answer_characters", "tokens")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class SharedFrame:
    """What nearly all prompts begin and end with, such as an instruction; they are compared without it."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class MadeFrom:
    """What a Dataset was built from, to tell whether files or settings are others now."""

    files: dict[str, str] = field(default_factory=dict)
    """The hash of each source, by its name in `dataset.sources` or on the command line."""
    settings: dict[str, str] = field(default_factory=dict)
    """Each setting that decides on rows, as JSON."""


@dataclass(frozen=True, kw_only=True)
class DatasetReport(RowLengths):
    """What happened to the rows on their way into a Dataset, and what they are."""

    rows_in: int | None = None
    broken: int | None = None
    broken_rows: list[BrokenRow] = field(default_factory=list)
    """The first of them."""
    unused_columns: dict[str, list[str]] = field(default_factory=dict)
    """Columns, and keys of messages, that nothing was learned from, by file."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows by the reason why they were dropped."""
    mixed: dict[str, int] = field(default_factory=dict)
    """Training rows that were repeated, left out or made, by how."""
    paraphrases: ParaphraseCount = field(default_factory=ParaphraseCount)
    personal_data: dict[str, int] = field(default_factory=dict)
    """Pieces of personal data by kind, in the rows as they were read."""
    is_redacted: bool = False
    labels_seen_once: list[str] = field(default_factory=list)
    tested_before: int = 0
    """Rows that went to the test split because they are like an earlier test row."""
    time_cuts: dict[str, str] = field(default_factory=dict)
    """For `test` and `validation`, where rows are split by time: no row of an earlier split is dated after it."""
    labels: dict[str, int] = field(default_factory=dict)
    """Rows of the commonest labels."""
    distinct_labels: int = 0
    answer_form: AnswerForm | None = None
    """What the answers are: JSON objects, texts or both; None in older Datasets."""
    sources: dict[str, int] = field(default_factory=dict)
    unverified: dict[str, int] = field(default_factory=dict)
    """Rows that nobody trusted has vouched for, by the API key that did."""
    label_odds: float = 1.0
    """How many times as likely a wrong answer was labelled as a right one, at most, by the answers without a label."""
    slices: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows by split and slice."""
    shared: SharedFrame = field(default_factory=SharedFrame)
    made_from: MadeFrom | None = None
    """Of a Dataset from files; None in older ones."""
    forgotten: int | None = None
    """Rows that were taken out since, because somebody was forgotten."""
    parent: str | None = None
    """Id of the Dataset that these preferences were added to."""
    objective: str | None = None
    """What the preferences are for: `dpo` or `kto`."""
    preferences: dict[str, int] = field(default_factory=dict)
    """Preferences by split; of a Dataset from files by file, such as `dpo_train`."""
