"""Chooses the quantization scheme: what `auto` means on this machine and for this model, and the next finer one."""

from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import has_gpu
from driftwheel.quantization import AUTO, NONE, SCHEMES, Scheme, scheme_of
from driftwheel.settings.artifact import QuantizeSettings
from driftwheel.settings.data import Base
from train.base_model import load_config


def chosen_scheme(settings: QuantizeSettings) -> Scheme:
    """Return the scheme that was set, or the one that `auto` begins with on this machine."""
    return scheme_of(settings.scheme, has_gpu=has_gpu())


def finer_scheme(settings: QuantizeSettings, coarser: str) -> Scheme | None:
    """Return what `auto` tries after a scheme that was too coarse for a model; None where a person chose the scheme."""
    finer = SCHEMES[coarser].finer
    return SCHEMES[finer] if settings.scheme == AUTO and finer is not None else None


def first_scheme(settings: QuantizeSettings, merged: Path) -> Scheme:
    """Return the scheme to build first: the one that was set, else what `auto` means here and for this model."""
    scheme = chosen_scheme(settings)
    is_whole = settings.scheme == AUTO and not layers_to_round(_without_weights(str(merged)), settings.ignore)
    return SCHEMES[NONE] if is_whole else scheme


def why_not_first(settings: QuantizeSettings, artifact_scheme: str) -> str | None:
    """Return why an artifact that was built first is not what `auto` usually means; None if it is, or was set."""
    usual = chosen_scheme(settings).name
    if settings.scheme != AUTO or artifact_scheme == usual:
        return None
    return f"{usual}: the model has no linear layer that it could round"


def layers_to_round(model: Any, ignore: list[str]) -> list[str]:
    """Return the names of the layers that a scheme can round: every linear one that `ignore` does not name.

    GPT-2 keeps its weights in Conv1D layers, which lie the other way round and which no scheme knows.
    """
    from compressed_tensors.utils.match import match_named_modules

    return [name for name, _ in match_named_modules(model, ["Linear"], ignore)]


def require_layers(settings: QuantizeSettings, base: Base) -> None:
    """Raise ConfigError for a scheme that has no layer to round in this base model; reads its configuration only."""
    if settings.scheme in (AUTO, NONE):
        return
    model = _without_weights(base.source, revision=base.revision)
    if layers_to_round(model, settings.ignore):
        return
    kind, remedy = type(model).__name__, "set quantize.scheme to none, which serves the merged weights as they are"
    if layers_to_round(model, ["lm_head"]):
        raise ConfigError(
            f"quantize.ignore leaves no layer of {base.name!r} ({kind}) to quantize; shorten it, or {remedy}"
        )
    raise ConfigError(
        f"quantize.scheme {settings.scheme} rounds linear layers, and {base.name!r} ({kind}) has none but its output "
        f"head: its weights lie in other layers, such as GPT-2's Conv1D; {remedy}"
    )


def _without_weights(name: str, *, revision: str | None = None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(name, revision=revision)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
