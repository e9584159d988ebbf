"""Swaps and wrong artifacts over real vLLM: short forms of tests.suites.swaps and tests.suites.wrong_artifacts.

Both work on one gateway with one engine, which has two adapters, because each engine costs half a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.suites import swaps, wrong_artifacts
from tests.support.real_world import START_SECONDS, RealWorld

SWAPS, PER_SECOND = 2, 4.0
FAULTS = {fault.name: fault for fault in wrong_artifacts.FAULTS}


@dataclass
class Live:
    """A loop whose first version is live, and the artifact of its second one."""

    world: RealWorld
    adapter: Path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    world, adapter, _ = wrong_artifacts.make_world(tmp_path_factory.mktemp("wrong"), START_SECONDS)
    yield Live(world, adapter)
    world.stop()


@pytest.mark.parametrize("name", ["adapter of NaN", "one byte changed after publication"])
def test_a_wrong_adapter_is_stopped_under_load_and_the_reason_is_named(live: Live, name: str) -> None:
    number = list(FAULTS).index(name)
    complaint, _, answers = wrong_artifacts.try_fault(live.world, number, FAULTS[name], live.adapter)
    assert complaint == ""
    assert answers > 0


def test_swaps_under_load_fail_no_answer(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    faults, seconds = swaps.measure_world(live.world, "adapter", SWAPS, PER_SECOND)
    assert faults == []
    assert 0 < seconds < float("inf"), "each version gave a whole answer after its swap"
    assert f"adapter: {SWAPS} swaps in" in capsys.readouterr().out
