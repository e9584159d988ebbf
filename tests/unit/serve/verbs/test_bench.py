"""The verb says what it lacks before it starts a client for half a minute."""

import argparse

import pytest

from driftwheel.cli.main import main
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.verbs.bench import add_arguments, target_of


def test_without_a_live_version_a_tokenizer_must_be_named(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--config", str(settings.path)]) == 1
    assert "nothing is live, so there is no tokenizer" in capsys.readouterr().err


def test_only_svg_is_drawn(settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--config", str(settings.path), "--picture", "load.png"]) == 1
    assert "only .svg is drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ([], "ours"),
        (["--url", "http://127.0.0.1:9000"], "ours"),
        (["--url", "http://[::1]:9000/"], "ours"),
        (["--url", "https://api.example/v1"], "theirs"),
        (["--url", "http://127.0.0.1.example"], "theirs"),
        (["--url", "http://127.0.0.1@example"], "theirs"),
    ],
)
def test_a_key_of_this_loop_is_shown_to_no_other_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, words: list[str], key: str
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_API_KEYS", "ours,second")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert target_of(settings.serve, parser.parse_args(words), "tokenizer").key == key
    monkeypatch.delenv("OPENAI_API_KEY")
    assert target_of(settings.serve, parser.parse_args(words), "tokenizer").key == ("ours" if key == "ours" else None)
