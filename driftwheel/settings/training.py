"""Settings of fine-tuning and of the search for its settings; TRL's own key names are understood."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from driftwheel.settings.section import Section


class TrainSettings(Section):
    method: Literal["lora", "qlora", "full"] = "lora"
    """What is trained: low-rank adapters, adapters on a 4-bit base (GPU), or every weight."""
    objective: Literal["sft", "dpo", "kto"] = "sft"
    """Learn right answers (sft), better before worse ones (dpo), or good and bad ones (kto), from files or feedback."""
    start_from: Literal["base", "live"] = "base"
    """Weights that sft begins with: the base's, or the live version's, merged (the base's until one is live)."""
    beta: float = Field(0.1, gt=0)
    """How close dpo and kto stay to the model that they start from."""
    learn: Literal["last", "all"] = "last"
    """Which of a row's assistant turns are learned: its last one, or all of them but for those of weight 0."""
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
    """Tokens of the longest example; a longer one is an error, because its answer would lose its end."""
    packing: bool = False
    """Put several examples into one row."""
    warmup_steps: float = Field(0.0, ge=0)
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
    lr_scheduler_type: str = "linear"
    """Schedule of the learning rate."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    """The schedule's further arguments, such as num_cycles."""
    gradient_checkpointing: bool = False
    """Trade speed for memory."""
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "short_first"] = "random"
    """Order of the examples; grouping by length wastes less padding on a GPU, but a step of rows that are alike learns
    less. `short_first` begins with an epoch by length."""
    bf16: bool | None = None
    """Mixed precision in bfloat16; empty takes what trains faster on this machine, which is measured once and kept."""
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
    devices: list[Annotated[int, Field(ge=0)]] = []
    """Numbers of the GPUs to train on, as nvidia-smi shows them; empty means those with most free memory."""
    fsdp: bool = True
    """Several processes keep a shard of the weights each (FSDP2); off, each keeps them all."""
    executor: Literal["local", "ray"] = "local"
    """Where they run: on this machine (accelerate), or on the nodes of a Ray cluster (Ray Train)."""
    ray_address: str = "auto"
    """The cluster, as `ray.init` takes it: `auto` is the one that this machine belongs to."""

    @model_validator(mode="after")
    def _can_be_trained_together(self) -> Self:
        if self.num_processes == 1:
            if self.executor == "ray":
                raise ValueError("executor ray needs num_processes of 2 or more: one process a worker")
            return self
        alone = "set train.num_processes to 1"
        if self.objective != "sft":
            raise ValueError(
                f"objective {self.objective} compares the answers of one batch and trains in one process; {alone}"
            )
        if self.fsdp and self.method == "qlora":
            raise ValueError("4-bit weights are not sharded here; set train.fsdp to false, or train.method to lora")
        if str(self.init_lora_weights).startswith("pissa"):
            raise ValueError(f"init_lora_weights {self.init_lora_weights} needs the whole base saved again; {alone}")
        if self.neftune_noise_alpha is not None:
            raise ValueError(f"neftune_noise_alpha draws its noise in one process; {alone}")
        return self

    @property
    def goes_on(self) -> bool:
        """Whether a retrain goes on from the live version's weights; dpo and kto do, since its answers were judged."""
        return self.start_from == "live" or self.objective != "sft"


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
