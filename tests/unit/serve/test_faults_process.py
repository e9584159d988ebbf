"""Short forms of three suites: crashes, races and engine faults, each on the real gateway process."""

import random
from pathlib import Path

import pytest

from tests.suites import alias_races, engine_faults, rollout_crashes
from tests.support.fake_world import World


def test_a_crash_in_a_swap_ends_fully_old_or_fully_new(tmp_path: Path) -> None:
    world = World(tmp_path, dict(rollout_crashes.SERVE))
    try:
        _, fault = rollout_crashes.crash(world, "before live row", random.Random(0))
    finally:
        world.stop()
    assert fault == ""


def test_racing_processes_leave_one_live_version_at_every_instant(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        reader, faults, line = alias_races.run(world, 60, 3, 0)
    finally:
        world.stop()
    assert faults == [], line
    assert reader.looks > 50


@pytest.mark.parametrize("kind", ["killed", "nan"])
def test_a_faulty_replica_is_found_replaced_and_not_noticed_by_clients(tmp_path: Path, kind: str) -> None:
    world = engine_faults.serving(tmp_path, health_interval_seconds=1)
    try:
        found, _, answers = engine_faults.find(world, kind, 10)
        assert len(world.engine_ids("v1")) == 2
    finally:
        world.stop()
    assert found < engine_faults.GIVE_UP_SECONDS  # how soon on a machine of one's own, the long form measures
    assert {answer.status for answer in answers} == {200}
