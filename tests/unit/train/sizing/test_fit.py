"""What fits: the proposal is the first that fits, says what is missing, and is a settings file's text."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftwheel.errors import ConfigError, DataError
from driftwheel.machine.training_speed import Speed
from driftwheel.settings.data import TemplateSettings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.sizing.fit import as_text, examine_fit, fits
from train.sizing.machine import Machine, this_machine

AMX = Speed(frozen={"bfloat16": 0.02, "float32": 0.06}, trained={"bfloat16": 0.03, "float32": 0.09}, threads={})
NO_AMX = Speed(frozen={"bfloat16": 0.3, "float32": 0.2}, trained={"bfloat16": 0.4, "float32": 0.2}, threads={})
"""A Sapphire Rapids whose flags name AVX-512 with BF16, but not AMX: its products in float32 are the faster ones."""
CPU = Machine(64e9, None, None, frozenset({"avx512_bf16", "avx512_vnni"}), frozenset(), speed=AMX)
H200 = Machine(139e9, "NVIDIA H200", (9, 0), frozenset(), frozenset({"bitsandbytes"}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten examples; in the tiny model's bytes and template the longest has 26 + 3 * 10 tokens."""
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "abc" * n, "completion": "x"} for n in range(1, 11)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def with_train(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"train": TrainSettings(**changes)})


def test_proposes_the_settings_as_they_are_where_they_fit(train_settings: Settings, data: Path) -> None:
    fit = examine_fit(with_train(train_settings, max_length=1024), data, CPU)
    assert fit.lengths is not None
    assert (fit.lengths.rows, fit.lengths.longest - fit.lengths.p50) == (10, 15)
    assert fit.proposal is not None
    assert fit.proposal["train"] | {"max_length": 64} == fit.proposal["train"]
    assert fit.proposal["train"]["per_device_train_batch_size"] == 16
    assert fit.proposal["quantize"] == {"scheme": "w8a8"}
    text = as_text(fit)
    assert yaml.safe_load(text.partition("settings file:\n")[2]) == fit.proposal
    assert "qlora" in text
    assert "needs a CUDA GPU" in text


def test_halves_the_batch_until_it_fits_and_keeps_the_examples_a_step(train_settings: Settings) -> None:
    wanted = with_train(train_settings, per_device_train_batch_size=64, max_length=256)
    whole = examine_fit(wanted, None, CPU).estimates[1]
    room = (whole.total - 0.6 * whole.activations) * 1.25
    proposal = examine_fit(wanted, None, replace(CPU, memory_bytes=room)).proposal
    assert proposal is not None
    train = proposal["train"]
    assert (train["per_device_train_batch_size"], train["gradient_accumulation_steps"]) == (16, 4)


def test_says_what_would_be_enough_where_nothing_fits(train_settings: Settings) -> None:
    fit = examine_fit(train_settings, None, replace(CPU, memory_bytes=5e8))
    assert fit.proposal is None
    assert "nothing fits: choose a smaller base model, or a machine with 1." in as_text(fit)


@pytest.mark.parametrize(
    ("machine", "scheme", "bf16"),
    [
        (CPU, "w8a8", True),
        (replace(CPU, speed=NO_AMX), "w8a8", False),
        (replace(CPU, cpu_flags=frozenset({"avx2"}), speed=NO_AMX), "none", False),
        (H200, "fp8_dynamic", True),
        (replace(H200, capability=(8, 0)), "w8a8", True),
        (replace(H200, capability=(7, 5)), "w8a8", False),
    ],
    ids=["server CPU", "its flags without its speed", "old CPU", "Hopper", "Ampere", "Turing"],
)
def test_the_machine_decides_number_type_and_quantization(
    train_settings: Settings, machine: Machine, scheme: str, bf16: bool
) -> None:
    proposal = examine_fit(train_settings, None, machine).proposal
    assert proposal is not None
    assert (proposal["quantize"]["scheme"], proposal["train"]["bf16"]) == (scheme, bf16)


def test_a_number_type_that_is_set_is_taken_whatever_was_measured(train_settings: Settings) -> None:
    for is_set in (True, False):
        proposal = examine_fit(with_train(train_settings, bf16=is_set), None, replace(CPU, speed=NO_AMX)).proposal
        assert proposal is not None
        assert proposal["train"]["bf16"] is is_set


@pytest.mark.parametrize(
    ("machine", "reason"),
    [(CPU, "needs a CUDA GPU"), (replace(H200, packages=frozenset()), "pip install -e '.[gpu]'"), (H200, None)],
    ids=["no GPU", "no bitsandbytes", "both"],
)
def test_says_what_qlora_lacks(machine: Machine, reason: str | None) -> None:
    found = machine.lacks(TrainSettings(method="qlora"))
    assert found is None if reason is None else reason in str(found)


def test_a_fit_leaves_room_for_the_estimates_own_error(train_settings: Settings) -> None:
    wanted = examine_fit(train_settings, None, CPU).estimates[1]
    assert fits(wanted, replace(CPU, memory_bytes=wanted.total * 1.26))
    assert not fits(wanted, replace(CPU, memory_bytes=wanted.total * 1.24))


def test_names_faster_kernels_where_there_are_some(train_settings: Settings) -> None:
    amd = replace(CPU, is_amd=True)
    assert "pip install --no-deps 'zentorch==" in as_text(examine_fit(train_settings, None, amd))
    for without in (CPU, replace(amd, packages=frozenset({"zentorch"})), replace(H200, is_amd=True)):
        assert without.faster_kernels is None


def test_the_machine_it_runs_on_is_seen() -> None:
    machine = this_machine()
    assert machine.memory_bytes > 1e8
    assert machine.cpu_flags or machine.gpu


def test_a_file_without_a_row_that_can_be_read_is_told(train_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "", "completion": ""}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no row that can be read"):
        examine_fit(train_settings, tmp_path / "rows.jsonl", CPU)


def test_doctor_ends_with_it_also_without_a_settings_file(tiny_base: Path, data: Path, tmp_path: Path) -> None:
    argv = ["-m", "driftwheel.cli.main", "doctor", "--model", str(tiny_base), "--data", str(data)]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "10 rows of" in done.stdout, done.stderr
    assert "proposed, for the settings file:" in done.stdout


def test_a_row_that_the_template_refuses_is_named(train_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}] * 2 + [{"role": "assistant", "content": "b"}]
    path.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    model = train_settings.model.model_copy(update={"template": TemplateSettings(file="trl:gemma3")})
    settings = train_settings.model_copy(update={"model": model})
    with pytest.raises(DataError, match=r"row rows\.jsonl:1 cannot be learned: .*must alternate"):
        examine_fit(settings, path, CPU)
