"""Two small random models in bf16, as artifacts that vLLM serves."""

from pathlib import Path

import pytest

from tests.support.tiny_models import build_tiny_adapter, build_tiny_model


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of a small random model."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(scope="session")
def other_tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact of another small random model, of the same shape and with the same tokenizer."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "other", 1)


@pytest.fixture(scope="session")
def tiny_adapter_dirs(tiny_model_dir: Path) -> list[Path]:
    """Artifacts of three random adapters of the small random model."""
    return [build_tiny_adapter(tiny_model_dir.with_name(f"adapter-{n}"), tiny_model_dir, n) for n in range(3)]
