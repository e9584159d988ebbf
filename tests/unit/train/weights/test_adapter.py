"""An adapter is packed as it was trained, for the base that it was trained on, or refused with the reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ArtifactError, ConfigError, ParityError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.edited_builds import edit_tensors, manifest_json, rebuild
from train.fidelity.parity_table import find_parity
from train.finetune import finetune
from train.runs import weights_path
from train.weights.adapter import FILES, check_adapter, pack_adapter, require_effect
from train.worker import build_artifact, measure_forms


@pytest.fixture
def adapting(train_settings: Settings) -> Settings:
    merge = train_settings.merge.model_copy(update={"kind": "adapter"})
    return train_settings.model_copy(update={"merge": merge})


@pytest.fixture
def run(adapting: Settings, ledger: Ledger, dataset: Dataset) -> TrainingRun:
    return finetune(adapting, ledger, dataset.id)


def test_the_adapter_is_packed_as_it_was_trained(
    adapting: Settings, ledger: Ledger, run: TrainingRun, tiny_base: Path
) -> None:
    path = build_artifact(adapting, ledger, run.id)
    manifest = artifacts.verify(path)
    assert (manifest.kind, manifest.run_id, manifest.base_model) == ("adapter", run.id, str(tiny_base))
    assert (manifest.rank, manifest.dtype, manifest.quantization) == (8, "bfloat16", "none")
    for name in FILES:
        assert (path / name).read_bytes() == (weights_path(run) / name).read_bytes()
    assert not (Path(run.path) / "merged").exists()
    assert build_artifact(adapting, ledger, run.id) == path


def test_an_adapter_is_measured_beside_its_base(adapting: Settings, ledger: Ledger, dataset: Dataset) -> None:
    # In bfloat16 the answers of a model that has learned nothing flip by rounding.
    exact = {
        "merge": adapting.merge.model_copy(update={"dtype": "float32"}),
        "train": adapting.train.model_copy(update={"bf16": False}),
    }
    adapting = adapting.model_copy(update=exact)
    run = finetune(adapting, ledger, dataset.id)
    path = pack_adapter(adapting, ledger, run.id)
    found = measure_forms(adapting, ledger, run.id, path)
    assert [row.hop for row in found.rows] == ["trained", "adapter"]
    assert [name for name, _ in found.chain] == ["trained", "adapter"]
    assert found.rows[1].agreement == 1.0
    assert find_parity(adapting.root, path) is not None


def rebuild_with(folder: Path, **facts: Any) -> None:
    manifest = manifest_json(folder) | facts
    artifacts.write_json(folder / artifacts.MANIFEST, manifest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_modules_to_save": ["lm_head"]}, "lm_head are trained whole"),
        ({"lora_r": 513}, "513"),
        ({"method": "full"}, "every weight was trained"),
    ],
    ids=["DoRA", "whole modules", "rank", "full"],
)
def test_what_vllm_cannot_load_is_refused_before_anything_is_written(
    adapting: Settings, ledger: Ledger, dataset: Dataset, changes: dict[str, Any], reason: str
) -> None:
    train = adapting.train.model_copy(update={**changes, "max_steps": 1, "eval_steps": 1})
    settings = adapting.model_copy(update={"train": train})
    run = finetune(settings, ledger, dataset.id)
    with pytest.raises(ConfigError, match=reason):
        pack_adapter(settings, ledger, run.id)
    assert not list((settings.root / "artifacts").glob("*"))


def test_an_adapter_of_another_base_is_refused(adapting: Settings, ledger: Ledger, run: TrainingRun) -> None:
    other = adapting.model_copy(update={"model": adapting.model.model_copy(update={"base": "org/other"})})
    with pytest.raises(ArtifactError, match="is not the one that"):
        pack_adapter(other, ledger, run.id)


def _other_weights(folder: Path) -> None:
    def add_one(tensors: dict[str, Any]) -> None:
        for tensor in tensors.values():
            tensor.add_(1)

    edit_tensors(add_one, FILES[1])(folder)


def _not_finite(folder: Path) -> None:
    edit_tensors(lambda tensors: next(iter(tensors.values())).fill_(float("nan")), FILES[1])(folder)


@pytest.mark.parametrize("plant", [_other_weights, _not_finite], ids=["other weights", "no numbers"])
def test_a_file_that_was_not_trained_is_found(adapting: Settings, ledger: Ledger, run: TrainingRun, plant: Any) -> None:
    path = pack_adapter(adapting, ledger, run.id)
    rebuild(path, plant)
    with pytest.raises(ParityError, match=r"the adapter model is not what was trained \(files\)"):
        check_adapter(path, run)


def test_weights_that_are_no_numbers_are_found_even_where_they_were_trained(
    adapting: Settings, ledger: Ledger, run: TrainingRun
) -> None:
    rebuild(weights_path(run), _not_finite)
    with pytest.raises(ParityError, match="infinities or no numbers"):
        check_adapter(pack_adapter(adapting, ledger, run.id), run)


def test_a_base_with_another_template_is_found(
    adapting: Settings, ledger: Ledger, run: TrainingRun, tiny_base: Path, tmp_path: Path
) -> None:
    path = pack_adapter(adapting, ledger, run.id)
    base = shutil.copytree(tiny_base, tmp_path / "copy")
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    rebuild_with(path, base_model=str(base))
    with pytest.raises(ParityError, match="chat template"):
        check_adapter(path, run)


def probe(gap: float) -> tuple[ProbeAnswer, ...]:
    return (ProbeAnswer(messages=(), tokens=("a", "b"), logprobs=(-1.0, -1.0 - gap), prompt_ids=(1,)),)


@pytest.mark.parametrize(("gap", "is_refused"), [(0.0, True), (0.09, True), (0.11, False)])
def test_an_adapter_that_changes_nothing_is_refused(
    adapting: Settings, ledger: Ledger, run: TrainingRun, gap: float, is_refused: bool
) -> None:
    path = pack_adapter(adapting, ledger, run.id)
    taken = Fingerprint(probes=probe(gap), base_probes=probe(0))
    if is_refused:
        with pytest.raises(ParityError, match="as it does without"):
            require_effect(adapting.serve, taken, path)
    else:
        require_effect(adapting.serve, taken, path)


def test_a_quantized_adapter_is_no_setting(tmp_path: Path) -> None:
    raw = {"project": "p", "model": {"base": "b"}, "dataset": {"sources": ["s"]}, "merge": {"kind": "adapter"}}
    path = tmp_path / "driftwheel.yaml"
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert load_settings(path, environ={}).merge.kind == "adapter"
    with pytest.raises(ConfigError, match=r"merge\.kind adapter serves the base as it is"):
        load_settings(path, ["quantize.scheme=w8a8"], environ={})
