"""Every form of a tiny model is what was trained, and whatever is not is named by its form."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from driftwheel.errors import ArtifactError, ParityError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.edited_builds import Build
from tests.support.planted_faults import FAULTS, Fault
from tests.support.versions import add_with_parents
from train.base_model import load_weights
from train.fidelity.parity_table import find_parity
from train.fidelity.trained import READINGS, recall
from train.finetune import finetune
from train.merge import merge
from train.parity import hop_line
from train.runs import weights_path
from train.worker import build_artifact, measure_forms

# compressed-tensors imports torch's compiler, which warns about torch's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script_method. is deprecated:DeprecationWarning")

FAST = (
    "other chat template",
    "end token missing in the generation defaults",
    "unmerged base",
    "float16 overflow",
    "one tensor lost",
    "scales of another layer",
    "output head quantized",
    "stale shard of an earlier build",
    "other rotary base",
    "weights truncated",
)


def _name(split: str, number: int) -> str:
    """No name resembles another: what is learned must not leak into what is asked."""
    return hashlib.sha256(f"{split}{number}".encode()).hexdigest()[:6]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Settings, Dataset, TrainingRun]:
    """A tiny model that learned to say whether it is morning or evening."""
    home = tmp_path_factory.mktemp("trained")
    raw = {
        "project": "support",
        "model": {"base": str(tiny_base)},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "train": {
            "method": "full",
            "max_steps": 60,
            "eval_steps": 30,
            "learning_rate": 3e-3,
            "max_length": 64,
            "per_device_train_batch_size": 16,
        },
        "quantize": {"scheme": "w8a8"},
        "evaluate": {"max_tokens": 24},
    }
    (home / "driftwheel.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    settings = load_settings(home / "driftwheel.yaml", environ={})
    folder = settings.root / "datasets" / "dataset_tiny"
    folder.mkdir(parents=True)
    for split, count in (("train", 64), ("validation", 16), ("test", 40)):
        rows = [
            {
                "id": f"{split}-{n}",
                "prompt": [{"role": "user", "content": f"good {('morning', 'evening')[n % 2]} {_name(split, n)}"}],
                "completion": [{"role": "assistant", "content": json.dumps({"intent": ("morning", "evening")[n % 2]})}],
                "label": ("morning", "evening")[n % 2],
                "group": f"{split}-{n}",
            }
            for n in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = Dataset(
        id="dataset_tiny",
        project="support",
        content_hash="0" * 64,
        path=str(folder),
        origin="files",
        train_rows=64,
        validation_rows=16,
        test_rows=40,
    )
    ledger = Ledger(settings.database_url)
    ledger.add(dataset)
    run = finetune(settings, ledger, dataset.id)
    merge(settings, ledger, run.id)
    ledger.close()
    return settings, dataset, run


@pytest.fixture
def loop(tmp_path: Path, trained: tuple[Settings, Dataset, TrainingRun]) -> Iterator[tuple[Build, Ledger]]:
    """A copy of that run, free to be spoiled."""
    settings, dataset, run = trained
    storage = settings.storage.model_copy(update={"root": str(tmp_path)})
    own = settings.model_copy(update={"storage": storage})
    moved = replace(run, path=str(tmp_path / "run"))
    shutil.copytree(run.path, moved.path)
    ledger = Ledger(own.database_url)
    ledger.add(dataset)
    add_with_parents(ledger, moved)
    yield Build(settings=own, run=moved, artifact=own.root / "artifacts" / f"{run.id}-w8a8"), ledger
    ledger.close()


def test_a_clean_build_is_what_was_trained_and_is_measured_once(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    found = measure_forms(build.settings, ledger, build.run.id)
    assert [row.hop for row in found.rows] == ["trained", "merged", "quantized"]
    assert [row.items for row in found.rows] == [40, 40, 40]
    assert not found.rows[0].is_read_back
    assert found.rows[0].accuracy > 0.9, "a model that learned nothing would agree with nothing"
    merged = found.rows[1]
    assert merged.agreeing == 40
    assert merged.agreement_interval == pytest.approx((0.9119, 1.0), abs=1e-4)  # 1 - 0.025^(1/40)
    assert merged.mean_logprob_difference is not None
    assert merged.max_logprob_difference is not None
    assert 0 < merged.mean_logprob_difference <= merged.max_logprob_difference < 0.5
    written_at = (found.folder / artifacts.MANIFEST).stat().st_mtime_ns
    assert measure_forms(build.settings, ledger, build.run.id).rows == found.rows
    assert (found.folder / artifacts.MANIFEST).stat().st_mtime_ns == written_at


def test_all_forms_are_read_on_one_device(loop: tuple[Build, Ledger]) -> None:
    """What a GPU's trainer remembered is no measure for files that are read on a CPU: its rounding is another."""
    build, ledger = loop
    path = weights_path(build.run) / READINGS
    remembered = json.loads(path.read_text(encoding="utf-8"))
    assert remembered["device"] == "cpu"
    path.write_text(json.dumps({**remembered, "device": "cuda"}), encoding="utf-8")
    elsewhere = recall(build.settings, ledger, build.run, "cpu")
    assert (elsewhere.device, elsewhere.is_read_back) == ("cpu", True)
    # A run that is older than this says nothing of its device: most likely it was this machine's.
    path.write_text(json.dumps({**remembered, "device": ""}), encoding="utf-8")
    older = recall(build.settings, ledger, build.run, "cpu")
    assert (older.device, older.is_read_back) == ("cpu", False)


