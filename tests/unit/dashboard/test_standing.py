"""The stations, the lamp and the word about the gateway say what the newest records say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import queries, standing
from driftwheel.records.nouns import Alias, DriftVerdict
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


def test_an_empty_ledger_has_seven_empty_stations_and_a_gray_lamp(ledger: Ledger, settings: Settings) -> None:
    assert [s.id for s in standing.stations(ledger, settings.project)] == [None] * 7
    assert standing.lamp(queries.latest_check(ledger, settings.project)) == "gray"


def test_stations_show_the_newest_records(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    stations = standing.stations(ledger, settings.project)
    assert stations[0].id == seeded["dataset"]
    assert stations[2].id == seeded["rejected"]
    assert stations[2].status == "rejected"
    assert stations[3].title == "support to v1"
    assert stations[4].title == "150 requests"
    assert stations[5].status == DriftVerdict.DRIFTED
    assert stations[6].status == "retrain, awaiting approval"


def test_the_lamp_is_red_after_an_alarm(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    signals = queries.latest_check(ledger, settings.project)
    assert {s.check_id for s in signals} == {"check_5"}
    assert standing.lamp(signals) == "red"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "serving"),
        ({"observed_at": None}, "silent"),
        ({"observed_error": "no"}, "refused"),
        ({"observed_version_id": "v0"}, "moving"),
        ({"observed_at": NOW - timedelta(minutes=5)}, "stale"),
    ],
)
def test_desired_against_observed_has_one_word(changes: dict[str, object], word: str) -> None:
    alias = Alias(id="p/a", project="p", name="a", version_id="v1", fence=1, observed_version_id="v1", observed_at=NOW)
    assert standing.gateway_state(replace(alias, **changes), NOW)[0] == word  # type: ignore[arg-type]
