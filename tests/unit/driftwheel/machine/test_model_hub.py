"""A machine that the model hub cannot be reached from is told so at once, and not after minutes of new attempts."""

import contextlib
import http.server
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftwheel.cli.doctor import examine
from driftwheel.cli.process import set_up_logging
from driftwheel.errors import ConfigError
from driftwheel.machine.model_hub import why_unreachable
from driftwheel.machine.system import free_port
from driftwheel.settings.data import Base
from driftwheel.settings.settings import Settings
from train.base_model import load_base_tokenizer, load_config, load_weights

NAME = "somebody/a-model"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A hub of which nothing answers, and an empty cache."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return address


@contextlib.contextmanager
def answering(status: int) -> Iterator[str]:
    """Answer every question with a status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 401, 503])
def test_whatever_answers_is_reached(monkeypatch: pytest.MonkeyPatch, away: str, status: int) -> None:
    with answering(status) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert why_unreachable() is None


def test_nothing_is_asked_where_the_client_is_told_to_stay_offline(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "refused" in str(why_unreachable())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert why_unreachable() is None


@pytest.mark.parametrize(
    "load",
    [
        lambda: load_config(NAME),
        lambda: load_weights(NAME, "float32"),
        lambda: load_base_tokenizer(Base(name=NAME, source=NAME)),
    ],
    ids=["config", "weights", "tokenizer"],
)
def test_a_hub_that_is_away_is_one_clear_error(away: str, load: Callable[[], object]) -> None:
    """Each file was asked for six times with pauses up to eight seconds: `data build` took minutes to fail."""
    with pytest.raises(ConfigError, match=rf"{away} cannot be reached from here .*set model.base to that"):
        load()


def test_the_doctor_misses_a_hub_that_is_away_unless_the_model_is_in_its_cache(away: str, tmp_path: Path) -> None:
    """It said `ok (from the hub, when trained)`, and the training failed."""
    settings = Settings.model_validate({"project": "p", "model": {"base": NAME}, "dataset": {"sources": ["a.csv"]}})

    def said() -> tuple[bool, str]:
        (finding,) = (f for f in examine(settings, ["train"]) if f.subject == "base model")
        return finding.is_missing, finding.text

    is_missing, text = said()
    assert is_missing
    assert f"{away} cannot be reached from here" in text
    snapshot = tmp_path / "cache" / "models--somebody--a-model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    assert said() == (False, f"{NAME} (in the hub's cache here)")


def test_a_line_of_the_hubs_client_comes_once() -> None:
    set_up_logging("test")
    assert not logging.getLogger("huggingface_hub").propagate
