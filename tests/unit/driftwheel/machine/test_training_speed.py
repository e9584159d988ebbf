"""What was measured of a machine is kept by machine, and decides by a clear difference only."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import structlog

from driftwheel.machine.training_speed import Speed, keep_speed, kept_path, kept_speeds, machine_key, spare_path

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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 3}',
        '{"a": {"frozen": {}}}',
        '{"a": {"frozen": {}, "trained": {}, "threads": {}}}',
        '{"a": {"frozen": null, "trained": null, "threads": null}}',
    ],
)
def test_a_broken_file_is_no_measurement(tmp_path: Path, text: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(text, encoding="utf-8")
    assert kept_speeds(path) == {}
    keep_speed(SPEED, path)
    assert kept_speeds(path) == {machine_key(): SPEED}


def test_a_broken_entry_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    broken = {"frozen": SPEED.frozen, "trained": SPEED.trained, "threads": {"alone": {}}}
    path.write_text(json.dumps({"a": asdict(SPEED), "b": broken}), encoding="utf-8")
    assert kept_speeds(path) == {"a": SPEED}


@pytest.fixture
def read_only_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a user whose cache folder cannot be made."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_no_cache_folder_takes_is_kept_until_the_next_boot(read_only_cache: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        keep_speed(SPEED)
    assert (kept_speeds(), logged) == ({machine_key(): SPEED}, [])
    assert spare_path().is_relative_to(read_only_cache)


def test_a_spare_folder_that_others_may_write_is_not_believed(read_only_cache: Path) -> None:
    keep_speed(SPEED)
    spare_path().parent.chmod(0o777)
    with structlog.testing.capture_logs() as logged:
        keep_speed(SPEED)
    assert kept_speeds() == {}
    assert "somebody else's" in logged[0]["reason"]


def test_a_folder_that_cannot_be_written_is_no_error_and_said_once(tmp_path: Path) -> None:
    path = tmp_path / "file" / "speed.json"
    path.parent.touch()
    with structlog.testing.capture_logs() as logged:
        keep_speed(SPEED, path)
        keep_speed(SPEED, path)
    (warning,) = logged
    assert (warning["path"], warning["next"]) == (str(path), "set train.bf16, or XDG_CACHE_HOME")


def test_the_cache_folder_needs_no_home_and_is_never_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "here"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert kept_path() == tmp_path / ".cache" / "driftwheel" / "training-speed.json"
    monkeypatch.setattr(Path, "home", homeless)
    assert kept_path().is_absolute()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_path() == tmp_path / "driftwheel" / "training-speed.json"


def test_a_person_is_told_what_was_found() -> None:
    assert SPEED.told == (
        "bfloat16 3.0 times as fast as float32 for adapters, bfloat16 0.7 times as fast as float32 for whole weights; "
        "2 threads alone"
    )
