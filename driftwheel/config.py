"""One YAML file becomes frozen settings, its sections in the order of the circle.

Precedence: defaults < file < environment ``DRIFTWHEEL__SECTION__KEY`` < ``--set section.key=value``.
Secrets are never settings: API keys come from the environment variable DRIFTWHEEL_API_KEYS.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from driftwheel.errors import ConfigError
from driftwheel.records import content_hash

ENVIRONMENT_PREFIX = "DRIFTWHEEL__"


class Section(BaseModel):
    """A part of the settings: frozen, unknown keys refused, the docstring under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelSettings(Section):
    base: str
    """Folder or hub name of the base model, such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """Hub revision to pin."""


class SourceSettings(Section):
    path: str
    """JSONL, CSV or Parquet file, relative to the settings file."""
    weight: float = Field(1.0, gt=0, le=10)
    """How often its training rows are drawn: 2 is each twice, 0.5 a random half; rows that judge stay as they are."""


class DatasetSettings(Section):
    sources: list[str | SourceSettings] = Field(min_length=1)
    """JSONL, CSV or Parquet files, relative to the settings file; `{path: FILE, weight: 2}` draws rows more often."""
    format: Literal["auto", "prompt_completion", "messages", "alpaca", "sharegpt", "human_assistant"] = "auto"
    """Shape of a row; `auto` looks at the first rows."""
    prompt_column: str = "prompt"
    """Column with the prompt in prompt/completion rows."""
    completion_column: str = "completion"
    """Column with the completion in prompt/completion rows."""
    group_column: str | None = None
    """Column whose equal values never end up in different splits (a user, a conversation)."""
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
    max_rows_per_user: int = Field(1000, ge=1)
    """Labelled rows of one user or key that a retrain may learn from."""
    max_accepted_rows: int = Field(500, ge=0)
    """Rows that a retrain may learn from on a thumbs-up alone."""
    seed: int = 0
    """Seed of splits and sampling."""

    @model_validator(mode="after")
    def _paraphraser_is_whole(self) -> Self:
        if (self.paraphrase_url is None) != (self.paraphrase_model is None):
            raise ValueError("paraphrase_url and paraphrase_model belong together: set both or none")
        return self

    def weighted_sources(self) -> list[SourceSettings]:
        """Return the sources, each with its weight."""
        return [SourceSettings(path=s) if isinstance(s, str) else s for s in self.sources]


class TrainSettings(Section):
    method: Literal["lora", "qlora", "full"] = "lora"
    """What is trained: low-rank adapters, adapters on a 4-bit base (GPU), or every weight."""
    objective: Literal["sft", "dpo", "kto"] = "sft"
    """Learn right answers (sft), corrections before the model's answers (dpo), or thumbs (kto)."""
    beta: float = Field(0.1, gt=0)
    """How close dpo and kto stay to the model that they start from."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """Weight of a row in the loss by its label: `balanced` gives rare labels more, or `{label: weight}`, others 1."""
    learning_rate: float = Field(2e-4, gt=0, le=1)
    """Peak learning rate; dpo and kto want a tenth of sft's."""
    num_train_epochs: float = Field(3, gt=0)
    """Passes over the training split."""
    max_steps: int = -1
    """Optimizer steps; above 0 it replaces the epochs."""
    per_device_train_batch_size: int = Field(16, ge=1)
    """Examples per step and device."""
    per_device_eval_batch_size: int = Field(32, ge=1)
    """Examples per validation batch."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches per optimizer step."""
    lora_r: int = Field(16, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """Scale of the adapters."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    lora_target_modules: str | list[str] = "all-linear"
    """Modules that get an adapter."""
    lora_modules_to_save: list[str] | None = None
    """Modules trained whole beside the adapters; such a result is always merged."""
    use_rslora: bool = False
    """Divide the adapters' scale by the rank's root (rsLoRA), for ranks of 64 and more."""
    use_dora: bool = False
    """Learn a weight's direction and length apart (DoRA); such a result is always merged."""
    init_lora_weights: Literal[True, "gaussian", "pissa"] | Annotated[str, Field(pattern=r"^pissa_niter_[1-9]\d*$")] = (
        True
    )
    """First values of the adapters: PEFT's own, or the base's largest singular values (`pissa`, `pissa_niter_16`)."""
    max_length: int = Field(1024, ge=8)
    """Longer examples are cut, in tokens."""
    packing: bool = False
    """Put several examples into one row."""
    warmup_steps: float = Field(0.05, ge=0)
    """Steps of warm-up; below 1 a share of all steps."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""
    optim: str = "adamw_torch_fused"
    """Optimizer, by its name in transformers: adamw_torch, adafactor, paged_adamw_8bit ..."""
    optim_args: str | None = None
    """Its further arguments, such as `eps2=1e-8`."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's mean."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's variance."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """What AdamW adds to its denominator."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Longer gradients are cut to this; 0 cuts none."""
    neftune_noise_alpha: float | None = Field(None, gt=0)
    """Noise on the embeddings while training (NEFTune)."""
    lr_scheduler_type: str = "cosine"
    """Schedule of the learning rate."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    """The schedule's further arguments, such as num_cycles."""
    gradient_checkpointing: bool = False
    """Trade speed for memory."""
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "short_first"] = "group_by_length"
    """Order of the examples; grouping by length wastes less padding, `short_first` begins with an epoch by length."""
    bf16: bool = True
    """Mixed precision in bfloat16."""
    eval_steps: int = Field(50, ge=1)
    """Validate and save every so many steps."""
    logging_steps: int = Field(5, ge=1)
    """Write a point of the curve every so many steps."""
    save_total_limit: int = Field(2, ge=1)
    """Checkpoints kept."""
    early_stopping_patience: int = Field(3, ge=0)
    """Validations without a better loss before training stops; 0 never stops early."""
    seed: int = 0
    """Seed of weights, order and dropout."""
    report_to: str | list[str] = "none"
    """Passed to the Trainer: tensorboard, mlflow, wandb ..."""
    num_processes: int = Field(1, ge=1)
    """Processes that train together, one a GPU; a step learns from this many times the examples per device."""
    fsdp: bool = True
    """Several processes keep a shard of the weights each (FSDP2); off, each keeps them all."""
    executor: Literal["local", "ray"] = "local"
    """Where they run: on this machine (accelerate), or on the nodes of a Ray cluster (Ray Train)."""
    ray_address: str = "auto"
    """The cluster, as `ray.init` takes it: `auto` is the one that this machine belongs to."""


