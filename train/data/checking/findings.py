"""What a check of data files found; its fields are the keys of `data check --json`."""

from dataclasses import dataclass, field

from driftwheel.records.dataset_report import BrokenRow, RowLengths, SharedFrame


@dataclass(frozen=True, kw_only=True)
class FileFound:
    """One file, and the rows of it that cannot be read."""

    file: str
    format: str
    rows: int
    broken: int
    broken_rows: list[BrokenRow]
    """The first of them."""
    unused: list[str] = field(default_factory=list)
    """Columns, and keys of messages, that nothing is learned from."""
    pairs: int = 0
    """Rows with a better and a worse answer; the worse one is never learned."""
    bad: int = 0
    """Rows whose answer is marked as bad, and never learned."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Rows that repeat an earlier prompt."""

    rows: int
    examples: list[list[str]]
    """Lines that show rows which belong together, as those of the next two do."""


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Prompts that have different answers."""

    prompts: int
    examples: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class References:
    """Prompts that have several right answers, which are all learned and all judged by."""

    prompts: int = 0
    answers: int = 0
    examples: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class AnswersFound:
    """Rows with a right answer that teaches and grades nothing: it is empty, or it is the prompt again."""

    empty: int = 0
    echoed: int = 0
    examples: list[str] = field(default_factory=list)
    """Where the first of them stand."""


@dataclass(frozen=True, kw_only=True)
class CleaningFound:
    """Prompts that a choice of `dataset.clean` would change."""

    prompts: int
    examples: list[str]
    """Before and after."""


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """Pairs of prompts that are nearly the same."""

    pairs: int
    rows_compared: int
    rows_left_out: int
    examples: list[list[str]]
    shared: SharedFrame = field(default_factory=SharedFrame)
    """What nearly all prompts begin and end with; it was left out of the comparison."""


@dataclass(frozen=True, kw_only=True)
class PersonalDataFound:
    """Pieces of personal data of one kind."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Masked."""


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A row that is unlike the others."""

    place: str
    why: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TemplateFound:
    """Rows that the base model's chat template does not give as they are."""

    rows_checked: int = 0
    """None where the base model has no tokenizer or template to check with."""
    faults: int = 0
    examples: list[str] = field(default_factory=list)
    """The first of them, with the reasons."""


@dataclass(frozen=True, kw_only=True)
class Findings(RowLengths):
    """All that was found in some files, and what to do about it."""

    files: list[FileFound]
    rows: int
    labels: dict[str, int]
    distinct_labels: int
    labels_seen_once: list[str]
    labels_alike: list[list[str]] = field(default_factory=list)
    """Labels that differ by case, space or width of letters alone, in groups."""
    is_free_text: bool = False
    """Whether the answers are texts, and no labels."""
    missing_column: str | None = None
    """What is wrong with a column that the settings name and no row has."""
    languages: dict[str, float]
    """Share of the prompts by ISO 639-1 code."""
    duplicates: Duplicates
    conflicts: Conflicts
    """Rows that a build leaves out; where answers are texts there are none, but references."""
    references: References = field(default_factory=References)
    cleaning: dict[str, CleaningFound] = field(default_factory=dict)
    """What each choice of `dataset.clean` would change; answers are changed by none."""
    useless_answers: AnswersFound = field(default_factory=AnswersFound)
    near_duplicates: NearPairs
    personal_data: dict[str, PersonalDataFound]
    outliers: list[Outlier]
    template: TemplateFound = field(default_factory=TemplateFound)
    suggestions: list[str] = field(default_factory=list)
