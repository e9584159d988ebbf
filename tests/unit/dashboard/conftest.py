"""What the dashboard's tests use: the seeded loop of the browser test."""

from types import ModuleType

import pytest

from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.dashboard_browser import seed_module


@pytest.fixture(scope="session")
def seed() -> ModuleType:
    """The builder of a loop with every noun."""
    return seed_module()


@pytest.fixture
def shown(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages show this test's loop."""
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))


@pytest.fixture
def seeded(seed: ModuleType, settings: Settings, ledger: Ledger) -> dict[str, str]:
    """The ids of a loop with every noun in the test's ledger."""
    return dict(seed.fill(settings, ledger))
