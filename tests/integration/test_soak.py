"""The gateway keeps nothing of what it answers: a short form of tests.suites.soak, with its planted bugs."""

from pathlib import Path

import pytest

from tests.suites.soak import MIB, MOST_GROWTH, Growth, soak

MINUTES, PER_SECOND = 0.3, 200
MOST_BYTES_A_REQUEST = 730
"""In its first seconds a process still grows, by some 120 bytes a request; the planted leak keeps 2,048 of each."""


def bytes_a_request(growth: Growth, answered: int) -> float:
    """Return what it took on for each answer; a busy machine gives fewer of them in an hour."""
    return growth.mib_an_hour * MIB / (answered / MINUTES * 60)


def test_a_gateway_keeps_nothing_loses_nothing_and_suspects_no_sound_engine(tmp_path: Path) -> None:
    growth, found, statuses, alarms = soak(tmp_path, MINUTES, PER_SECOND, leak="")
    assert bytes_a_request(growth, found.acknowledged) < MOST_BYTES_A_REQUEST
    assert growth.files[1] <= growth.files[0] + MOST_GROWTH
    assert growth.threads[1] <= growth.threads[0] + MOST_GROWTH
    assert set(statuses) == {200}
    assert found.acknowledged > 1000
    assert (found.lost, found.doubled, found.different, alarms) == (0, 0, 0, 0)


@pytest.mark.parametrize("leak", ["memory", "files threads"])  # a thread takes memory, too
def test_a_gateway_that_keeps_something_of_its_requests_is_seen(tmp_path: Path, leak: str) -> None:
    growth, found, *_ = soak(tmp_path, MINUTES, PER_SECOND, leak=leak)
    if leak == "memory":
        assert bytes_a_request(growth, found.acknowledged) > MOST_BYTES_A_REQUEST
    else:
        assert growth.files[1] > growth.files[0] + MOST_GROWTH
        assert growth.threads[1] > growth.threads[0] + MOST_GROWTH