class Range(Section):
    """The values of a setting between two ends; whole numbers where both ends are."""

    low: int | float
    """Least value."""
    high: int | float
    """Greatest value."""
    log: bool = False
    """Look at orders of magnitude rather than at differences."""
    step: int | float | None = None
    """Distance of the values; None allows any."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0) or (self.log and self.step is not None):
            raise ValueError("needs low below high; with log, low above 0 and no step")
        return self


class TuneSettings(Section):
    trials: int = Field(20, ge=1)
    """Trainings in a search, those that were stopped early included."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """How settings are drawn: by what earlier trials showed, by chance, or one after the other."""
    pruner: Literal["median", "none"] = "median"
    """Stop a trial whose validation loss is worse than the median of the earlier ones at the same step."""
    space: dict[str, Range | list[Any]] = {}
    """Keys of `train` with their lists or ranges; empty searches learning rate, rank, epochs and warm-up."""

    @field_validator("space")
    @classmethod
    def _names_settings(cls, space: dict[str, Range | list[Any]]) -> dict[str, Range | list[Any]]:
        for key, values in space.items():
            if key not in TrainSettings.model_fields:
                near = difflib.get_close_matches(key, TrainSettings.model_fields, n=1)
                raise ValueError(f"{key} is no key of train" + (f"; did you mean {near[0]}?" if near else ""))
            if not values:
                raise ValueError(f"{key} has no value to try")
        return space


class MergeSettings(Section):
    kind: Literal["merged", "adapter"] = "merged"
    """Serve one merged model, or the LoRA adapter on an engine with its base: swapped in a second, slower answers."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type the merged weights are cast to, or that an adapter's base is served in; the merge itself is in float32."""


class QuantizeSettings(Section):
    scheme: Literal["auto", "none", "w8a8", "w8a8_gptq", "fp8_dynamic", "w4a16", "w4a16_awq", "pruned_2_4"] = "auto"
    """`auto` is fp8_dynamic with a GPU and w8a8 without. w8a8_gptq (with SmoothQuant), w4a16 (GPTQ), w4a16_awq and
    pruned_2_4 are made by llm-compressor; pruned_2_4 is an experiment: it brings no speed, and parity may refuse it."""
    ignore: list[str] = ["lm_head"]
    """Modules left as they are."""
    calibration_rows: int = Field(128, ge=8)
    """Training rows shown to llm-compressor."""
    llmcompressor_python: str | None = None
    """Python of an environment with llm-compressor; None makes one in the storage folder with `uv`."""


