"""What was measured of a machine is kept by machine, and decides by a clear difference only."""

from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.training_speed import Speed, keep_speed, kept_speeds, machine_key

SPEED = Speed(
    frozen={"bfloat16": 0.1, "float32": 0.3},
    trained={"bfloat16": 0.3, "float32": 0.2},
    threads={"alone": {"1": 0.2, "2": 0.11}},
)


def test_each_method_has_the_type_that_is_faster_for_its_weights() -> None:
    assert [SPEED.is_bf16_faster(method) for method in ("lora", "qlora", "full")] == [True, True, False]
    close = replace(SPEED, trained={"bfloat16": 0.21, "float32": 0.2})
    assert close.is_bf16_faster("full"), "a twentieth is no reason for twice the memory"


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [({"1": 0.2, "2": 0.11}, 2), ({"1": 0.017, "2": 0.23}, 1), ({"1": 0.1, "8": 0.095, "16": 0.1}, 16)],
    ids=["alone", "they wait for each other", "no clear difference"],
)
def test_threads_are_as_many_as_are_no_slower(seconds: dict[str, float], threads: int) -> None:
    assert replace(SPEED, threads={"beside other work": seconds}).best_threads("beside other work") == threads


def test_another_machines_measurement_stays_beside_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache" / "speed.json"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    other = machine_key()
    keep_speed(SPEED, path)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    keep_speed(replace(SPEED, threads={}), path)
    assert kept_speeds(path) == {other: SPEED, machine_key(): replace(SPEED, threads={})}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 3}', '{"a": {"frozen": {}}}'])
def test_a_broken_file_is_no_measurement(tmp_path: Path, text: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(text, encoding="utf-8")
    assert kept_speeds(path) == {}
    keep_speed(SPEED, path)
    assert kept_speeds(path) == {machine_key(): SPEED}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keep_speed(SPEED, tmp_path / "file" / "speed.json")


def test_a_person_is_told_what_was_found() -> None:
    assert SPEED.told == (
        "bfloat16 3.0 times as fast as float32 for adapters, bfloat16 0.7 times as fast as float32 for whole weights; "
        "2 threads alone"
    )
