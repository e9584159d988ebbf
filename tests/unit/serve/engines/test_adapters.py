"""Adapters share an engine: loaded under a name of their own, and unloaded when their last request has ended."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.control import controls
from driftwheel.errors import ArtifactError, ConfigError, EngineError
from driftwheel.files.artifacts import read_manifest, write_json, writing
from driftwheel.records.nouns import DeploymentStage
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.engines.adapters import Adapters, Slot
from serve.engines.engine import Engine, start_artifact
from serve.engines.lora import served_rank
from tests.support import fake_gateway
from tests.support.fake_world import PROBE, World

TIMEOUT = 60.0


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Artifact of a base model."""
    path = tmp_path / "base"
    with writing(path, {}) as folder:
        write_json(folder / "answers.json", {"tokens": ["base"], "logprob": -1.0, "answer": "base"})
    return path


def adapter(
    folder: Path,
    base: Path,
    name: str,
    rank: int = 8,
    modules: str = "o_proj q_proj",
    template_hash: str | None = None,
    **facts: Any,
) -> Path:
    """Write the artifact of an adapter; where its template has a hash, with a tokenizer."""
    manifest = {
        "kind": "adapter",
        "base_model": str(base),
        "base_revision": "",
        "dtype": "bfloat16",
        "rank": rank,
        "target_modules": modules.split(),
        "base_identity": read_manifest(base).content_hash,
    }
    manifest |= {"template_hash": template_hash} if template_hash else {}
    with writing(folder / name, manifest) as aside:
        if template_hash:
            write_json(aside / "tokenizer_config.json", {})
        answers = {"tokens": PROBE.tokens, "logprob": -0.5, "answer": name}
        write_json(aside / "answers.json", answers | facts)
    return folder / name


@pytest.fixture
def started() -> Iterator[list[Engine]]:
    engines: list[Engine] = []
    yield engines
    for engine in engines:
        engine.stop()


@pytest.fixture
def adapters(started: list[Engine]) -> Adapters:
    def start(serve: ServeSettings, logs: Path, artifact: Path, name: str, replica: int = 0) -> Engine:
        started.append(fake_gateway.start(serve, logs, artifact, name, replica))
        return started[-1]

    return Adapters(start)


def load(adapters: Adapters, settings: Settings, artifact: Path, version_id: str, replica: int = 0) -> Slot:
    slot = adapters.start(settings.serve, settings.logs, artifact, version_id, replica)
    slot.wait_ready(TIMEOUT)
    assert isinstance(slot, Slot)
    return slot


def models(slot: Slot) -> list[str]:
    with urllib.request.urlopen(f"{slot.url}/v1/models", timeout=60) as page:
        return [model["id"] for model in json.load(page)["data"]]


def test_adapters_of_one_base_share_an_engine_that_ends_with_the_last(
    settings: Settings, tmp_path: Path, base: Path, adapters: Adapters, started: list[Engine]
) -> None:
    first = load(adapters, settings, adapter(tmp_path, base, "one"), "v1")
    second = load(adapters, settings, adapter(tmp_path, base, "two"), "v2")
    assert len(started) == 1
    assert models(second) == [first.base_name, "v1@1", "v2@2"]
    first.stop()
    assert (first.is_running, second.is_running, models(second)) == (False, True, [first.base_name, "v2@2"])
    first.stop()  # a second time is harmless
    assert second.is_running
    second.stop()
    assert not started[0].is_running


def test_a_name_is_never_given_twice(settings: Settings, tmp_path: Path, base: Path, adapters: Adapters) -> None:
    path = adapter(tmp_path, base, "one")
    slots = [load(adapters, settings, path, "v1") for _ in range(3)]
    assert [slot.name for slot in slots] == ["v1@1", "v1@2", "v1@3"]


@pytest.mark.parametrize(
    ("change", "engines"),
    [
        ({}, 1),
        ({"rank": 4}, 1),
        ({"modules": "q_proj"}, 1),
        ({"rank": 9}, 2),
        ({"modules": "k_proj q_proj"}, 2),
        ({"replica": 1}, 2),
        ({"other_base": True}, 2),
        ({"template_hash": "another"}, 2),
    ],
    ids=[
        "the same",
        "a smaller rank",
        "fewer modules",
        "a greater rank",
        "other modules",
        "another replica",
        "another base",
        "another template",
    ],
)
def test_an_engine_is_started_only_where_none_fits(
    settings: Settings,
    tmp_path: Path,
    base: Path,
    adapters: Adapters,
    started: list[Engine],
    change: dict[str, Any],
    engines: int,
) -> None:
    load(adapters, settings, adapter(tmp_path, base, "one"), "v1")
    replica = change.pop("replica", 0)
    if change.pop("other_base", False):
        with writing(tmp_path / "other", {}) as folder:
            write_json(folder / "answers.json", {"tokens": ["other"], "logprob": -1.0})
        base = tmp_path / "other"
    path = adapter(tmp_path, base, "two", **change)
    assert adapters.has_host(path, replica + 1) is (engines == 1)
    load(adapters, settings, path, "v2", replica)
    assert len(started) == engines


