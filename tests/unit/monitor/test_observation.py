"""An answer is right or wrong only where people said so, and a sample runs forwards."""

from datetime import UTC, datetime, timedelta

from monitor.observation import Observation, Sample

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, at: datetime = NOW) -> Observation:
    return Observation(id=f"r{number}", prompt="p", answer="a", label="a", at=at)


def test_a_clock_that_was_set_back_does_not_turn_a_sample_around() -> None:
    jumping = Sample((row(1, NOW), row(2, NOW - timedelta(hours=1))))
    assert (jumping.started_at, jumping.ended_at) == (NOW - timedelta(hours=1), NOW)


def test_a_row_is_right_or_wrong_only_where_people_said_so() -> None:
    assert row(1).is_correct is None
    assert Observation(id="1", prompt="", answer="", label="a", right_label="a").is_correct is True
    assert Observation(id="1", prompt="", answer="", label=None, right_label="a").is_correct is False
