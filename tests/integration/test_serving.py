"""The gateway over real vLLM: swaps under load, of engines and of adapters, refusals, a killed engine, a clean end.

The tests run in this order on one gateway, because each engine costs half a minute; each makes sure of its start.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import openai
import pytest
import yaml

from driftwheel.control.controls import promote, rollback
from driftwheel.evidence import fingerprint
from driftwheel.files.artifacts import read_manifest
from driftwheel.machine.accelerator import has_gpu
from driftwheel.machine.system import free_port
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage, Traffic
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from tests.suites.differential import Server, compare, report
from tests.support.differential_cases import cases
from tests.support.edited_builds import edit_tensors, rebuild
from tests.support.versions import add_with_parents, published_version

KEY = "integration-key-4f9Lq2"
QUESTIONS = ["where is my parcel", "i was charged twice", "please close my account", "the app does not start"]
PROBES = [[said("user", question)] for question in QUESTIONS]
START_SECONDS = 240.0
PAUSE_SECONDS = 0.25  # leaves the engine that starts its share of two cores


@dataclass
class World:
    """A loop on a temporary folder, and the gateway process in front of it."""

    settings: Settings
    ledger: Ledger
    process: "subprocess.Popen[bytes]"
    log_path: Path

    def client(self, **options: Any) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.settings.serve.port}/v1"
        return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=120, **options)

    def alias(self) -> Alias:
        return self.ledger.get(Alias, "support/support")

    def until(self, holds: Callable[[], object], timeout_seconds: float = START_SECONDS) -> float:
        started = time.monotonic()
        while not holds():
            assert self.process.poll() is None, self.log_path.read_text()
            assert time.monotonic() - started < timeout_seconds, (self.alias(), self.log_path.read_text())
            time.sleep(0.02)
        return time.monotonic() - started

    def make_live(self, version_id: str) -> float:
        promote(self.ledger, self.settings.alias_key, version_id)
        return self.until(lambda: self.alias().observed_fence == self.alias().fence and not self.alias().observed_error)

    def ask(self, max_tokens: int = 8) -> Any:
        messages: Any = [{"role": "user", "content": QUESTIONS[0]}]
        with self.client() as client:
            create = client.chat.completions.with_raw_response.create
            return create(model="support", messages=messages, max_tokens=max_tokens)

    def engine_ids(self) -> dict[str, int]:
        """Return the process id of each version's engine."""
        found = {}
        for line in subprocess.check_output(["ps", "-eww", "-o", "pid,ppid,args"], text=True).splitlines()[1:]:
            process_id, parent_id, arguments = line.split(maxsplit=2)
            if parent_id == str(self.process.pid) and "vllm_cli" in arguments:
                found[arguments.split("--served-model-name ")[1].split()[0]] = int(process_id)
        return found


@dataclass
class Load:
    """Clients that stream one answer after the other until they are told to stop."""

    world: World
    versions: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until_answered(self, count: int) -> None:
        """Wait for so many more answers."""
        enough = len(self.versions) + count
        self.world.until(lambda: len(self.versions) > enough)

    def _run(self, number: int) -> None:
        messages: Any = [{"role": "user", "content": QUESTIONS[number]}]
        with self.world.client() as client:
            while not self._stop.wait(PAUSE_SECONDS):
                try:
                    with client.chat.completions.with_raw_response.create(
                        model="support", messages=messages, max_tokens=24, stream=True, extra_body={"ignore_eos": True}
                    ).parse() as stream:
                        finish = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1]
                        self.versions.append(stream.response.headers["x-driftwheel-version"])
                    if finish != "length":
                        self.errors.append(f"ended with {finish}")
                except openai.OpenAIError as error:
                    self.errors.append(repr(error))


def start_engine(config_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "serve", "engine", "--config", str(config_path), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def read_and_close(*streams: IO[str] | None) -> list[str]:
    texts = []
    for stream in streams:
        assert stream is not None
        with stream:
            texts.append("" if stream.writable() else stream.read())
    return texts


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serving") / "driftwheel.yaml"
    raw = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"]},
        "serve": {
            "alias": "support",
            "port": free_port(),
            "enforce_eager": True,
            "max_model_len": 256,
            "health_interval_seconds": 1,
            "engine_args": ["--no-enable-prefix-caching"],
        },
    }
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def engine_starts() -> list[float]:
    """How long engines took to start on this machine, in seconds."""
    return []


