"""Compares the files of merged model and servable artifact, and names the first tensor or setting that differs.

Quantizing may replace the weights of linear layers by integers and scales, pruning may set two of four to zero, and
smoothing may move range from a norm into the weights behind it. Everything else must arrive unchanged, bit by bit,
once, and finite.
"""

import json
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from driftwheel.errors import ParityError
from driftwheel.files import artifacts
from driftwheel.quantization import NONE, SCHEMES, Scheme
from train.fidelity.smoothing import is_smoothed_norm, norm_before

ADDED_KEYS = {"quantization_config", "transformers_version"}
"""Keys of config.json that quantizing may add or change."""
CODES = ("weight", "weight_packed", "weight_shape", "weight_scale", "weight_zero_point", "weight_g_idx")
INDEX = "model.safetensors.index.json"
Tensors = dict[str, Any]
"""The open file that holds each tensor, by the tensor's name."""


def check_merged(merged: Path, weights_hash: str) -> None:
    """Raise ParityError unless the merged model was made from these weights and holds finite numbers only."""
    _require_source("merged", merged, artifacts.verify(merged).weights_hash, weights_hash)
    with _tensors("merged", merged) as tensors:
        for name, file in tensors.items():
            _require_finite("merged", name, file.get_tensor(name))


def check_quantized(merged: Path, artifact: Path, run_id: str, ignore: list[str]) -> None:
    """Raise ParityError for the first thing in the artifact that neither the merge nor a quantizer would write."""
    manifest = artifacts.verify(artifact)
    _require_source("quantized", artifact, manifest.run_id, run_id)
    source = manifest.source.merged_hash if manifest.source else None
    _require_source("quantized", artifact, source, artifacts.verify(merged).content_hash)
    with _tensors("merged", merged) as before, _tensors("quantized", artifact) as after:
        untouched = before.keys() - _coded(before.keys(), after.keys(), ignore)
        scheme = SCHEMES.get(manifest.quantization, SCHEMES[NONE])
        for name in untouched:
            _require_same(name, before[name].get_tensor(name), after[name].get_tensor(name), scheme)
        for name in after:
            _require_finite("quantized", name, after[name].get_tensor(name))
    _require_same_config(merged, artifact)


def _coded(before: Set[str], after: Set[str], ignore: list[str]) -> set[str]:
    """Return the weights that became codes with scales; raises ParityError if any other name differs."""
    coded = {name.removesuffix("_scale") for name in after if name.endswith(".weight_scale")}
    layers = {name.removesuffix(".weight") for name in coded}
    if found := sorted(layers.intersection(ignore)):
        raise _wrong("quantized layers", f"{found[0]} is quantized although quantize.ignore names it")
    codes = {f"{layer}.{code}" for layer in layers for code in CODES}
    for name in sorted((before | coded) ^ before | (before - coded) ^ (after - codes)):
        state = "lacks" if name in before else "has an unexpected"
        raise _wrong("tensors", f"it {state} {name}")
    return coded


def check_weights(merged: Path, model: Any, scheme: Scheme) -> None:
    """Raise ParityError for the first layer of a quantized model in memory that is not its merged weights, rounded."""
    import torch

    held = dict(model.named_parameters())
    with _tensors("merged", merged) as before:
        for name, parameter in held.items():
            if name in before and parameter.is_floating_point() and not (scheme.smooths and is_smoothed_norm(name)):
                weight = parameter.detach().float()
                source = before[name].get_tensor(name).float().to(weight.device)
                if scheme.smooths and (scale := norm_before(name)):
                    weight = weight * held[scale].detach().float()
                    source = source * before[scale].get_tensor(scale).float().to(weight.device)
                # The clamp below is for a layer of zeros, which has no norm to divide by.
                norm = torch.linalg.vector_norm
                distance = float(norm(weight - source) / norm(source).clamp(min=1e-12))
                if not distance <= scheme.rounding_share:
                    reason = f"{name} is {distance:.0%} away from the merged model's, which no rounding explains"
                    raise _wrong("weights", reason)


@contextmanager
def _tensors(hop: str, folder: Path) -> Iterator[Tensors]:
    """Give the open file of each tensor by name; raises ParityError for a broken, a doubled or a stray file."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    listed = (
        set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    for name in sorted({file.name for file in files} ^ listed):
        state = "is missing" if name in listed else "belongs to another build"
        raise ParityError(hop, "weight files", f"{folder / name} {state}; build it again")
    found: Tensors = {}
    with ExitStack() as opened:
        for file in files:
            try:
                tensors = opened.enter_context(safe_open(file, "pt"))
            except (OSError, SafetensorError) as error:
                raise ParityError(hop, "weight files", f"{file} cannot be read: {error}; build it again") from error
            found |= dict.fromkeys(tensors.keys(), tensors)
        yield found


def _require_source(hop: str, folder: Path, named: Any, expected: str) -> None:
    if named != expected:
        raise ParityError(hop, "manifest", f"{folder} was built from {named}, not from {expected}; build it again")


def _require_same(name: str, before: Any, after: Any, scheme: Scheme) -> None:
    """Raise ParityError unless a tensor without codes is the merged model's, or what the scheme may make of it."""
    if before.dtype != after.dtype:
        raise _wrong("types", f"{name} is {after.dtype}, in the merged model {before.dtype}")
    is_explained = (
        before.equal(after)
        or (scheme.prunes and is_pruned(after))
        or (scheme.smooths and (is_smoothed_norm(name) or norm_before(name) is not None))
    )
    if before.shape != after.shape or not is_explained:
        raise _wrong("tensors", f"{name} is no layer to quantize and yet differs from the merged model's")


def is_pruned(weights: Any) -> bool:
    """Say whether of each four neighbors in a row at least two are zero."""
    if weights.dim() != 2 or weights.shape[1] % 4:
        return False
    return bool(((weights.reshape(-1, 4) == 0).sum(1) >= 2).all())


def check_finite(hop: str, file: Path) -> None:
    """Raise ParityError unless a file of tensors can be read and holds finite numbers only."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no dict
                _require_finite(hop, name, tensors.get_tensor(name))
    except (OSError, SafetensorError) as error:
        raise ParityError(hop, "weight files", f"{file} cannot be read: {error}; build it again") from error


def _require_finite(hop: str, name: str, tensor: Any) -> None:
    import torch

    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        raise ParityError(
            hop, "weights", f"{name} holds infinities or no numbers; set merge.dtype to bfloat16 and build it again"
        )


def _require_same_config(merged: Path, artifact: Path) -> None:
    before, after = (json.loads((folder / "config.json").read_text("utf-8")) for folder in (merged, artifact))
    for key in sorted((before.keys() | after.keys()) - ADDED_KEYS):
        if before.get(key) != after.get(key):
            raise _wrong("config.json", f"{key} is {after.get(key)!r}, in the merged model {before.get(key)!r}")


def _wrong(check: str, reason: str) -> ParityError:
    return ParityError("quantized", check, f"{reason}; quantize again")
