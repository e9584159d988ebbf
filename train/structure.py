"""A merged model's files and a servable artifact's become the first tensor or setting that does not belong there.

Quantizing may replace the weights of linear layers by integers and scales. Everything else must arrive unchanged,
bit by bit, once, and finite.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from driftwheel.errors import ParityError

ADDED_KEYS = {"quantization_config", "transformers_version"}
"""Keys of config.json that quantizing may add or change."""
CODES = ("weight", "weight_packed", "weight_shape", "weight_scale", "weight_zero_point", "weight_g_idx")
INDEX = "model.safetensors.index.json"


def check_structure(merged: Path, artifact: Path, ignore: list[str]) -> None:
    """Raise ParityError for the first thing in the artifact that neither the merge nor a quantizer would write."""
    with _tensors("merged", merged) as before, _tensors("quantized", artifact) as after:
        coded = {name.removesuffix("_scale") for name in after if name.endswith(".weight_scale")}
        for weight in sorted(coded):
            layer = weight.removesuffix(".weight")
            if layer in ignore:
                raise _wrong("quantized layers", f"{layer} is quantized although quantize.ignore names it")
            if weight not in before:
                raise _wrong("tensors", f"it has scales of {weight}, which the merged model lacks")
        layers = {weight.removesuffix(".weight") for weight in coded}
        expected = {name for name in before if name not in coded}
        found = {
            name for name in after if name.rpartition(".")[0] not in layers or name.rpartition(".")[2] not in CODES
        }
        for name in sorted(expected ^ found):
            state = "lacks" if name in expected else "has an unexpected"
            raise _wrong("tensors", f"it {state} {name}")
        for name, source in before.items():
            _require_finite("merged", name, source.get_tensor(name))
        for name in sorted(expected):
            _require_same(name, before[name].get_tensor(name), after[name].get_tensor(name))
        for name in sorted(after.keys() - expected):
            _require_finite("quantized", name, after[name].get_tensor(name))
    _require_same_config(merged, artifact)


@contextmanager
def _tensors(hop: str, folder: Path) -> Iterator[dict[str, Any]]:
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
    found: dict[str, Any] = {}
    with ExitStack() as opened:
        for file in files:
            try:
                tensors = opened.enter_context(safe_open(file, "pt"))
            except (OSError, SafetensorError) as error:
                raise ParityError(hop, "weight files", f"{file} cannot be read: {error}; build it again") from error
            found |= dict.fromkeys(tensors.keys(), tensors)
        yield found


def _require_same(name: str, before: Any, after: Any) -> None:
    if before.dtype != after.dtype:
        raise _wrong("types", f"{name} is {after.dtype}, in the merged model {before.dtype}")
    if before.shape != after.shape or not before.equal(after):
        raise _wrong("tensors", f"{name} is no layer to quantize and yet differs from the merged model's")


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
