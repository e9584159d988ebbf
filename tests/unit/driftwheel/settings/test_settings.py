"""One YAML file, the environment and --set become settings, or one clear error."""

from pathlib import Path

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings

MINIMAL = "project: support\nmodel: {base: base}\ndataset: {sources: [a.jsonl]}\n"
SHIPPED = sorted((Path(__file__).resolve().parents[4] / "configs").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "driftwheel.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_every_shipped_settings_file_loads(path: Path) -> None:
    assert load_settings(path, environ={}).project


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "train: {learning_rat: 1}\n", ["train.learning_rat", "did you mean train.learning_rate"]),
        (MINIMAL + "servee: {}\n", ["servee", "did you mean serve"]),
        (
            "project: p\nmodel: {base: b}\ndataset: {sources: [{path: a, wieght: 2}]}\n",
            ["dataset.sources.0", "wieght", "no such key"],
        ),
        (MINIMAL + "train: {learning_rate: 5}\n", ["train.learning_rate", "less than or equal to 1", "5"]),
        (MINIMAL + "serve: {port: 99999}\n", ["serve.port", "65535"]),
        (MINIMAL + "monitor: {window_rows: 900, reference_rows: 100}\n", ["monitor.window_rows", "raise the latter"]),
        (MINIMAL + "serve: {cors_origins: ['https://app.example/']}\n", ["serve.cors_origins.0", "pattern"]),
        (MINIMAL + "serve: {cors_origins: [app.example]}\n", ["serve.cors_origins.0", "pattern"]),
        (MINIMAL + "traffic: {unwatched: {user_agents: ['(']}}\n", ["traffic.unwatched", "no regular expression"]),
        (MINIMAL + "traffic: {unwatched: {first_texts: ['a*']}}\n", ["traffic.unwatched", "nothing to watch"]),
        ("project: support\ndataset: {sources: [a]}\n", ["model", "is missing"]),
        ("project: [\n", ["cannot read"]),
        ("just text\n", ["must hold sections"]),
        (MINIMAL + "path: elsewhere.yaml\n", ["path: no such key"]),
        (MINIMAL + "7: {a: 1}\n", ["7: no such section"]),
        (MINIMAL + "traffic: {keep_days: .inf}\n", ["traffic.keep_days", "finite number"]),
        (MINIMAL + "traffic: {keep_days: 10000000}\n", ["traffic", "keep_days is at most 36600", "1e+07"]),
        (MINIMAL + "serve: {drain_timeout_seconds: .nan}\n", ["serve.drain_timeout_seconds", "finite number"]),
        (MINIMAL + "policy: {cooldown_seconds: 1.0e+12}\n", ["policy", "cooldown_seconds is at most 316224000"]),
        (MINIMAL + "monitor: {window_rows: 2000000000}\n", ["monitor.window_rows", "less than or equal to 50000"]),
        (MINIMAL + "train: {seed: " + "9" * 5000 + "}\n", ["cannot read"]),
    ],
    ids=[
        "unknown key",
        "unknown section",
        "unknown key of a source",
        "too large",
        "port",
        "cross-field",
        "origin with a slash",
        "origin without a scheme",
        "no pattern",
        "pattern of everything",
        "missing",
        "not YAML",
        "not a mapping",
        "the file itself",
        "a number as a section",
        "no end",
        "too long ago",
        "no number",
        "too long",
        "too many rows",
        "too many digits",
    ],
)
def test_a_bad_file_gives_one_error_that_says_what_and_where(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text), environ={})
    assert all(word in str(caught.value) for word in [*words, "driftwheel.yaml"])


@pytest.mark.parametrize("override", ["path=x.yaml", "serve.drain_timeout_seconds=.inf", "train.seed=" + "9" * 5000])
def test_a_bad_override_gives_one_short_error(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, MINIMAL), [override], environ={})
    assert override.partition("=")[0] in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("sqlite:///ledger.db", "sqlite:///{folder}/ledger.db"),
        ("sqlite:///../x.db?timeout=5", "sqlite:///{parent}/x.db?timeout=5"),
        ("sqlite:////srv/ledger.db", "sqlite:////srv/ledger.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://loop@host/ledger", "postgresql://loop@host/ledger"),
    ],
)
def test_a_relative_database_file_starts_at_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, found: str
) -> None:
    folder = tmp_path / "loop"
    folder.mkdir()
    monkeypatch.chdir("/")
    settings = load_settings(write(folder, MINIMAL + f"storage: {{database_url: '{given}'}}\n"), environ={})
    assert settings.database_url == found.format(folder=folder, parent=tmp_path)


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="driftwheel init"):
        load_settings(tmp_path / "none.yaml", environ={})


def test_set_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "train: {seed: 1, lora_r: 8, max_steps: 5}\n")
    environ = {"DRIFTWHEEL__TRAIN__SEED": "2", "DRIFTWHEEL__TRAIN__LORA_R": "4", "OTHER": "9"}
    settings = load_settings(path, ["train.seed=3"], environ)
    assert (settings.train.seed, settings.train.lora_r, settings.train.max_steps) == (3, 4, 5)
    assert settings.train.lora_alpha == 32


def test_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL), environ={})
    assert settings.root == tmp_path / ".driftwheel"
    assert settings.base_model() == "base"
    (tmp_path / "base").mkdir()
    assert settings.base_model() == str(tmp_path / "base")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL), environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.train.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "127.0.0.1:8000"),
        ("::", "[::1]:8000"),
        ("fd00::1", "[fd00::1]:8000"),
        ("gateway.example", "gateway.example:8000"),
    ],
    ids=["everywhere", "everywhere-ipv6", "ipv6", "name"],
)
def test_a_gateway_is_asked_where_it_can_be_reached(host: str, address: str) -> None:
    assert ServeSettings(host=host).address == address