def test_an_engine_that_dies_is_not_used_again(
    settings: Settings, tmp_path: Path, base: Path, adapters: Adapters, started: list[Engine]
) -> None:
    slot = load(adapters, settings, adapter(tmp_path, base, "one"), "v1")
    started[0].process.kill()
    started[0].process.wait()
    assert not slot.is_running
    again = load(adapters, settings, slot.artifact, "v1")
    assert (len(started), again.is_running) == (2, True)
    slot.stop()
    assert again.is_running


def test_an_engine_that_hangs_is_stopped_with_all_its_adapters(
    settings: Settings, tmp_path: Path, adapters: Adapters, started: list[Engine]
) -> None:
    fault_path = tmp_path / "fault"
    with writing(tmp_path / "base", {}) as folder:
        write_json(folder / "answers.json", {"tokens": ["b"], "logprob": -1.0, "fault_path": str(fault_path)})
    slots = [load(adapters, settings, adapter(tmp_path, tmp_path / "base", name), name) for name in ("one", "two")]
    fault_path.write_text("hang")
    slots[0].stop(0.5)
    assert [slot.is_running for slot in slots] == [False, False]
    assert not started[0].is_running


def test_an_adapter_that_the_engine_refuses_is_an_error_with_its_reason(
    settings: Settings, tmp_path: Path, base: Path, adapters: Adapters
) -> None:
    slot = adapters.start(
        settings.serve, settings.logs, adapter(tmp_path, base, "one", refuses="no such module"), "v1", 0
    )
    with pytest.raises(EngineError, match=r"refused v1@1: no such module"):
        slot.wait_ready(TIMEOUT)


def test_a_changed_adapter_is_not_loaded(settings: Settings, tmp_path: Path, base: Path, adapters: Adapters) -> None:
    path = adapter(tmp_path, base, "one")
    (path / "answers.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="does not match its manifest"):
        adapters.start(settings.serve, settings.logs, path, "v1", 0)


def test_an_adapter_is_not_put_on_a_base_that_was_built_again(
    settings: Settings, tmp_path: Path, base: Path, adapters: Adapters
) -> None:
    path = adapter(tmp_path, base, "one")
    with writing(base, {}) as folder:
        write_json(folder / "answers.json", {"tokens": ["another"], "logprob": -1.0})
    with pytest.raises(ArtifactError, match="another model than"):
        adapters.start(settings.serve, settings.logs, path, "v1", 0)


def test_the_engine_of_an_adapter_takes_adapters_of_its_rank(settings: Settings, tmp_path: Path, base: Path) -> None:
    commands: list[list[str]] = []

    def build(serve: ServeSettings, model: str, name: str, port: int) -> list[str]:
        commands.append([model, *serve.engine_args])
        return ["true"]

    start_artifact(
        settings.serve, settings.logs, adapter(tmp_path, base, "one", rank=17), "base", build=build
    ).process.wait()
    assert "--lora-target-modules o_proj q_proj" in " ".join(commands[0])
    assert commands[0][:6] == [str(base), "--enable-lora", "--max-lora-rank", "32", "--max-loras", "4"]


def test_the_engine_of_an_adapter_reads_conversations_by_the_adapters_own_tokenizer(
    settings: Settings, tmp_path: Path, base: Path
) -> None:
    commands: list[list[str]] = []

    def build(serve: ServeSettings, model: str, name: str, port: int) -> list[str]:
        commands.append(list(serve.engine_args))
        return ["true"]

    plain, own = adapter(tmp_path, base, "plain"), adapter(tmp_path, base, "own", template_hash="a")
    for path in (plain, own):
        start_artifact(settings.serve, settings.logs, path, "base", build=build).process.wait()
    assert "--tokenizer" not in commands[0]
    assert commands[1][-2:] == ["--tokenizer", str(own)]


@pytest.mark.parametrize(("rank", "served"), [(1, 1), (2, 8), (16, 16), (33, 64), (512, 512)])
def test_the_served_rank_is_the_next_that_vllm_takes(rank: int, served: int) -> None:
    assert served_rank(rank) == served


def test_a_rank_over_vllms_greatest_is_refused() -> None:
    with pytest.raises(ConfigError, match="513"):
        served_rank(513)


class AdapterWorld(World):
    """A fake world whose versions are adapters of one base."""

    def publish_adapter(self, id: str, **facts: Any) -> None:
        base = self.folder / "base"
        if not base.exists():
            with writing(base, {}) as folder:
                write_json(folder / "answers.json", {"tokens": ["base"], "logprob": -1.0})
        base_answer = replace(PROBE, tokens=("base",), logprobs=(-1.0,))
        probes = Fingerprint(probes=(PROBE,), base_probes=(base_answer,))
        path = adapter(self.folder / "artifacts", base, id, **{"seconds": 0.3, **facts})
        self.record(id, path, probes)

    def hosts(self) -> list[int]:
        """Return the process ids of the engines that run the base."""
        return self.engine_ids(f"base-{read_manifest(self.folder / 'base').content_hash[:12]}")

    def host_models(self) -> list[str]:
        arguments = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(self.hosts()[0])], text=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{arguments.split()[-2]}/v1/models", timeout=60) as page:
            return [model["id"].split("@")[0] for model in json.load(page)["data"]]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterWorld]:
    world = AdapterWorld(tmp_path_factory.mktemp("adapters"), {"canary_min_requests": 5, "drain_timeout_seconds": 60})
    world.publish_adapter("v0")
    controls.promote(world.ledger, world.settings.alias_key, "v0")
    world.start()
    try:
        world.until(world.is_settled)
        yield world
    finally:
        world.stop()