class ParitySettings(Section):
    items: int = Field(200, ge=8)
    """Test items that every form of the model answers: in the trainer, merged, quantized and served."""
    merged_agreement: float = Field(0.97, gt=0, le=1)
    """Share of greedy answers that merging must keep; refused when its 99 % upper bound is lower."""
    merged_gap: float = Field(0.02, gt=0)
    """Mean log-probability difference on reference tokens that merging may cause, as a share of their mean loss."""
    quantized_agreement: float = Field(0.9, gt=0, le=1)
    """The same share for the step from merged to quantized, where a model that is unsure of its answers loses some."""
    quantized_gap: float = Field(0.1, gt=0)
    """The same difference for the step from merged to quantized."""
    served_agreement: float = Field(0.9, gt=0, le=1)
    """The same share for the step from the quantized files to the endpoint."""
    served_gap: float = Field(0.1, gt=0)
    """The same difference for the step from the quantized files to the endpoint."""


class EvaluateSettings(Section):
    task: Literal["auto", "labels", "json", "text", "extractive"] = "auto"
    """Which metrics; `auto` looks at the answers. Extractive is text that must come from the prompt."""
    max_items: int = Field(1000, ge=20)
    """Test items scored at most, drawn with the dataset's seed."""
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

    @model_validator(mode="after")
    def _judge_is_whole(self) -> Self:
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model belong together: set both or none")
        return self


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
    """The target items must be shown to gain more than this, as a share of correct answers."""
    max_regression: float = Field(0.02, ge=0, lt=1)
    """Old items, and each slice in `gate.contracts`, may lose at most this share of correct answers."""
    max_slice_regression: float = Field(0.03, ge=0, lt=1)
    """Each slice with enough items may lose at most this share, or `max_regression` if that is more."""
    contracts: list[str] = []
    """Slices, such as `label:refund`, that must be shown not to get worse however few items they have."""
    min_items: int = Field(100, ge=10)
    """Fewer paired items are INCONCLUSIVE."""


class TracingSettings(Section):
    endpoint: str | None = Field(None, pattern=r"^https?://")
    """Where an OTLP/HTTP collector takes traces, `http://HOST:4318/v1/traces` (extra `otel`); None makes no spans."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the requests that get spans; of one that comes with a `traceparent`, its caller has decided."""
    content: bool = False
    """Put the last user message and the answer into the spans; not where `traffic.redact` forbids to keep them."""


