"""The verb says what it lacks before it starts a client for half a minute."""

import pytest

from driftwheel.cli.main import main
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def test_without_a_live_version_a_tokenizer_must_be_named(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--config", str(settings.path)]) == 1
    assert "nothing is live, so there is no tokenizer" in capsys.readouterr().err


def test_only_svg_is_drawn(settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--config", str(settings.path), "--picture", "load.png"]) == 1
    assert "only .svg is drawn" in capsys.readouterr().err
