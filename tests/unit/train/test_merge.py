"""Merging: the merged model is the adapter's model, and nothing else is merged."""

import math
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, TrainingRunStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.finetune import finetune
from train.merge import merge
from train.runs import weights_path


def logits(model: Any, tokenizer: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(**tokenizer("good morning", return_tensors="pt")).logits


def test_merged_model_answers_as_base_and_adapter_do(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    exact = train_settings.model_copy(update={"merge": train_settings.merge.model_copy(update={"dtype": "float32"})})
    run = finetune(exact, ledger, dataset.id)
    path = merge(exact, ledger, run.id)

    assert path == Path(run.path) / "merged"
    assert artifacts.verify(path).run_id == run.id
    tokenizer = AutoTokenizer.from_pretrained(path)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype="float32")
    plain = logits(base, tokenizer)
    adapted = logits(PeftModel.from_pretrained(base, weights_path(run)), tokenizer)
    merged = logits(AutoModelForCausalLM.from_pretrained(path, dtype="float32"), tokenizer)
    assert float((merged - adapted).abs().max()) < 1e-4
    assert float((merged - plain).abs().max()) > 1e-2
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_base).chat_template


def test_merges_once_and_again_only_for_another_type(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    from safetensors import safe_open

    run = finetune(train_settings, ledger, dataset.id)
    path = merge(train_settings, ledger, run.id)
    written_at = (path / artifacts.MANIFEST).stat().st_mtime_ns
    assert merge(train_settings, ledger, run.id) == path
    assert (path / artifacts.MANIFEST).stat().st_mtime_ns == written_at
    with safe_open(path / "model.safetensors", "pt") as tensors:
        assert {str(tensors.get_tensor(name).dtype) for name in tensors.keys()} == {"torch.bfloat16"}  # noqa: SIM118

    half = train_settings.model_copy(update={"merge": train_settings.merge.model_copy(update={"dtype": "float16"})})
    assert artifacts.read_manifest(merge(half, ledger, run.id)).dtype == "float16"


def test_refuses_a_run_that_has_not_succeeded(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    run = finetune(train_settings, ledger, dataset.id)
    ledger.change(run, status=TrainingRunStatus.FAILED)
    with pytest.raises(ConflictError, match="only a run that succeeded"):
        merge(train_settings, ledger, run.id)


def test_refuses_changed_weights_and_another_base(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tmp_path: Path
) -> None:
    run = finetune(train_settings, ledger, dataset.id)
    assert not math.isnan(run.metrics.known()["train_loss"])
    other = train_settings.model_copy(
        update={"model": train_settings.model.model_copy(update={"base": "Qwen/Qwen3-0.6B"})}
    )
    with pytest.raises(ArtifactError, match="not the one that"):
        merge(other, ledger, run.id)
    weights = weights_path(run) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="refusing to load it"):
        merge(train_settings, ledger, run.id)
