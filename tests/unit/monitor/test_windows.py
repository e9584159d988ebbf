"""Windows are cut once, in order, whatever the clock does."""

from datetime import UTC, datetime, timedelta

from monitor.windows import Observation, Window, next_window

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, at: datetime = NOW) -> Observation:
    return Observation(id=f"r{number}", prompt="p", answer="a", label="a", at=at)


def test_there_is_no_window_before_enough_rows_came() -> None:
    assert next_window([row(n) for n in range(9)], frozenset(), 10) is None


def test_windows_follow_one_another_and_use_each_row_once() -> None:
    cut: list[list[str]] = []
    rows, checked = [row(n) for n in range(35)], frozenset[str]()
    while len(cut) < 9 and (window := next_window(rows, checked, 10)):
        cut.append([r.id for r in window.rows])
        checked |= {r.id for r in window.rows}
    assert [len(w) for w in cut] == [10, 10, 10]
    assert [id for ids in cut for id in ids] == [f"r{n}" for n in range(30)]


def test_rows_from_a_clock_that_was_set_back_are_neither_lost_nor_used_twice() -> None:
    early = [row(n, NOW + timedelta(seconds=n)) for n in range(10)]
    first = next_window(early, frozenset(), 10)
    assert first is not None
    checked = frozenset(r.id for r in first.rows)
    late = [row(n, NOW - timedelta(hours=1) + timedelta(seconds=n)) for n in range(10, 20)]
    second = next_window([*late, *early], checked, 10)
    assert second is not None
    assert {r.id for r in second.rows} == {f"r{n}" for n in range(10, 20)}
    jumping = Window((early[5], late[0]))
    assert jumping.started_at < jumping.ended_at  # type: ignore[operator]


def test_a_row_is_right_or_wrong_only_where_people_said_so() -> None:
    assert row(1).is_correct is None
    assert Observation(id="1", prompt="", answer="", label="a", right_label="a").is_correct is True
    assert Observation(id="1", prompt="", answer="", label=None, right_label="a").is_correct is False
