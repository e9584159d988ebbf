"""A quantizer may smooth and prune where its scheme says so, and nowhere else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ParityError
from driftwheel.files import artifacts
from driftwheel.quantization import SCHEMES
from train.base_model import load_weights
from train.fidelity.structure import check_quantized, check_weights
from train.weights.rounding import round_to_nearest

# compressed-tensors imports torch's compiler, which warns about torch's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script_method. is deprecated:DeprecationWarning")

Change = Callable[[dict[str, Any]], None]
LAYER = "model.layers.0"


def checked(tmp_path: Path, base: Path, scheme: str, change: Change, *, rounded: bool) -> None:
    """Change a merged model's tensors, store them as an artifact of the scheme, and check this one."""
    import torch
    from safetensors.torch import load_file, save_file

    merged, changed, artifact = tmp_path / "merged", tmp_path / "changed", tmp_path / "artifact"
    with artifacts.writing(merged, {}) as folder:
        load_weights(str(base), "float32").to(torch.bfloat16).save_pretrained(folder)
    shutil.copytree(merged, changed)
    tensors = load_file(changed / "model.safetensors")
    change(tensors)
    save_file(tensors, changed / "model.safetensors", {"format": "pt"})
    source = {"merged_hash": artifacts.read_manifest(merged).content_hash}
    with artifacts.writing(artifact, {"run_id": "run_1", "source": source, "quantization": scheme}) as folder:
        if rounded:
            round_to_nearest(changed, folder, "W8A8", ["lm_head"])
        else:
            shutil.copytree(changed, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(artifacts.MANIFEST))
    check_quantized(merged, artifact, "run_1", ["lm_head"])
    model = load_weights(str(artifact), "auto")
    with torch.no_grad():
        model(torch.tensor([[1, 2]]))  # compressed weights are restored by the first use
    check_weights(merged, model, SCHEMES[scheme])


def smooth(tensors: dict[str, Any]) -> None:
    """Move range from a norm into the three layers behind it."""
    import torch

    scales = torch.linspace(0.5, 4, 64).bfloat16()
    tensors[f"{LAYER}.input_layernorm.weight"] /= scales
    for name in ("q_proj", "k_proj", "v_proj"):
        tensors[f"{LAYER}.self_attn.{name}.weight"] *= scales


def smooth_half(tensors: dict[str, Any]) -> None:
    """Forget the layers behind the norm."""
    tensors[f"{LAYER}.input_layernorm.weight"] /= 4


def prune(tensors: dict[str, Any]) -> None:
    """Set the two smallest of each four weights to zero."""
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            fours = tensor.view(-1, 4)
            fours.scatter_(1, fours.abs().argsort(1)[:, :2], 0)


def prune_too_little(tensors: dict[str, Any]) -> None:
    """Leave three of the first four weights."""
    prune(tensors)
    tensors[f"{LAYER}.mlp.up_proj.weight"][0, :3] = 1


def prune_and_move_embedding(tensors: dict[str, Any]) -> None:
    """Change what is no layer to prune."""
    prune(tensors)
    tensors["model.embed_tokens.weight"][5] += 1


def zero_layer(tensors: dict[str, Any]) -> None:
    """Keep none of four."""
    tensors[f"{LAYER}.mlp.down_proj.weight"].zero_()


@pytest.mark.parametrize(
    ("scheme", "change"), [("w8a8_gptq", smooth), ("pruned_2_4", prune)], ids=["smoothed", "pruned"]
)
def test_what_a_scheme_does_is_no_fault(tmp_path: Path, tiny_base: Path, scheme: str, change: Change) -> None:
    checked(tmp_path, tiny_base, scheme, change, rounded=scheme == "w8a8_gptq")


@pytest.mark.parametrize(
    ("scheme", "change", "check"),
    [
        ("w8a8", smooth, "tensors"),
        ("w8a8_gptq", smooth_half, "weights"),
        ("none", prune, "tensors"),
        ("pruned_2_4", prune_too_little, "tensors"),
        ("pruned_2_4", prune_and_move_embedding, "tensors"),
        ("pruned_2_4", zero_layer, "weights"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_a_scheme_does_not_do_is_named(
    tmp_path: Path, tiny_base: Path, scheme: str, change: Change, check: str
) -> None:
    with pytest.raises(ParityError) as caught:
        checked(tmp_path, tiny_base, scheme, change, rounded=scheme.startswith("w8a8"))
    assert (caught.value.hop, caught.value.check) == ("quantized", check)
