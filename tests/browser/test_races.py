"""The short form of the suite `dashboard_races`: clicks while others write; `make suite-dashboard_races` is longer."""

from tests.suites import dashboard_races


def test_no_click_does_what_nobody_saw() -> None:
    result = dashboard_races.run(6)
    assert (result.thumbs, result.promotions) == (6, 6)
    assert result.rows > 0
    assert result.stored > 0
    assert result.wrong == []
