"""Every family of models is trained, merged and quantized as it is, or refused for the right reason."""

import runpy
import shlex
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.ledger import Ledger
from tests.support.model_shapes import SHAPES, WITHOUT_LINEAR_LAYERS, build_shape
from train.base_model import load_config, load_tokenizer, load_weights
from train.finetune import finetune
from train.sizing.memory import estimate
from train.worker import measure_forms

# compressed-tensors imports torch's compiler, which warns about torch's own code.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script_method. is deprecated:DeprecationWarning"),
    # PEFT warns that it does what is right for a Conv1D layer.
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but the target module is `Conv1D`:UserWarning"),
]


def on_shape(settings: Settings, shape: str, tiny_base: Path, folder: Path, scheme: str) -> Settings:
    """Settings that train a model of this shape for one step."""
    base = build_shape(folder, shape, load_tokenizer(str(tiny_base)))
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"base": str(base)}),
            "train": settings.train.model_copy(update={"max_steps": 1, "eval_steps": 1}),
            "quantize": settings.quantize.model_copy(update={"scheme": scheme}),
            "evaluate": settings.evaluate.model_copy(update={"max_tokens": 4}),
        }
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_family_is_trained_merged_quantized_and_the_same_model_after_each(
    shape: str, train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    settings = on_shape(train_settings, shape, tiny_base, tmp_path / "base", "auto")
    run = finetune(settings, ledger, dataset.id)
    found = measure_forms(settings, ledger, run.id)
    assert [row.hop for row in found.rows] == ["trained", "merged", "quantized"]
    is_whole = shape in WITHOUT_LINEAR_LAYERS
    assert (artifacts.read_manifest(found.artifact).quantization == "none") is is_whole


@pytest.mark.parametrize("shape", SHAPES)
def test_a_familys_memory_can_be_estimated(shape: str, tiny_base: Path, tmp_path: Path) -> None:
    base = build_shape(tmp_path / "base", shape, load_tokenizer(str(tiny_base)))
    train = TrainSettings(per_device_train_batch_size=2, max_length=16)
    assert estimate(load_config(str(base)), train).activations > 0


@pytest.mark.parametrize("shape", WITHOUT_LINEAR_LAYERS)
def test_a_model_without_a_layer_to_round_is_refused_before_it_is_trained(
    shape: str, train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    settings = on_shape(train_settings, shape, tiny_base, tmp_path / "base", "w8a8")
    with pytest.raises(
        ConfigError, match=r"quantize.scheme w8a8 rounds linear layers, .* \(GPT2LMHeadModel\) has none"
    ):
        finetune(settings, ledger, dataset.id)
    assert not (settings.root / "runs").exists()


def test_an_ignore_list_that_leaves_nothing_is_refused_before_training_and_by_its_name(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    quantize = train_settings.quantize.model_copy(update={"scheme": "w8a8", "ignore": ["Linear"]})
    with pytest.raises(ConfigError, match=r"quantize\.ignore leaves no layer of .* \(Qwen3ForCausalLM\) to quantize"):
        finetune(train_settings.model_copy(update={"quantize": quantize}), ledger, dataset.id)


def test_a_base_that_is_only_pickled_is_refused_with_a_command_that_converts_it(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    pickled = tmp_path / "pickled"
    load_tokenizer(str(tiny_base)).save_pretrained(pickled)
    model = load_weights(str(tiny_base), "float32")
    model.config.save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"are only there as pytorch_model\.bin") as caught:
        load_weights(str(pickled), "float32")
    command = str(caught.value).partition("convert it once: ")[2].rpartition(" and set model.base to ")
    _, _, script = shlex.split(command[0])
    (tmp_path / "convert.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("convert.py")  # here and not by another Python, which would take seconds to import the libraries
    converted = load_weights(str(tmp_path / command[2]), "float32")
    assert all(torch.equal(p, q) for p, q in zip(converted.parameters(), model.parameters(), strict=True))
