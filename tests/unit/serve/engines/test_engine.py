"""An engine is a child that answered a real token, and nothing of it outlives its owner."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from driftwheel.errors import ArtifactError, EngineError
from driftwheel.files.artifacts import MANIFEST
from driftwheel.machine.accelerator import has_gpu
from driftwheel.machine.system import free_port
from driftwheel.settings.settings import Settings
from serve.engines.engine import Engine, start
from serve.engines.liveness import answers_token
from serve.engines.vllm_command import engine_environment, vllm_command
from tests.support import fake_gateway

StartEngine = Callable[..., Engine]
MakeArtifact = Callable[..., Path]

OWNER = """
import sys, time
from pathlib import Path
from driftwheel.settings.load import load_settings
from serve.engines.engine import start
name, port = sys.argv[3], int(sys.argv[4])
command = [sys.executable, "-S", sys.argv[2], sys.argv[5], name, str(port)]
settings = load_settings(Path(sys.argv[1]), environ={})
engine = start(settings.serve, settings.logs, "model", name, lambda *_: command, port)
engine.wait_ready(60)
print(engine.process.pid, flush=True)
time.sleep(600)
"""


def test_an_engine_is_ready_when_it_has_answered_a_token(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    artifact = make_artifact("v1", starts_when_exists=str(loaded), start_seconds=0.5)
    engine = start_fake(settings.serve, settings.logs, artifact, "v1")
    assert not answers_token("127.0.0.1", engine.port, "v1", 60)
    loaded.touch()
    engine.wait_ready(60)
    assert answers_token("127.0.0.1", engine.port, "v1", 60)
    assert engine.start_seconds >= 0.5
    assert not answers_token("127.0.0.1", engine.port, "another model", 60)


def test_an_engine_that_dies_at_start_says_why(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact
) -> None:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1", dies=True), "v1")
    with pytest.raises(EngineError, match=r"v1 died at start \(status 3\): RuntimeError: no such architecture; see"):
        engine.wait_ready(60)


def test_an_engine_that_does_not_get_ready_is_stopped(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact
) -> None:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1", start_seconds=60), "v1")
    with pytest.raises(EngineError, match="gave no token within"):
        engine.wait_ready(0.5)
    assert not engine.is_running


def test_stopping_takes_its_stubborn_children_along(
    settings: Settings,
    start_fake: StartEngine,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    wait_until_dead: Callable[[int], None],
) -> None:
    child_id_path = tmp_path / "child"
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1", child_id_path=str(child_id_path)), "v1")
    engine.wait_ready(60)
    engine.stop()
    wait_until_dead(int(child_id_path.read_text()))
    engine.stop()  # a second time is harmless


def test_an_engine_dies_with_its_owner(
    settings: Settings, make_artifact: MakeArtifact, wait_until_dead: Callable[[int], None]
) -> None:
    script = fake_gateway.FAKE
    arguments = [str(settings.path), str(script), "v1", str(free_port()), str(make_artifact("v1"))]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    engine_id = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until_dead(engine_id)


@pytest.mark.parametrize("name", ["answers.json", MANIFEST])
def test_a_changed_artifact_is_refused_before_anything_starts(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact, name: str
) -> None:
    artifact = make_artifact("v1")
    text = (artifact / name).read_text()
    (artifact / name).write_text(text.replace("0.5", "0.6").replace('"bytes"', '"byte"'))
    with pytest.raises(ArtifactError, match=name):
        start_fake(settings.serve, settings.logs, artifact, "v1")
    assert not (settings.root / "logs").exists()


def test_the_log_of_an_engine_that_died_is_kept_beside_the_next(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact
) -> None:
    for _ in range(2):
        engine = start_fake(settings.serve, settings.logs, make_artifact("v1", dies=True), "v1")
        with pytest.raises(EngineError):
            engine.wait_ready(60)
    assert "no such architecture" in engine.log_path.with_suffix(".log.1").read_text()


def test_an_engine_that_cannot_be_started_is_one_clear_error(settings: Settings) -> None:
    with pytest.raises(EngineError, match=r"cannot start engine v1: .*no-such-program"):
        start(settings.serve, settings.logs, "model", "v1", lambda *_: ["/no-such-program"])


def test_vllm_listens_on_loopback_under_the_version_and_takes_further_arguments(settings: Settings) -> None:
    serve = settings.serve.model_copy(update={"engine_args": ["--dtype", "float32"], "enforce_eager": True})
    changed = settings.model_copy(update={"serve": serve})
    command = vllm_command(changed.serve, "/models/a", "version_1", 1234)
    pairs = dict(itertools.pairwise(command))
    assert command[3:5] == ["serve", "/models/a"]
    assert (pairs["--host"], pairs["--port"]) == ("127.0.0.1", "1234")
    assert (pairs["--served-model-name"], pairs["--fingerprint-value"]) == ("version_1", "version_1")
    assert command[-3:] == ["--enforce-eager", "--dtype", "float32"]
    assert "--trust-remote-code" not in command
    assert pairs["--chat-template-content-format"] == "string", "rows are trained with texts, not with lists of parts"
    assert "--enforce-eager" not in vllm_command(settings.serve, "/models/a", "version_1", 1234)


def test_an_engine_gets_no_keys_no_telemetry_and_no_hub(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("DRIFTWHEEL_API_KEYS", "VLLM_API_KEY", "OPENAI_API_KEY")
    for name in keys:
        monkeypatch.setenv(name, "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    environment = engine_environment(settings.serve, str(tmp_path))
    assert has_gpu() or environment["VLLM_USE_AOT_COMPILE"] == "0", "each start would compile the model anew"
    assert environment.keys() & set(keys) == set()
    assert (environment["VLLM_NO_USAGE_STATS"], environment["HF_HUB_OFFLINE"]) == ("1", "1")
    assert has_gpu() or Path(environment["LD_PRELOAD"].split()[-1]).is_file()
    assert "HF_HUB_OFFLINE" not in engine_environment(settings.serve, "Qwen/Qwen3-0.6B")


def test_a_stopped_process_gives_no_token(
    settings: Settings, start_fake: StartEngine, make_artifact: MakeArtifact
) -> None:
    engine = start_fake(settings.serve, settings.logs, make_artifact("v1"), "v1")
    engine.wait_ready(60)
    os.kill(engine.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    assert not answers_token("127.0.0.1", engine.port, "v1", 0.5)
    assert time.monotonic() - started < 60  # without the timeout it would be for ever
    assert engine.is_running
    os.kill(engine.process.pid, signal.SIGCONT)
