"""The machine is measured once, in a few seconds, and what is set wins over what was measured."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from driftwheel.machine.training_speed import Speed, keep_speed, kept_path, kept_speeds, machine_key
from driftwheel.settings.training import TrainSettings
from train.processes.number_type import least_seconds, speed, use_best_threads, with_number_type

SLOW_BF16 = Speed(
    frozen={"bfloat16": 0.3, "float32": 0.2},
    trained={"bfloat16": 0.3, "float32": 0.2},
    threads={"alone": {"1": 0.1, "2": 0.2}, "beside other work": {"1": 0.1, "2": 0.2}},
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kept_path()


def test_it_is_measured_once_and_then_read(cache: Path) -> None:
    before = torch.get_num_threads()
    began_at = time.process_time()
    first = speed()
    measuring_seconds = time.process_time() - began_at
    assert torch.get_num_threads() == before
    assert min(*first.frozen.values(), *first.trained.values()) > 0
    written = cache.stat().st_mtime_ns
    began_at = time.process_time()
    found = with_number_type(TrainSettings(method="full"))
    assert time.process_time() - began_at < measuring_seconds / 4, "it was read"
    assert cache.stat().st_mtime_ns == written
    assert kept_speeds(cache) == {machine_key(): first}
    assert found.bf16 is first.is_bf16_faster("full")


def test_where_bfloat16_is_slower_a_training_computes_in_float32_unless_it_is_set(cache: Path) -> None:
    keep_speed(SLOW_BF16, cache)
    assert with_number_type(TrainSettings()).bf16 is False
    assert with_number_type(TrainSettings(bf16=True)).bf16 is True


def test_threads_are_those_that_were_fastest_unless_the_environment_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_speed(SLOW_BF16, cache)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        use_best_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        use_best_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_other_work_that_begins_during_the_measurement_changes_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state was asked twice, and the second answer was no key of what was measured for the first."""
    keep_speed(replace(SLOW_BF16, threads={}), cache)
    loads = iter([0.0])
    monkeypatch.setattr("os.getloadavg", lambda: (next(loads, 999.0),) * 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        use_best_threads()
    finally:
        torch.set_num_threads(before)
    assert set(kept_speeds(cache)[machine_key()].threads) == {"alone"}


def test_tries_take_turns_and_a_slow_machine_ends_them_early() -> None:
    now, ran = [0.0], []

    def taking(name: str, *seconds: float) -> Callable[[], None]:
        left = iter(seconds)

        def run() -> None:
            ran.append(name)
            now[0] += next(left)

        return run

    tries = {"a": taking("a", 9.0, 0.5, 0.3), "b": taking("b", 9.0, 0.2, 0.4)}
    least = least_seconds(tries, clock=lambda: now[0])
    assert least == pytest.approx({"a": 0.5, "b": 0.2})
    assert ran == ["a", "b", "a", "b"], "two rounds of 9 seconds are more than enough"
