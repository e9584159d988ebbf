"""What the dashboard's tests use: the seeded loop of the browser test."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

SEED = Path(__file__).parents[2] / "browser" / "seed.py"


@pytest.fixture(scope="session")
def seed() -> ModuleType:
    """The builder of a loop with every noun."""
    spec = importlib.util.spec_from_file_location("dashboard_seed", SEED)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def seeded(seed: ModuleType, settings: Settings, ledger: Ledger) -> dict[str, str]:
    """The ids of a loop with every noun in the test's ledger."""
    return dict(seed.fill(settings, ledger))
