"""Fine-tuning methods: full weights, or LoRA and its variants beside a frozen base.

`use_rslora`, `use_dora` and `init_lora_weights` are TRL's and PEFT's own names, and they combine as they do there:
DoRA with rsLoRA's scale is one setting more, not another method. PiSSA moves a part of the base's weights into the
adapter. Its difference from the start is therefore kept, which is plain LoRA of twice the rank on the untouched base.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import has_gpu, look
from driftwheel.settings.training import TrainSettings

Weights = dict[str, Any]
"""Tensors by the names of the parameters."""
ADAPTER_KEYS = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save"),
    *("use_rslora", "use_dora", "init_lora_weights"),
)
LARGEST_SERVED_RANK = 512
"""vLLM's `--max-lora-rank` goes no further."""


def check_method(train: TrainSettings) -> None:
    """Raise ConfigError for a combination that means nothing or cannot be merged, or that this machine cannot train."""
    check_device()
    if train.method == "full":
        for key in ("use_rslora", "use_dora", "init_lora_weights", "lora_modules_to_save"):
            if getattr(train, key) != TrainSettings.model_fields[key].default:
                raise ConfigError(f"train.{key} has no meaning with train.method full; remove it or choose lora")
        return
    if changes_base(train) and (train.use_dora or train.lora_modules_to_save or train.method == "qlora"):
        other = "lora_modules_to_save" if train.lora_modules_to_save else "use_dora" if train.use_dora else "qlora"
        raise ConfigError(
            f"train.init_lora_weights {train.init_lora_weights} changes the base's weights, so that its result cannot "
            f"be merged together with {other}; set one of them back"
        )
    if train.method != "qlora":
        return
    if not has_gpu():
        raise ConfigError("train.method qlora needs a CUDA GPU and there is none; set train.method to lora")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("train.method qlora needs bitsandbytes; install the gpu extra: pip install -e '.[gpu]'")


def check_device() -> None:
    """Raise ConfigError where a GPU is there and torch cannot use it: it would train on the CPU without a word."""
    import torch

    if has_gpu() != torch.cuda.is_available():
        one, other = ("the driver", "torch") if has_gpu() else ("torch", "nvidia-smi, with the packages that are here,")
        found = look()
        reason = "; ".join(found.problems()) or f"driver {found.driver}, torch {torch.__version__}"
        raise ConfigError(f"{one} has a GPU to compute on and {other} has none: {reason}; see `driftwheel doctor`")


def changes_base(train: TrainSettings) -> bool:
    """Say whether the adapters' first values are taken out of the base's weights, as PiSSA does."""
    return train.method != "full" and str(train.init_lora_weights).startswith("pissa")


def base_dtype(train: TrainSettings) -> str:
    """Return the type to load the base in.

    A frozen base needs no more than bfloat16, which is several times faster. Weights that are trained, or that PiSSA
    takes a part out of, stay in float32: a small step is lost when it is added to a bfloat16 number.
    """
    is_frozen = train.method != "full" and not changes_base(train)
    return "bfloat16" if is_frozen and train.bf16 is not False else "float32"


def why_only_merged(train: TrainSettings) -> str | None:
    """Return why vLLM cannot serve this adapter beside its base, or None where it can (vLLM's peft_helper.py)."""
    if train.method == "full":
        return None
    if train.use_dora:
        return "DoRA scales the base's own weights"
    if train.lora_modules_to_save:
        return f"{', '.join(train.lora_modules_to_save)} are trained whole"
    # PiSSA's adapter is stored as the difference to its start, which takes twice the rank.
    rank = train.lora_r * (2 if changes_base(train) else 1)
    return f"its rank of {rank} is over vLLM's {LARGEST_SERVED_RANK}" if rank > LARGEST_SERVED_RANK else None


def adapter_config(train: TrainSettings) -> Any:
    """Return PEFT's configuration of the adapters; None where every weight is trained."""
    if train.method == "full":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=train.lora_r,
        lora_alpha=train.lora_alpha,
        lora_dropout=train.lora_dropout,
        target_modules=train.lora_target_modules,
        modules_to_save=train.lora_modules_to_save,
        use_rslora=train.use_rslora,
        use_dora=train.use_dora,
        init_lora_weights=train.init_lora_weights,
        task_type="CAUSAL_LM",
    )


def keep_start(model: Any, train: TrainSettings, run_path: Path) -> None:
    """Write down the untrained adapter of a method that changes the base; call it before the first step.

    A resumed run calls it too: the singular values' part of a weight is the same in every process.
    """
    if changes_base(train):
        model.save_pretrained(_start_path(run_path))


def save_weights(
    model: Any, train: TrainSettings, run_path: Path, folder: Path, gathered: Weights | None = None
) -> None:
    """Write what was trained, so that it fits the base as it was before training.

    `gathered` holds the weights where the model itself has only a shard of them.
    """
    if not changes_base(train):
        model.save_pretrained(folder, **({} if gathered is None else {"state_dict": gathered}))
        return
    with warnings.catch_warnings():
        # PEFT loads the start as a second adapter for a moment, and warns of what it is about to do right.
        warnings.filterwarnings("ignore", message="PiSSA changes the base weights")
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(_start_path(run_path)))


def _start_path(run_path: Path) -> Path:
    return run_path / "adapter_before_training"
