"""The gateway keeps nothing of what it answers: a short form of tests.suites.soak, with its planted bugs."""

from pathlib import Path

import pytest

from tests.suites.soak import MOST_GROWTH, soak

MINUTES, PER_SECOND = 0.3, 200
MOST_MIB_AN_HOUR = 500
"""In its first seconds a process still grows, by some 80 MiB an hour; 2 KiB kept of each request are 1,400."""


def test_a_gateway_keeps_nothing_loses_nothing_and_suspects_no_sound_engine(tmp_path: Path) -> None:
    growth, found, statuses, alarms = soak(tmp_path, MINUTES, PER_SECOND, leak="")
    assert growth.mib_an_hour < MOST_MIB_AN_HOUR
    assert growth.files[1] <= growth.files[0] + MOST_GROWTH
    assert growth.threads[1] <= growth.threads[0] + MOST_GROWTH
    assert set(statuses) == {200}
    assert found.acknowledged > 1000
    assert (found.lost, found.doubled, found.different, alarms) == (0, 0, 0, 0)


@pytest.mark.parametrize("leak", ["memory", "files", "threads"])
def test_a_gateway_that_keeps_something_of_its_requests_is_seen(tmp_path: Path, leak: str) -> None:
    growth, *_ = soak(tmp_path, MINUTES, PER_SECOND, leak=leak)
    if leak == "memory":
        assert growth.mib_an_hour > MOST_MIB_AN_HOUR
    else:
        early, late = getattr(growth, leak)
        assert late > early + MOST_GROWTH