class ServeSettings(Section):
    alias: str = Field("default", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    """Name that clients send as `model`."""
    host: str = "127.0.0.1"
    """Address the gateway listens on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port of the gateway."""
    log: Literal["required", "best_effort"] = "required"
    """Whether an answer whose row cannot be written is withheld (503), or given, counted and alerted on."""
    require_key: bool = True
    """Refuse requests without a key: one of `driftwheel keys`, or from DRIFTWHEEL_API_KEYS."""
    engine_args: list[str] = []
    """Further arguments for `vllm serve`."""
    max_model_len: int = Field(1024, ge=16)
    """Longest prompt and answer together, in tokens."""
    max_num_seqs: int = Field(32, ge=1)
    """Requests that an engine runs at once."""
    kv_cache_gib: int = Field(1, ge=1)
    """Memory of the key-value cache without a GPU, in GiB."""
    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    """Share of GPU memory per engine; two engines live through a swap."""
    enforce_eager: bool = False
    """Skip compilation: faster start, slower answers."""
    start_timeout_seconds: float = Field(300, gt=0)
    """An engine that is not ready by then is stopped."""
    drain_timeout_seconds: float = Field(60, ge=0)
    """Longest wait for an old version's last request."""
    keep_warm_seconds: float = Field(3600, ge=0)
    """How long the previous version's engine stays up for a rollback."""
    health_interval_seconds: float = Field(5, gt=0)
    """Seconds between two requests for a real token from each engine."""
    request_timeout_seconds: float = Field(300, gt=0)
    """Longest time for one answer."""
    max_body_bytes: int = Field(1_048_576, ge=1024)
    """Larger request bodies get 413."""
    max_waiting: int = Field(224, ge=0)
    """Requests that may wait for an engine beside the `max_num_seqs` that it runs; more get 503. A key gets half."""
    max_connections: int = Field(4096, ge=16)
    """Connections of clients at once; more are closed at once."""
    fingerprint_tolerance: float = Field(0.05, gt=0)
    """Mean absolute log-probability difference on the probe prompts that still counts as the same model, in nats."""
    replicas: int = Field(1, ge=1, le=64)
    """Engines per version behind the gateway; a swap needs twice as many for a while."""
    engines: list[str] = []
    """URLs of engines on other machines (`http://HOST:PORT`); where set, the gateway starts none of its own."""
    swap: Literal["auto", "blue_green", "in_place"] = "auto"
    """Swap whole models through a second engine, or by new weights in the only one; `auto` looks at the memory."""
    rollout: Literal["direct", "canary"] = "direct"
    """Whether a promoted version gets all requests at once, or those of `serve.canary_shares` first."""
    canary_shares: list[Annotated[float, Field(gt=0, lt=1)]] = Field([0.1, 0.5], min_length=1)
    """Shares of the requests that a canary gets, one after the other, before it goes live."""
    canary_seconds: float = Field(300, ge=0)
    """Shortest time at each share."""
    canary_min_requests: int = Field(100, ge=1)
    """Fewest requests that the canary answers at each share."""
    canary_false_rollback: float = Field(0.001, gt=0, le=0.1)
    """Declared budget: the chance that a canary which is no worse is rolled back, however long it runs."""
    canary_slowdown: float = Field(1.5, ge=1)
    """An answer is slow when it took longer than this times the live version's 90 % quantile."""
    sticky_by: Literal["request", "user", "key"] = "request"
    """What is dealt to canary or live as one: each request, or all of a `user` (else key), or all of a key."""
    tracing: TracingSettings = TracingSettings()
    """OpenTelemetry."""

    @model_validator(mode="after")
    def _only_engine_is_alone(self) -> Self:
        if self.swap == "in_place" and (self.replicas > 1 or self.engines or self.rollout == "canary"):
            raise ValueError("swap in_place has one engine: leave replicas at 1, engines empty and rollout direct")
        return self


class TrafficSettings(Section):
    share: float = Field(1.0, gt=0, le=1)
    """Share of the requests that are logged, drawn by request id; feedback on the others finds no row."""
    keep_responses: bool = True
    """Keep each answer's body as sent, beside its text; of a stream some 200 bytes a token."""
    redact: list[Literal["email", "iban", "card", "phone", "ip"]] = []
    """Personal data that is replaced by `<EMAIL>` and so on before a row is written; then no body is kept."""
    redact_patterns: dict[str, str] = {}
    """Names and regular expressions of further things to replace: `{TICKET: "T-[0-9]{6}"}` makes `<TICKET>`."""
    keep_days: float | None = Field(None, gt=0)
    """Rows older than this are deleted, but for those that the loop still needs; None keeps them."""
    keep_mib: int | None = Field(None, ge=1)
    """When the rows hold more, the oldest are deleted, but for those that the loop still needs; None keeps them."""

    @field_validator("redact_patterns")
    @classmethod
    def _are_patterns(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            try:
                matches_nothing = re.search(pattern, "") is not None
            except re.error as error:
                raise ValueError(f"{name} is no regular expression: {error}") from error
            if matches_nothing:
                raise ValueError(f"{name} matches the empty text, and would replace nothing everywhere")
        return patterns


class MonitorSettings(Section):
    interval_seconds: float = Field(10, gt=0)
    """Seconds between two looks at the traffic."""
    window_rows: int = Field(200, ge=20)
    """Answered requests in a current window; a check runs each time a window is full."""
    reference_rows: int = Field(600, ge=50)
    """Requests that a current window is compared with."""
    false_alarms_per_month: float = Field(1.0, gt=0)
    """Declared budget; thresholds are calibrated so that steady traffic alarms no more often than this."""
    windows_per_day: float = Field(24, gt=0)
    """Expected full windows a day; with the budget it sets the level of each check."""
    persistence: int = Field(2, ge=1)
    """Windows in a row over the threshold before an alarm."""
    permutations: int = Field(400, ge=100)
    """Resamplings of the reference when a threshold is calibrated."""
    min_labels: int = Field(30, ge=5)
    """Labelled rows in a window before quality is judged."""
    max_quality_drop: float = Field(0.1, gt=0, lt=1)
    """Quality counts as lost when the window's accuracy is below the scorecard's by more than this, beyond chance."""
    host: str = "127.0.0.1"
    """Address of the Prometheus exporter."""
    port: int = Field(9108, ge=0, le=65535)
    """Port of the Prometheus exporter."""


class PolicySettings(Section):
    approval: Literal["auto", "manual"] = "manual"
    """Whether a person must approve each retrain."""
    min_fresh_labels: int = Field(200, ge=1)
    """Fewer labelled rows since the last dataset hold the retrain."""
    cooldown_seconds: float = Field(3600, ge=0)
    """Quiet time after a retrain."""
    max_retrains_per_day: int = Field(4, ge=1)
    """Budget of retrains in 24 hours."""
    max_failed_gates: int = Field(2, ge=1)
    """Refused candidates in a row before only a person can start another retrain."""
    schedule_seconds: float = Field(0, ge=0)
    """Retrain this long after the last one even without drift; 0 never."""
    trial_windows: int = Field(3, ge=0)
    """Windows after a swap in which a version that does worse than the one before it is rolled back; 0 never."""


class DashboardSettings(Section):
    host: str = "127.0.0.1"
    """Address of the dashboard."""
    port: int = Field(8501, ge=0, le=65535)
    """Port of the dashboard."""


class StorageSettings(Section):
    root: str = ".driftwheel"
    """Folder for artifacts, reports and the default database, relative to the settings file."""
    database_url: str | None = None
    """SQLAlchemy URL; None is SQLite in the storage folder."""


class Settings(Section):
    """The whole loop."""

    project: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name of the loop; several loops may share a database."""
    model: ModelSettings
    dataset: DatasetSettings
    train: TrainSettings = TrainSettings()
    tune: TuneSettings = TuneSettings()
    merge: MergeSettings = MergeSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    parity: ParitySettings = ParitySettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    gate: GateSettings = GateSettings()
    serve: ServeSettings = ServeSettings()
    traffic: TrafficSettings = TrafficSettings()
    monitor: MonitorSettings = MonitorSettings()
    policy: PolicySettings = PolicySettings()
    dashboard: DashboardSettings = DashboardSettings()
    storage: StorageSettings = StorageSettings()
    path: Path = Field(default=Path("driftwheel.yaml"), exclude=True)
    """The file these settings came from; relative paths start at its folder."""

    @model_validator(mode="after")
    def _adapter_is_not_rounded(self) -> Self:
        if self.merge.kind == "adapter" and self.quantize.scheme not in ("auto", "none"):
            raise ValueError("merge.kind adapter serves the base as it is: set quantize.scheme to none or auto")
        return self

    @model_validator(mode="after")
    def _window_fits_reference(self) -> Self:
        if self.monitor.window_rows > self.monitor.reference_rows:
            raise ValueError("monitor.window_rows must not exceed monitor.reference_rows: raise the latter")
        if self.dataset.validation_share + self.dataset.test_share >= 0.8:
            raise ValueError("dataset.validation_share and dataset.test_share leave too little to train on")
        return self

    @model_validator(mode="after")
    def _spans_keep_no_more_than_rows(self) -> Self:
        if self.serve.tracing.content and (self.traffic.redact or self.traffic.redact_patterns):
            raise ValueError("serve.tracing.content would send what traffic.redact takes out of the rows; unset one")
        return self

    @property
    def root(self) -> Path:
        """The storage folder, absolute."""
        return self.resolve(self.storage.root)

    @property
    def database_url(self) -> str:
        """The ledger's SQLAlchemy URL."""
        return self.storage.database_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def settings_hash(self) -> str:
        """The sha256 of every setting."""
        return content_hash(self.model_dump(mode="json"))

    def resolve(self, path: str) -> Path:
        """Return an absolute path; a relative one starts at the settings file's folder."""
        return (self.path.parent / Path(path).expanduser()).resolve()

    def base_model(self) -> str:
        """Return the base model as a local folder where there is one, else as the hub name."""
        local = self.resolve(self.model.base)
        return str(local) if local.exists() else self.model.base


def load_settings(path: Path | str, overrides: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a settings file, then the environment, then `section.key=value` overrides.

    Raises ConfigError with file, key, reason and the nearest known key.
    """
    path = Path(path).expanduser().resolve()
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no settings file at {path}; `driftwheel init` writes one") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold sections such as `model:` and `dataset:`")
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for name, value in environ.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            _put(raw, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value, name)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r} is not section.key=value")
        _put(raw, key.strip().split("."), value, f"--set {key}")
    try:
        return Settings(**raw, path=path)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from error


def _put(raw: dict[str, Any], keys: list[str], value: str, name: str) -> None:
    *sections, key = keys
    target = raw
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{name}: {section!r} is not a section")
    try:
        target[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {value!r} is not a YAML value: {error}") from error


def _explain(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    where = ".".join(location) or "settings"
    if error["type"] == "extra_forbidden":
        section: Any = Settings
        for part in location[:-1]:
            fields = getattr(section, "model_fields", {})
            section = fields[part].annotation if part in fields else None
        near = difflib.get_close_matches(location[-1], getattr(section, "model_fields", {}), n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else "see the settings table in README.md"
        return f"{where}: no such key; {hint}"
    if error["type"] == "missing":
        return f"{where}: is missing"
    return f"{where}: {error['msg']} (got {error['input']!r})" if error["loc"] else error["msg"]
