"""Settings of the base model and of the data to learn from."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from driftwheel.machine.child_secrets import PARAPHRASE_KEY
from driftwheel.settings.secret import without_user
from driftwheel.settings.section import Section

OWN_SLICES = frozenset({"label", "length", "source", "age"})
"""How the names of the slices begin that each test split has."""
HUB = "hf://"
"""How a source begins that is a data set of the Hugging Face hub."""
SHIPPED = "trl:"
"""What `model.template.file` begins with where it names a template that ships inside TRL."""
Variable = bool | int | float | str
"""What a chat template may be told beside the conversation."""
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class TemplateSettings(Section):
    file: str | None = None
    """Jinja file used instead of the base model's own chat template; `trl:NAME` is one that ships inside TRL."""
    kwargs: dict[VariableName, Variable] | None = None
    """Variables that the template is given, such as `enable_thinking: false`. None leaves thoughts out where the
    template would else put an empty block of them before each answer; `{}` gives none."""


Cleaning = Literal["off", "unicode", "strip"]


class ModelSettings(Section):
    base: str
    """Folder or hub name of the base model, such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """Hub revision to pin."""
    template: TemplateSettings = TemplateSettings()
    """How conversations become tokens: for data, training, parity, engines and evaluation alike."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model as it is loaded."""

    name: str
    """As the settings write it, which stays the same wherever the project's folder lies."""
    source: str
    """Its local folder where there is one, else its hub name."""
    revision: str | None = None
    template: TemplateSettings = field(default_factory=TemplateSettings)
    """Its file absolute, or the name of one that TRL ships."""


class SourceSettings(Section):
    path: str
    """A file or a folder, relative to the settings file, or a data set of the hub: `hf://OWNER/NAME:SPLIT`."""
    weight: float = Field(1.0, gt=0, le=10)
    """How often its training rows are drawn: 2 is each twice, 0.5 a random half; rows that judge stay as they are."""


class DatasetSettings(Section):
    sources: list[str | SourceSettings] = Field(min_length=1)
    """Data files, folders of them, or `hf://OWNER/NAME:SPLIT`; `{path: FILE, weight: 2}` draws rows more often."""
    format: Literal[
        "auto",
        "prompt_completion",
        "messages",
        "alpaca",
        "sharegpt",
        "human_assistant",
        "labelled_text",
        "preference",
        "kto",
        "plain_text",
    ] = "auto"
    """Shape of a row; `auto` looks at the first row of each file."""
    prompt_column: str = "prompt"
    """Column with the prompt in prompt/completion rows."""
    completion_column: str = "completion"
    """Column with the completion in prompt/completion rows."""
    group_column: str | None = None
    """Column whose equal values never end up in different splits (a user, a conversation)."""
    slice_columns: list[str] = []
    """Columns whose values are slices of the test items: each group, such as `region:north`, is judged by itself."""
    time_column: str | None = None
    """Column with a row's time; then the newest rows are the test split, those before them validation."""
    label_field: str | None = None
    """Field of a JSON answer that is the label; None means the whole answer."""
    validation_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of groups held out to choose the checkpoint."""
    test_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of groups held out for evaluation and gate."""
    near_duplicate_similarity: float = Field(0.9, ge=0.5, le=1)
    """Share of characters in which two prompts must agree, typos and word order aside, to count as the same."""
    clean: Cleaning = "off"
    """What is changed in prompts, not in answers or at serving: `unicode` mends encodings, `strip` also drops HTML."""
    same_prompt: Literal["auto", "references", "conflict"] = "auto"
    """Different answers to a prompt: all right (`references`), or only the first; `auto` tells by all answers."""
    on_leak: Literal["test", "drop", "refuse"] = "test"
    """What happens to a file's row that is like an earlier test row: back to the test split, left out, or an error."""
    balance: Literal["none", "oversample"] = "none"
    """`oversample` repeats training rows of rare labels, up to ten times, until all labels have as many."""
    augmented_share: float = Field(0.0, ge=0, le=0.5)
    """Share of the training rows that are copies of others with typos or other casing."""
    paraphrase_url: str | None = None
    """OpenAI-compatible endpoint that rewords training rows, which it is sent; key: DRIFTWHEEL_PARAPHRASE_API_KEY."""
    paraphrase_model: str | None = None
    """Name of the model that rewords, at that endpoint."""
    paraphrase_copies: int = Field(1, ge=1, le=5)
    """Rewordings asked for of each training row, each in another manner."""
    paraphrase_share: float = Field(0.3, gt=0, le=0.5)
    """Largest share of the training rows that are rewordings."""
    on_paraphrase_failure: Literal["stop", "skip"] = "stop"
    """What a failing endpoint does: stop the build, or let it go on without rewordings and say so."""
    redact: bool = False
    """Replace e-mail and IP addresses, cards, IBANs and phone numbers in prompts and answers by `<EMAIL>` and so on."""
    max_broken_share: float = Field(0.02, ge=0, le=1)
    """More broken rows than this stop the step."""
    min_rows: int = Field(50, ge=3)
    """Fewer clean rows than this stop the step."""
    replay_share: float = Field(0.5, ge=0, le=5)
    """Rows of the previous dataset kept in a retrain, as a multiple of the fresh rows."""
    fresh_test_share: float = Field(0.3, gt=0, lt=0.8)
    """Share of fresh traffic held out for the gate when a retrain builds its dataset."""
    max_rows_per_key: int = Field(20, ge=0)
    """Rows of one API key without trust that a retrain may learn from; one with scope `label:trusted` has no cap."""
    max_unverified_rows: int = Field(100, ge=0)
    """Rows of all keys without trust together that it may learn; `driftwheel feedback confirm` vouches for more."""
    trusted_labels: Literal["checked", "sampled"] = "checked"
    """`sampled` promises that trusted labels were asked for without looking at the answer; `checked` lets judge only
    those of authors who also say so where the model was right."""
    max_accepted_rows: int = Field(500, ge=0)
    """Rows that a retrain may learn from on a thumbs-up alone."""
    seed: int = 0
    """Seed of splits and sampling."""

    @field_validator("paraphrase_url")
    @classmethod
    def _paraphraser_is_told_its_key_apart(cls, url: str | None) -> str | None:
        return without_user(url, "paraphrase_url", PARAPHRASE_KEY)

    @model_validator(mode="after")
    def _paraphraser_is_whole(self) -> Self:
        if (self.paraphrase_url is None) != (self.paraphrase_model is None):
            raise ValueError("paraphrase_url and paraphrase_model belong together: set both or none")
        return self

    @model_validator(mode="after")
    def _slices_have_names_of_their_own(self) -> Self:
        if taken := sorted(OWN_SLICES & set(self.slice_columns)):
            raise ValueError(f"slice_columns names {taken[0]!r}, of which there are slices already; rename the column")
        return self

    def weighted_sources(self) -> list[SourceSettings]:
        """Return the sources, each with its weight."""
        return [SourceSettings(path=s) if isinstance(s, str) else s for s in self.sources]
