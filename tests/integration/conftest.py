"""Two small random models in bf16, as artifacts that vLLM serves."""

from pathlib import Path

import pytest

from driftwheel.artifacts import writing
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import unlabelled_text


def build_tiny_model(folder: Path, seed: int) -> Path:
    """Write an untrained Qwen3 of about 3 million parameters with its tokenizer as an artifact."""
    import torch

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    model = make_model(tokenizer).to(torch.bfloat16)
    with writing(folder, {"seed": seed}) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    return folder


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of a small random model."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(scope="session")
def other_tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of another small random model, of the same shape and with the same tokenizer."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "other", 1)