@pytest.fixture(scope="module")
def fingerprints(
    config_path: Path, tiny_adapter_dirs: list[Path], engine_starts: list[float]
) -> dict[str, Fingerprint]:
    """What the tiny model answers, alone and with each adapter, taken as the evaluation does: by the engine command."""
    child = start_engine(config_path, "--artifact", str(tiny_adapter_dirs[0]))
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, read_and_close(child.stderr)
    endpoint = json.loads(line)
    assert (endpoint["model"], endpoint["start_seconds"] > 0) == ("adapter-0@1", True)
    engine_starts.append(endpoint["start_seconds"])
    base = fingerprint.take(endpoint["url"], endpoint["base_model"], PROBES)
    taken = {"base": base}
    for folder in tiny_adapter_dirs:
        load_adapter(endpoint["url"], folder)
        found = fingerprint.take(endpoint["url"], folder.name, PROBES)
        taken[folder.name] = replace(found, base_probes=base.probes)
    read_and_close(child.stdin)  # the end of its input ends the engine
    assert child.wait(60) == 0
    read_and_close(child.stdout, child.stderr)
    with pytest.raises(ProcessLookupError):
        os.kill(endpoint["pid"], 0)
    return taken


def load_adapter(url: str, folder: Path) -> None:
    body = json.dumps({"lora_name": folder.name, "lora_path": str(folder)}).encode()
    request = urllib.request.Request(f"{url}/v1/load_lora_adapter", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200


@pytest.fixture(scope="module")
def world(
    config_path: Path,
    fingerprints: dict[str, Fingerprint],
    tiny_model_dir: Path,
    other_tiny_model_dir: Path,
    tiny_adapter_dirs: list[Path],
) -> Iterator[World]:
    settings = load_settings(config_path, environ={})
    ledger = Ledger(settings.database_url)
    # `wrong` claims the fingerprint of another model, as a stale folder or a mixed-up file would; `misnamed` the one
    # of an adapter whose tensors fit the base.
    misnamed = tiny_model_dir.with_name("misnamed")
    shutil.copytree(tiny_adapter_dirs[1], misnamed)
    rebuild(misnamed, edit_tensors(misname, "adapter_model.safetensors"))
    versions = {
        "v1": (tiny_model_dir, "base"),
        "wrong": (other_tiny_model_dir, "base"),
        "misnamed": (misnamed, "adapter-1"),
        **{f"a{n}": (folder, folder.name) for n, folder in enumerate(tiny_adapter_dirs)},
    }
    for number, (id, (folder, claimed)) in enumerate(versions.items(), 1):
        version = published_version(
            id,
            number=number,
            path=str(folder),
            fingerprint=fingerprints[claimed],
            manifest_hash=read_manifest(folder).content_hash,
        )
        add_with_parents(ledger, version)
    log_path = config_path.with_name("gateway.log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", "gateway", "--config", str(config_path)],
            stdout=log,
            stderr=log,
            env={**os.environ, "DRIFTWHEEL_API_KEYS": KEY},
        )
    yield World(settings, ledger, process, log_path)
    process.terminate()
    process.wait(90)
    ledger.close()


def misname(tensors: dict[str, Any]) -> None:
    """Give an adapter's tensors names that fit no module of its base."""
    for name in list(tensors):
        tensors[name.replace("model.model.layers", "model.model.decoder.layers")] = tensors.pop(name)


def test_the_gateway_listens_before_its_engine_is_ready_and_then_answers(world: World) -> None:
    promote(world.ledger, world.settings.alias_key, "v1")
    world.until(lambda: b"gateway listening on http://127.0.0.1" in world.log_path.read_bytes())
    with pytest.raises(openai.InternalServerError) as refused:
        world.ask()
    assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "2")
    world.until(lambda: world.alias().observed_version_id == "v1")
    answer = world.ask()
    assert answer.headers["x-driftwheel-version"] == "v1"
    row = world.ledger.get(Traffic, answer.headers["x-request-id"])
    assert (row.version_id, row.answer) == ("v1", answer.parse().choices[0].message.content)
    with urllib.request.urlopen(f"http://127.0.0.1:{world.settings.serve.port}/metrics/engines", timeout=60) as found:
        (engine,) = json.load(found)
    assert engine["labels"] == {"version": "v1"}
    with urllib.request.urlopen(f"http://{engine['targets'][0]}/metrics", timeout=60) as page:
        assert b"vllm:request_success_total" in page.read()


def test_answers_are_the_engine_s_own_byte_for_byte(world: World) -> None:
    world.make_live("v1")
    with urllib.request.urlopen(f"http://127.0.0.1:{world.settings.serve.port}/metrics/engines", timeout=60) as found:
        ((address,),) = [engine["targets"] for engine in json.load(found)]
    servers = Server(world.settings.serve.port, KEY), Server(int(address.rpartition(":")[2]))
    seen = compare(*servers, cases(300, 5, "v1"), "v1")
    for server in servers:
        server.close()
    assert seen.is_clean, report(seen, 5)
    assert seen.streams > 50


def test_the_engine_core_is_forked_and_imports_nothing_twice(world: World) -> None:
    if has_gpu():
        pytest.skip("a process that has touched CUDA cannot fork")
    (engine_id,) = world.engine_ids().values()
    lines = subprocess.check_output(["ps", "-o", "args=", "--ppid", str(engine_id)], text=True).splitlines()
    assert lines
    assert not [line for line in lines if "spawn_main" in line]


