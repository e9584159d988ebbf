"""Settings of merging, quantizing, parity, evaluation and gate: from a run to a version."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from driftwheel.machine.child_secrets import JUDGE_KEY
from driftwheel.quantization import AUTO, known_scheme, meanings
from driftwheel.settings.secret import Secret, without_user
from driftwheel.settings.section import Section


class MergeSettings(Section):
    kind: Literal["merged", "adapter"] = "merged"
    """Serve one merged model, or the LoRA adapter on an engine with its base: swapped in a second, slower answers."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type the merged weights are cast to, or that an adapter's base is served in; the merge itself is in float32."""


class QuantizeSettings(Section):
    scheme: Annotated[str, AfterValidator(known_scheme)] = Field(AUTO, description=meanings())
    ignore: list[str] = ["lm_head"]
    """Modules left as they are."""
    calibration_rows: int = Field(128, ge=8)
    """Training rows shown to llm-compressor."""
    llmcompressor_python: str | None = None
    """Python of an environment with llm-compressor; None makes one in the storage folder with `uv`."""


class ParitySettings(Section):
    items: int = Field(200, ge=8)
    """Test items that every form of the model answers: in the trainer, merged, quantized and served."""
    merged_agreement: float | None = Field(None, gt=0, le=1)
    """Share of greedy answers that merging must keep; None lets it lose 3 % more than reading the same model twice."""
    merged_gap: float | None = Field(None, gt=0)
    """Difference of log-probabilities that merging may cause, as a share of the loss; None goes by readers' noise."""
    quantized_agreement: float | None = Field(None, gt=0, le=1)
    """The same share for the step from merged to quantized; None lets it lose 10 % more than reading twice does."""
    quantized_gap: float | None = Field(None, gt=0)
    """The same difference for the step from merged to quantized; None allows more where no answer gets worse."""
    served_agreement: float | None = Field(None, gt=0, le=1)
    """The same share for the step from the quantized files to the endpoint; None lets it lose 10 % more."""
    served_gap: float | None = Field(None, gt=0)
    """The same difference for the step from the quantized files to the endpoint; None goes by the readers' noise."""


class EvaluateSettings(Section):
    task: Literal["auto", "labels", "json", "text", "extractive", "tools"] = "auto"
    """Which metrics; `auto` looks at the answers. Extractive is text that must come from the prompt."""
    max_items: int = Field(1000, ge=20)
    """Test items scored at most, drawn with the dataset's seed."""
    criterion: Literal["auto", "right", "fields", "calls", "chrf", "rouge_l", "token_f1", "judge", "http"] = "auto"
    """What grades an answer; `auto` takes right or wrong for labels, fields of JSON, calls of tools, chrF of texts."""
    max_tokens: int = Field(64, ge=1)
    """Longest answer, in tokens."""
    concurrency: int = Field(16, ge=1)
    """Requests in flight."""
    few_shot: int = Field(5, ge=0)
    """Examples in the base model's few-shot prompt, fixed ones and the nearest ones."""
    baseline_items: int = Field(200, ge=0)
    """Test items on which the base model is asked plainly, with fixed and with retrieved examples; 0 leaves it out."""
    robustness_items: int = Field(40, ge=0)
    """Test items that are asked again with typos, other casing, no punctuation and swapped words; 0 leaves it out."""
    general_tasks: list[str] = []
    """Tasks of lm-eval, their data at hand, that are asked beside the test items and show what a version forgot."""
    general_path: str | None = None
    """Folder with tasks of your own for lm-eval, relative to the settings file."""
    general_items: int = Field(200, ge=1)
    """Items of each such task at most."""
    lm_eval_python: str | None = None
    """Python of an environment with lm-eval; None makes one in the storage folder with `uv`."""
    judge_url: str | None = None
    """OpenAI-compatible endpoint that judges answers pairwise and rewords test items; key: DRIFTWHEEL_JUDGE_API_KEY."""
    judge_model: str | None = None
    """Name of the judge's model at that endpoint."""

    judge_max_calls: int = Field(2000, ge=1)
    """Most calls of the judge or the grader for one version's grades, those of the base model's answers included."""
    grader_url: Secret | None = None
    """Where `criterion: http` sends each prompt, answer and references, to get `{"grade": x}` with x from 0 to 1."""

    @field_validator("judge_url")
    @classmethod
    def _judge_is_told_its_key_apart(cls, url: str | None) -> str | None:
        return without_user(url, "judge_url", JUDGE_KEY)

    @model_validator(mode="after")
    def _judge_is_whole(self) -> Self:
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model belong together: set both or none")
        if self.criterion == "judge" and self.judge_url is None:
            raise ValueError("criterion judge needs judge_url and judge_model")
        if self.criterion == "http" and self.grader_url is None:
            raise ValueError("criterion http needs grader_url")
        if self.grader_url is not None and not _is_web_address(self.grader_url.get_secret_value()):
            raise ValueError("grader_url is no address; write http:// or https://, host and path")
        return self


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a bracket that is not closed, or a port that is no number
        return False


class GateSettings(Section):
    false_promotion: float = Field(0.01, gt=0, le=0.5)
    """Declared budget: the chance that any of `gate.candidates` in a row that are no better is promoted."""
    candidates: int = Field(100, ge=1)
    """How many candidates share that budget; each is judged at the level `false_promotion` / `candidates`."""
    max_looks: int = Field(5, ge=1)
    """Candidates judged on the same test items before these are spent and promote nobody."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence of the intervals shown, and with which what must not get worse is shown not to."""
    min_gain: float = Field(0.0, ge=0, lt=1)
    """The target items must be shown to gain more than this, as a share of correct answers or a mean grade."""
    max_regression: float = Field(0.02, ge=0, lt=1)
    """Old items, and each slice in `gate.contracts`, may lose at most this share of correct answers or mean grade."""
    max_slice_regression: float = Field(0.03, ge=0, lt=1)
    """Each slice with enough items may lose at most this share, or `max_regression` if that is more."""
    contracts: list[str] = []
    """Slices, such as `label:refund`, that must be shown not to get worse however few items they have."""
    min_items: int = Field(100, ge=10)
    """Fewer paired items are INCONCLUSIVE."""
    max_ungraded: float = Field(0.02, ge=0, lt=1)
    """More items than this share without a grade, by a grader that failed, are INCONCLUSIVE."""
