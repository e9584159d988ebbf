"""Quantizing: the checkpoint is what the scheme says, close to the merged model, and complete."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from driftwheel.errors import ConfigError, DriftwheelError, ParityError
from driftwheel.files import artifacts
from driftwheel.quantization import SCHEMES, Scheme
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.artifact import QuantizeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_weights
from train.fidelity.pins import PINS
from train.fidelity.structure import check_quantized, check_weights
from train.finetune import finetune
from train.merge import merge
from train.runs import weights_path
from train.weights.calibration_job import group_size
from train.worker import build_artifact

# compressed-tensors imports torch's compiler, which warns about torch's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script_method. is deprecated:DeprecationWarning")


def with_scheme(settings: Settings, scheme: str, **changes: object) -> Settings:
    update = {"scheme": scheme, **changes}
    return settings.model_copy(update={"quantize": settings.quantize.model_copy(update=update)})


@pytest.fixture
def run(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> TrainingRun:
    return finetune(train_settings, ledger, dataset.id)


def test_writes_one_artifact_for_each_scheme(train_settings: Settings, ledger: Ledger, run: TrainingRun) -> None:
    from safetensors import safe_open

    name = "model.layers.0.mlp.up_proj.weight"
    for scheme, dtype in (("none", "bfloat16"), ("w8a8", "int8"), ("fp8_dynamic", "float8_e4m3fn")):
        path = build_artifact(with_scheme(train_settings, scheme), ledger, run.id)

        assert path == train_settings.root / "artifacts" / f"{run.id}-{scheme}"
        facts = artifacts.verify(path)
        assert (facts.run_id, facts.dataset_id, facts.quantization) == (run.id, run.dataset_id, scheme)
        template = (path / "chat_template.jinja").read_text(encoding="utf-8")
        assert facts.template_hash == hashlib.sha256(template.encode()).hexdigest()
        trained = artifacts.read_manifest(weights_path(run))
        assert all(getattr(facts, pin) == getattr(trained, pin) for pin in PINS)
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        assert ("quantization_config" in config) is (scheme != "none")
        with safe_open(path / "model.safetensors", "pt") as tensors:
            assert str(tensors.get_tensor(name).dtype) == f"torch.{dtype}"
            assert str(tensors.get_tensor("lm_head.weight").dtype) == "torch.bfloat16"


def test_int8_weights_times_their_scale_are_the_merged_weights(
    train_settings: Settings, ledger: Ledger, run: TrainingRun
) -> None:
    from safetensors import safe_open

    path = build_artifact(with_scheme(train_settings, "w8a8"), ledger, run.id)
    name = "model.layers.1.self_attn.q_proj.weight"
    with safe_open(merge(train_settings, ledger, run.id) / "model.safetensors", "pt") as tensors:
        weight = tensors.get_tensor(name).float()
    with safe_open(path / "model.safetensors", "pt") as tensors:
        scale = tensors.get_tensor(f"{name}_scale").float()
        restored = tensors.get_tensor(name).float() * scale
    assert float(((restored - weight).abs() / scale).max()) < 1.0  # at most one step of the grid, channel by channel


def test_finds_a_finished_artifact_and_repairs_nothing(
    train_settings: Settings, ledger: Ledger, run: TrainingRun
) -> None:
    chosen = with_scheme(train_settings, "w8a8")
    path = build_artifact(chosen, ledger, run.id)
    written_at = (path / artifacts.MANIFEST).stat().st_mtime_ns
    assert build_artifact(chosen, ledger, run.id) == path
    assert (path / artifacts.MANIFEST).stat().st_mtime_ns == written_at


def test_a_failed_job_of_llm_compressor_leaves_nothing_and_says_why(
    train_settings: Settings, ledger: Ledger, run: TrainingRun
) -> None:
    nothing_there = with_scheme(train_settings, "w4a16", llmcompressor_python="no/python")
    with pytest.raises(ConfigError, match="llmcompressor_python"):
        build_artifact(nothing_there, ledger, run.id)
    # This Python has no llm-compressor, so the job really runs and really fails.
    with pytest.raises(DriftwheelError, match="No module named 'llmcompressor'"):
        build_artifact(with_scheme(train_settings, "w4a16", llmcompressor_python=sys.executable), ledger, run.id)
    assert not list((train_settings.root / "artifacts").iterdir())
    job = json.loads((Path(run.path) / "w4a16_job.json").read_text(encoding="utf-8"))
    assert job["texts"][0].startswith("<|im_start|>user\n")


@pytest.mark.parametrize(("widths", "expected"), [({256, 512}, 128), ({192, 512}, 64), ({96}, 32), ({100}, 0)], ids=str)
def test_group_size_is_the_largest_that_divides_every_layer(widths: set[int], expected: int) -> None:
    assert group_size(widths) == expected


def test_a_scheme_is_one_line_of_the_registry(
    train_settings: Settings, ledger: Ledger, run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=r"'int8' is no quantization scheme; choose one of auto, none, w8a8"):
        QuantizeSettings(scheme="int8")
    monkeypatch.setitem(
        SCHEMES,
        "int8",
        Scheme(name="int8", meaning="8-bit integers", preset="INT8", rounding_share=0.1),
    )
    settings = train_settings.model_copy(update={"quantize": QuantizeSettings(scheme="int8")})
    path = build_artifact(settings, ledger, run.id)
    assert path.name == f"{run.id}-int8"
    merged = merge(settings, ledger, run.id)
    check_quantized(merged, path, run.id, settings.quantize.ignore)
    model = load_weights(str(path), "auto")
    model(torch_ids())  # compressed weights are restored by the first use
    check_weights(merged, model, SCHEMES["int8"])
    with pytest.raises(ParityError, match="which no rounding explains"):
        check_weights(merged, model, replace(SCHEMES["int8"], rounding_share=1e-4))


def torch_ids() -> Any:
    import torch

    return torch.tensor([[1, 2]])
