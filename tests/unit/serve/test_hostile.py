"""A sample of tests/suites/hostile.py: hostile inputs do no harm, and the suite notices a gateway that loses rows."""

from pathlib import Path

from tests.suites.hostile import examine, report


def test_hostile_inputs_do_no_harm(tmp_path: Path) -> None:
    found = examine(800, 11, tmp_path)
    assert found.failures == 0, report(found, 11)
    assert len(found.seen) > 40


def test_a_lost_row_is_noticed(tmp_path: Path) -> None:
    found = examine(300, 12, tmp_path, "forgetful-log")
    assert found.unlogged, "the suite is blind to lost rows"