@pytest.fixture
def world(gateway: AdapterWorld) -> AdapterWorld:
    """The one gateway of this file, with version v0 live."""
    swap(gateway, "v0")
    return gateway


def swap(world: World, version_id: str) -> None:
    controls.promote(world.ledger, world.settings.alias_key, version_id)
    world.until(world.is_settled)


def test_twelve_swaps_under_load_start_no_engine_and_fail_no_request(world: AdapterWorld) -> None:
    for number in range(1, 13):
        world.publish_adapter(f"v{number}", seconds=2.0)  # longer than its adapter stays loaded if nobody waits
    (engine_id,) = world.hosts()
    is_over = threading.Event()

    def swaps() -> None:
        for number in range(1, 13):
            swap(world, f"v{number}")
        is_over.set()

    thread = threading.Thread(target=swaps)
    thread.start()
    answers = asyncio.run(world.load(20, TIMEOUT, is_over.is_set))
    thread.join()
    assert is_over.is_set()
    assert {answer.status for answer in answers} == {200}
    assert [answer.version_id for answer in answers] == [answer.text for answer in answers]
    assert world.hosts() == [engine_id]
    stages = world.stages()
    assert [version for version, stage in stages.items() if stage is DeploymentStage.LIVE] == ["v12"]
    assert len([stage for stage in stages.values() if stage is not DeploymentStage.RETIRED]) <= 4


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"fits_nothing": True}, "answers as its base does"),
        ({"logprob": -0.7}, "not the model that was judged"),
        ({"refuses": "no such module"}, "no such module"),
    ],
    ids=["it answers as the base", "it is another adapter", "the engine refuses it"],
)
def test_a_wrong_adapter_is_unloaded_before_a_user_meets_it(
    world: AdapterWorld, facts: dict[str, Any], words: str
) -> None:
    wrong_id = f"wrong-{next(iter(facts))}"
    world.publish_adapter(wrong_id, **facts)
    controls.promote(world.ledger, world.settings.alias_key, wrong_id)
    answers = asyncio.run(world.load(20, TIMEOUT, lambda: bool(world.alias().observed_error)))
    assert words in str(world.alias().observed_error)
    assert {(answer.status, answer.version_id, answer.text) for answer in answers} == {(200, "v0", "v0")}
    assert wrong_id not in world.host_models()


def test_a_whole_model_replaces_an_adapter_and_an_adapter_a_whole_model(world: AdapterWorld) -> None:
    world.publish("whole")
    swap(world, "whole")
    assert len(world.hosts()) == 1  # kept warm
    world.publish_adapter("after")
    swap(world, "after")
    for number in range(4):  # more than the slots; the whole model takes none
        world.publish_adapter(f"after-{number}")
        swap(world, f"after-{number}")
    assert len(world.hosts()) == 1
    assert asyncio.run(world.load(20, 0.3))[0].version_id == "after-3"
    assert len(world.engine_ids("whole")) == 1


def test_an_engine_that_dies_under_its_adapter_is_started_again(world: AdapterWorld) -> None:
    process_id = world.hosts()[0]
    os.kill(process_id, signal.SIGKILL)
    world.until(lambda: world.hosts() not in ([], [process_id]))
    world.until(lambda: {answer.status for answer in asyncio.run(world.load(10, 0.3))} == {200})


def test_a_canary_of_an_adapter_shares_the_engine_of_the_live_one(world: AdapterWorld) -> None:
    world.publish_adapter("canary")
    engines = world.hosts()
    controls.promote(world.ledger, world.settings.alias_key, "canary", canary_shares=[0.5])
    answers = asyncio.run(world.load(20, TIMEOUT, world.is_settled))
    assert {answer.status for answer in answers} == {200}
    assert {answer.version_id for answer in answers} == {"v0", "canary"}
    assert [answer.version_id for answer in answers] == [answer.text for answer in answers]
    assert (world.hosts(), world.stages()["canary"]) == (engines, DeploymentStage.LIVE)
