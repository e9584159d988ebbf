"""The only engine gets other weights while requests wait, or what could go wrong silently is refused before."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.control import controls
from driftwheel.errors import ArtifactError, GateError
from driftwheel.files.artifacts import read_manifest, write_json, writing
from driftwheel.records.nouns import DeploymentStage, ModelVersion
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.engines.in_place import check_reload, fits_twice, way_to_swap
from tests.support.fake_world import PROBE, World
from tests.support.versions import published_version

MakeWorld = Callable[..., World]
CONFIG = {"model_type": "qwen3", "hidden_size": 64, "tie_word_embeddings": False}
PINS = {"template_hash": "t", "tokenizer_hash": "k", "generation_hash": "g"}


def artifact(folder: Path, facts: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> Path:
    with writing(folder, {"quantization": "none", **PINS, **(facts or {})}) as aside:
        write_json(aside / "config.json", CONFIG | (config or {}))
        (aside / "model.safetensors").write_bytes(folder.name.encode())
    return folder


def version(folder: Path) -> ModelVersion:
    return published_version(folder.name, path=str(folder), manifest_hash=read_manifest(folder).content_hash)


def test_weights_of_the_same_shape_and_tokenizer_may_be_reloaded(tmp_path: Path) -> None:
    old, new = artifact(tmp_path / "old"), artifact(tmp_path / "new", config={"transformers_version": "9"})
    check_reload(version(old), version(new))


@pytest.mark.parametrize(
    ("facts", "config", "reason"),
    [
        ({}, {"tie_word_embeddings": True}, "embeddings are tied"),
        ({"quantization": "w8a8"}, {}, r"quantized \(w8a8\)"),
        ({"quantization": "w4a16"}, {"quantization_config": {}}, r"quantized \(w4a16\)"),
        ({"kind": "adapter"}, {}, "it is an adapter"),
        ({}, {"hidden_size": 65}, r"its config\.json is another"),
        ({"template_hash": "other"}, {}, "its template is another"),
        ({"tokenizer_hash": "other"}, {}, "its tokenizer is another"),
        ({"generation_hash": "other"}, {}, "its generation is another"),
    ],
    ids=["tied", "W8A8", "W4A16", "adapter", "shape", "template", "tokenizer", "generation defaults"],
)
def test_what_would_be_wrong_is_refused(
    tmp_path: Path, facts: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    old, new = artifact(tmp_path / "old"), artifact(tmp_path / "new", facts, config)
    with pytest.raises(GateError, match=rf"new cannot be reloaded in place of old: .*{reason}.*blue_green"):
        check_reload(version(old), version(new))
    if reason.startswith(("embeddings", "quantized", "it is an")):
        with pytest.raises(GateError, match=rf"old cannot be reloaded in place of new: .*{reason}"):
            check_reload(version(new), version(old))


def test_without_pins_the_files_themselves_are_compared(tmp_path: Path) -> None:
    def bare(name: str, template: str) -> Path:
        with writing(tmp_path / name, {}) as aside:
            write_json(aside / "config.json", CONFIG)
            (aside / "chat_template.jinja").write_text(template, encoding="utf-8")
        return tmp_path / name

    check_reload(version(bare("old", "a")), version(bare("new", "a")))
    with pytest.raises(GateError, match=r"its chat_template\.jinja is another"):
        check_reload(version(bare("old", "a")), version(bare("other", "b")))


def test_a_changed_byte_is_found_before_the_engine_is_touched(tmp_path: Path) -> None:
    old, new = artifact(tmp_path / "old"), artifact(tmp_path / "new")
    wanted = version(new)
    (new / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="does not match its manifest"):
        check_reload(version(old), wanted)


def test_auto_looks_at_memory_and_at_what_can_be_reloaded(tmp_path: Path) -> None:
    def serving(**changes: Any) -> ServeSettings:
        return ServeSettings(alias="support", **changes)

    plain, tied = artifact(tmp_path / "plain"), artifact(tmp_path / "tied", config={"tie_word_embeddings": True})
    huge = 1_000_000
    assert fits_twice(serving(), plain)
    assert not fits_twice(serving(kv_cache_gib=huge), plain)
    assert way_to_swap(serving(), plain) == "blue_green"
    assert way_to_swap(serving(kv_cache_gib=huge), plain) == "in_place"
    assert way_to_swap(serving(kv_cache_gib=huge), tied) == "blue_green"
    assert way_to_swap(serving(kv_cache_gib=huge, replicas=2), plain) == "blue_green"
    assert way_to_swap(serving(kv_cache_gib=huge, swap="blue_green"), plain) == "blue_green"
    assert way_to_swap(serving(swap="in_place"), tied) == "in_place"


def swap(world: World, version_id: str) -> None:
    controls.promote(world.ledger, world.settings.alias_key, version_id)
    world.until(world.is_settled)


def test_swaps_in_place_under_load_fail_no_request_and_need_one_engine(make_world: MakeWorld) -> None:
    world = make_world({"seconds": 0.2, "answer": "v1"}, swap="in_place", drain_timeout_seconds=20)
    for id in ("v2", "v3"):
        world.publish(id, seconds=0.2, answer=id)
    (engine_id,) = world.engine_ids("support")
    is_over = threading.Event()

    def swaps() -> None:
        for id in ("v2", "v3", "v1", "v2"):
            swap(world, id)
        is_over.set()

    thread = threading.Thread(target=swaps)
    thread.start()
    answers = asyncio.run(world.load(20, 120, is_over.is_set))
    thread.join()
    assert is_over.is_set()
    assert {answer.status for answer in answers} == {200}
    assert [answer.version_id for answer in answers] == [answer.text for answer in answers]
    assert {answer.version_id for answer in answers} == {"v1", "v2", "v3"}
    assert world.engine_ids("support") == [engine_id]
    assert world.stages() == {"v1": DeploymentStage.RETIRED, "v2": DeploymentStage.LIVE, "v3": DeploymentStage.RETIRED}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"logprob": -0.7}, "not the model that was judged"),
        ({"reload": "refused"}, "other shapes"),
        ({"reload": "ignored", "tokens": ["other"]}, "not the model that was judged"),
    ],
    ids=["other weights", "the engine refuses", "the engine ignores"],
)
def test_weights_that_fail_their_proof_give_way_to_the_old_ones(
    make_world: MakeWorld, facts: dict[str, Any], words: str
) -> None:
    world = make_world({"answer": "v1", "logprob": -0.5}, swap="in_place")
    probe = replace(PROBE, tokens=tuple(facts.get("tokens", PROBE.tokens)))
    path = Path(world.publish("wrong-files", answer="wrong", **facts).path)
    world.record("wrong", path, Fingerprint(probes=(probe,)))
    controls.promote(world.ledger, world.settings.alias_key, "wrong")
    answers = asyncio.run(world.load(20, 120, lambda: bool(world.alias().observed_error)))
    answers += asyncio.run(world.load(20, 0.5))
    assert words in str(world.alias().observed_error)
    assert {(answer.status, answer.version_id, answer.text) for answer in answers} == {(200, "v1", "v1")}
    assert world.alias().observed_version_id == "v1"


def test_a_canary_needs_a_second_engine(make_world: MakeWorld) -> None:
    world = make_world({"answer": "v1"}, swap="in_place")
    world.publish("v2")
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[0.1])
    world.until(lambda: world.alias().observed_error)
    assert "a canary of v2 needs a second engine" in str(world.alias().observed_error)
    assert world.engine_ids("support")


def test_one_engine_is_no_setting_for_several(settings: Settings) -> None:
    with pytest.raises(ValueError, match="swap in_place has one engine"):
        ServeSettings(alias="support", swap="in_place", replicas=2)