def test_weights_are_loaded_straight_to_the_device_on_which_they_are_read(tiny_base: Path) -> None:
    """The device without memory stands for a GPU: it shows where the loader put what it read."""
    model = load_weights(str(tiny_base), "float32", device="meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert load_weights(str(tiny_base), "float32").device.type == "cpu"


def test_the_trainer_remembers_what_its_weights_on_disk_answer(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    remembered = recall(build.settings, ledger, build.run)
    (weights_path(build.run) / READINGS).unlink()
    read_back = recall(build.settings, ledger, build.run)
    assert (remembered.is_read_back, read_back.is_read_back) == (False, True)
    assert read_back.probes == remembered.probes
    for memory, disk in zip(remembered.readings, read_back.readings, strict=True):
        assert disk.answer_ids == memory.answer_ids
        # The trainer's own attention rounds otherwise than the library's.
        assert disk.logprobs == pytest.approx(memory.logprobs, abs=0.05)


def test_a_greedy_answer_and_its_log_probabilities_are_those_of_plain_generation(loop: tuple[Build, Ledger]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    build, ledger = loop
    found = measure_forms(build.settings, ledger, build.run.id)
    model = AutoModelForCausalLM.from_pretrained(build.merged, dtype="auto")
    for probe, reading in list(zip(found.probes, found.chain[1][1], strict=True))[:5]:
        prompt = torch.tensor([probe.prompt_ids])
        with torch.no_grad():
            plain = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
            logits = model(torch.tensor([[*probe.prompt_ids, *probe.reference_ids]])).logits[0].float().log_softmax(-1)
        assert reading.answer_ids == plain[0, len(probe.prompt_ids) :].tolist()
        before = range(len(probe.prompt_ids) - 1, len(probe.prompt_ids) + len(probe.reference_ids) - 1)
        expected = [float(logits[n, token]) for n, token in zip(before, probe.reference_ids, strict=True)]
        assert reading.logprobs == pytest.approx(expected, abs=0.05)  # bfloat16, padded and not


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in FAST], ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_by_its_form(loop: tuple[Build, Ledger], fault: Fault) -> None:
    build, ledger = loop
    with pytest.raises(ParityError) as caught:
        if fault.hop == "merged":
            fault.plant(build)
        build_artifact(build.settings, ledger, build.run.id)
        if fault.hop == "quantized":
            fault.plant(build)
        measure_forms(build.settings, ledger, build.run.id, build.artifact)
    assert caught.value.hop == fault.hop
    assert f"the {fault.hop} model is not what was trained" in str(caught.value)
    assert find_parity(build.settings.root, build.artifact) is None if build.artifact.is_dir() else True


def test_a_byte_changed_after_the_build_is_refused(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    artifact = build_artifact(build.settings, ledger, build.run.id)
    next(f for f in FAULTS if f.name == "one byte changed afterwards").plant(build)
    with pytest.raises(ArtifactError, match=r"model\.safetensors does not match its manifest"):
        measure_forms(build.settings, ledger, build.run.id, artifact)


def test_auto_takes_a_finer_scheme_where_one_is_too_coarse_and_says_so(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    automatic = build.settings.quantize.model_copy(update={"scheme": "auto"})
    strict = build.settings.parity.model_copy(update={"quantized_gap": 1e-9})
    settings = build.settings.model_copy(update={"quantize": automatic, "parity": strict})
    found = measure_forms(settings, ledger, build.run.id)
    assert artifacts.read_manifest(found.artifact).quantization == "none"
    (reason,) = found.rows[-1].coarser or ()
    assert reason.startswith("w8a8: the quantized model is not what was trained (log-probabilities)")
    assert f"passed over {reason}" in hop_line(found.rows[-1])
    assert found.rows[-1].mean_logprob_difference == 0


def test_a_scheme_that_a_person_chose_is_refused_and_not_exchanged(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    strict = build.settings.parity.model_copy(update={"quantized_gap": 1e-9})
    with pytest.raises(ParityError, match=r"parity\.quantized_gap allows 0\.0%"):
        measure_forms(build.settings.model_copy(update={"parity": strict}), ledger, build.run.id)


def test_each_form_is_read_twice_and_the_noise_is_kept_for_the_endpoint(loop: tuple[Build, Ledger]) -> None:
    build, ledger = loop
    found = measure_forms(build.settings, ledger, build.run.id)
    for row in found.rows[1:]:
        assert row.noise is not None
        assert 0 < row.noise.loss_share < 0.05
        assert row.noise.items == row.items
    assert found.twice is not None
    assert list(found.twice.once) == found.chain[-1][1]
    assert found.twice.again != found.twice.once
