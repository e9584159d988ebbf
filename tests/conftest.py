"""What every test may use: settings on a temporary folder and the ledger that they name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from driftwheel.config import Settings, load_settings
from driftwheel.ledger import Ledger


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a loop named `support` whose storage is this test's folder."""
    (tmp_path / "seed.jsonl").write_text('{"prompt": "hello", "completion": "{}"}\n', encoding="utf-8")
    path = tmp_path / "driftwheel.yaml"
    raw = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "serve": {"alias": "support"},
    }
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_settings(path, environ={})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of those settings."""
    opened = Ledger(settings.database_url)
    yield opened
    opened.close()
