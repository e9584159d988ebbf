"""Marked secrets are planted, every kind of child is started, and each has those that it needs and no others."""

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest
import yaml

from driftwheel.cli.up import children_of
from driftwheel.errors import ConfigError
from driftwheel.machine.child_secrets import without_secrets
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from serve.engines.vllm_command import engine_environment
from tests.unit.train.processes.test_settings_of_children import ROOT
from train.asking.engine_child import engine
from train.processes.executor import LocalExecutor
from train.verbs.publish import _build

CANARIES = {
    "gateway": ("DRIFTWHEEL_API_KEYS", "canary-gateway-key-0123456789"),
    "judge": ("DRIFTWHEEL_JUDGE_API_KEY", "canary-judge"),
    "paraphrase": ("DRIFTWHEEL_PARAPHRASE_API_KEY", "canary-paraphrase"),
    "database": ("DRIFTWHEEL__STORAGE__DATABASE_URL", "postgresql://loop:canary-database@db/ledger"),
    "grader": ("DRIFTWHEEL__EVALUATE__GRADER_URL", "https://grader/?token=canary-grader"),
    "hub": ("HF_TOKEN", "canary-hub"),
    "cloud": ("AWS_SECRET_ACCESS_KEY", "canary-cloud"),
    "other": ("BILLING_URL", "amqp://us:canary-other@host/"),
}
MARKS = {name: value.partition("canary-")[2].partition("@")[0] for name, (_, value) in CANARIES.items()}
OF_OTHERS = {"hub", "cloud", "other"}
IN_SETTINGS = {"database", "grader"}
CHILD = f"""#!{sys.executable}
import json, os, pathlib, sys
with pathlib.Path(__file__).with_name("seen.jsonl").open("a") as file:
    file.write(json.dumps([sys.argv, dict(os.environ)]) + "\\n")
print('{{"reason": "seen", "path": "seen", "url": "http://127.0.0.1:9", "model": "m", "start_seconds": 1}}')
"""


def told(texts: object) -> set[str]:
    """Return which of the secrets stand in something."""
    text = json.dumps(texts)
    return {name for name, mark in MARKS.items() if f"canary-{mark}" in text}


@pytest.fixture
def planted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable, value in CANARIES.values():
        monkeypatch.setenv(variable, value)
    return load_settings(settings.path)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[list[str], dict[str, str]]]]:
    """Put a child that writes down how it was started in the place of Python."""
    child = tmp_path / "python"
    child.write_text(CHILD)
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return lambda: [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]


Seen = Callable[[], list[tuple[list[str], dict[str, str]]]]


def check(seen: Seen, needed: Mapping[str, Collection[str]]) -> None:
    """Assert that each child, known by a word of its command, has what it needs in its environment, and no more."""
    found = {argv[2]: (argv, environment) for argv, environment in seen()}
    assert {name: told(environment) for name, (_, environment) in found.items()} == {
        name: set(secrets) for name, secrets in needed.items()
    }
    assert [argv for argv, _ in found.values() if told(argv)] == []


def test_a_child_that_has_everything_is_found_out(planted: Settings, seen: Seen) -> None:
    LocalExecutor().run([sys.executable, "-m", "leak"], log_path=planted.logs / "x.log", environment=os.environ)
    with pytest.raises(AssertionError):
        check(seen, {"leak": ()})


def test_the_processes_of_up_have_the_secrets_that_they_need(planted: Settings, seen: Seen) -> None:
    children = children_of(planted.child_command, planted.child_environment(), planted.logs)
    for child in children:
        child.start()
    for child in children:
        child.wait(60)
    known = IN_SETTINGS | OF_OTHERS
    asking = {"gateway"} | known
    check(seen, {"serve": asking, "monitor": asking, "dashboard": asking, "train": {"judge", "paraphrase"} | known})


def test_a_build_asks_nobody_and_an_engine_opens_no_database(planted: Settings, seen: Seen) -> None:
    _build(planted.child_command("train", "parity"), planted.child_environment(), "run_1")
    with engine(planted, ["--model", "m"]):
        pass
    check(seen, {"train": IN_SETTINGS | OF_OTHERS, "serve": OF_OTHERS})


def test_programs_of_others_have_no_secret(planted: Settings, seen: Seen, tmp_path: Path) -> None:
    LocalExecutor().run([sys.executable, "-m", "pip"], log_path=planted.logs / "pip.log")
    check(seen, {"pip": ()})
    assert told(engine_environment(planted.serve, str(tmp_path))) == set()
    assert told(engine_environment(planted.serve, "owner/of-the-hub")) == {"hub"}


def test_an_installer_keeps_its_index_and_everybody_the_proxy() -> None:
    ways = {"PIP_INDEX_URL": "https://us:er@index/", "UV_INDEX_OWN_PASSWORD": "p", "https_proxy": "http://us:er@proxy"}
    assert without_secrets({**ways, "DATABASE_URL": "mysql://us:er@db/x", "DRIFTWHEEL_LOG_LEVEL": "DEBUG"}) == {
        **ways,
        "DRIFTWHEEL_LOG_LEVEL": "DEBUG",
    }


def test_no_file_of_a_run_and_no_word_about_the_settings_has_a_secret(planted: Settings) -> None:
    shown = [repr(planted), str(planted), planted.model_dump(mode="json"), planted.without_secrets()]
    shown += [yaml.safe_dump(planted.without_secrets()), planted.settings_hash]
    assert told(shown) == set()
    assert told(planted.child_environment()) == IN_SETTINGS
    assert told(planted.child_environment(with_secrets=False)) == set()
    assert planted.database_url == CANARIES["database"][1]


def test_what_a_child_is_handed_gives_the_same_settings(planted: Settings) -> None:
    again = load_settings(planted.path, environ=planted.child_environment())
    assert again == planted
    assert again.database_url == planted.database_url


@pytest.mark.parametrize(
    "override",
    [
        "storage.database_url=postgresql://loop:canary@db/ledger",
        "evaluate.grader_url=http://grader/?token=canary",
        "storage.database_url=[canary",
        "storage.database_url=[canary]",
        "evaluate.grader_url=ftp:canary",
        "evaluate.judge_url=http://me:canary@judge/v1",
        "dataset.paraphrase_url=http://me:canary@judge/v1",
        "serve.engines=['http://me:canary@host:8000']",
        "serve.tracing.endpoint=http://me:canary@host:4318",
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(settings: Settings, override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(settings.path, [override], environ={})
    assert "canary" not in str(refused.value)


def test_a_file_without_a_password_may_be_set(settings: Settings) -> None:
    found = load_settings(settings.path, ["storage.database_url=sqlite:////srv/x.db?timeout=5"], environ={})
    assert found.database_url == "sqlite:////srv/x.db?timeout=5"