def test_a_wrong_artifact_is_refused_under_load(world: World) -> None:
    world.make_live("v1")
    with Load(world) as load:
        promote(world.ledger, world.settings.alias_key, "wrong")
        world.until(lambda: world.alias().observed_error)
    assert "not the model that was judged" in str(world.alias().observed_error)
    assert load.errors == []
    assert set(load.versions) == {"v1"}
    assert list(world.engine_ids()) == ["v1"]


def test_a_swap_and_a_rollback_under_load_fail_no_request(world: World) -> None:
    world.make_live("v1")
    with Load(world) as load:
        world.make_live("a0")
        load.until_answered(8)
        engines = world.engine_ids()
        rollback(world.ledger, world.settings.alias_key)
        world.until(lambda: world.alias().observed_version_id == "v1")
        load.until_answered(8)
    assert load.errors == []
    assert set(load.versions) == {"v1", "a0"}
    assert world.engine_ids()["v1"] == engines["v1"], "it took seconds, because it had stayed warm"
    live = world.ledger.find(Deployment, stage=DeploymentStage.LIVE.value)
    assert [row.version_id for row in live] == ["v1"]


def test_adapters_are_swapped_in_one_engine_within_two_seconds_and_fail_no_request(
    world: World, engine_starts: list[float]
) -> None:
    world.make_live("a0")
    engines = world.engine_ids()
    with Load(world) as load:
        seconds = []
        for version_id in ("a1", "a2", "a0", "a1"):
            seconds.append(world.make_live(version_id))
            load.until_answered(4)
        promote(world.ledger, world.settings.alias_key, "misnamed")
        world.until(lambda: world.alias().observed_error)
    assert load.errors == []
    assert set(load.versions) == {"a0", "a1", "a2"}
    # These two were loaded, the others had stayed warm; a busy machine needs longer, and for an engine by as much.
    assert min(seconds[:2]) < max(2.0, engine_starts[0] / 10)
    assert world.engine_ids() == engines
    assert "answers as its base does" in str(world.alias().observed_error)
    answer = world.ask()
    assert (answer.headers["x-driftwheel-version"], answer.parse().model.partition("@")[0]) == ("a1", "a1")


def test_an_engine_with_adapters_survives_prompt_logprobs_of_many_at_once(world: World) -> None:
    """Where LoRA lies around the output head too, vLLM 0.32 on a CPU ends at this."""
    engines = world.engine_ids()

    def ask(number: int) -> int:
        with world.client() as client:
            answer = client.completions.create(
                model="support",
                prompt=f"{QUESTIONS[number % 4]} {number}",
                max_tokens=4,
                extra_body={"prompt_logprobs": 0},
            )
        return len((answer.choices[0].model_extra or {})["prompt_logprobs"])

    with ThreadPoolExecutor(8) as pool:
        assert all(tokens > 1 for tokens in pool.map(ask, range(16)))
    assert world.engine_ids() == engines


def test_a_killed_engine_is_503_with_retry_after_and_then_started_again(world: World) -> None:
    world.make_live("v1")
    killed_id = world.engine_ids()["v1"]
    os.kill(killed_id, signal.SIGKILL)
    with pytest.raises(openai.InternalServerError) as refused:
        world.ask()
    assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "2")
    world.until(lambda: world.engine_ids().get("v1") not in (None, killed_id))

    def answers() -> bool:
        try:
            return bool(world.ask().headers["x-driftwheel-version"] == "v1")
        except openai.InternalServerError:
            return False

    world.until(answers)
    assert "engine died" in world.log_path.read_text()


def test_a_second_gateway_on_the_port_says_so(world: World, config_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve", "gateway", "--config", str(config_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "DRIFTWHEEL_API_KEYS": KEY},
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{world.settings.serve.port}" in last
    assert "serve.port" in last


def test_a_gateway_that_stops_finishes_what_it_answers_and_leaves_no_engine(world: World) -> None:
    world.make_live("v1")
    engines = world.engine_ids()
    messages: Any = [{"role": "user", "content": QUESTIONS[1]}]
    with world.client() as client:
        stream = client.chat.completions.create(
            model="support", messages=messages, max_tokens=200, stream=True, extra_body={"ignore_eos": True}
        )
        chunks = [next(stream)]
        world.process.terminate()
        chunks += list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert world.process.wait(90) == 0
    for process_id in engines.values():
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def test_an_engine_that_dies_at_start_is_one_clear_line(config_path: Path, tiny_model_dir: Path) -> None:
    child = start_engine(
        config_path, "--artifact", str(tiny_model_dir), "--set", 'serve.engine_args=["--no-such-flag"]'
    )
    assert child.wait(120) == 1
    printed, complaint, _ = read_and_close(child.stdout, child.stderr, child.stdin)
    assert printed == ""
    last = complaint.strip().splitlines()[-1]
    assert last.startswith("error: engine tiny died at start")
    assert "--no-such-flag" in last
