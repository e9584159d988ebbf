"""The lamp and each accuracy are of the version that answers now, and say of when they are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from dashboard import live_numbers
from driftwheel.evidence.intervals import share_interval
from driftwheel.records.nouns import Alias, DriftKind, DriftSignal, ModelVersion
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import texts, view

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)


@pytest.fixture
def ids(seed: ModuleType, settings: Settings, ledger: Ledger) -> dict[str, str]:
    return dict(seed.fill(settings, ledger, NOW))


def swapped(settings: Settings, ledger: Ledger, version_id: str) -> Alias:
    """Let the gateway report that it serves another version."""
    alias = get_alias(ledger, *settings.alias_key)
    return ledger.change(alias, version_id=version_id, fence=alias.fence + 1, observed_version_id=version_id)


def test_both_accuracies_and_the_lamp_say_of_which_version_and_of_when(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    served = live_numbers.served_now(ledger, settings.alias_key, get_alias(ledger, *settings.alias_key))
    assert (served.name, served.lamp, served.drifted) == ("v1", "red", ("input", "quality"))
    assert served.judged is not None
    assert (served.judged.found.value, served.judged.at) == (0.91, NOW - timedelta(hours=3))
    assert served.measured is not None
    assert (round(served.measured.found.value, 2), served.measured.items) == (0.63, 100)
    assert served.measured.found.interval == share_interval(63, 100)
    assert served.measured.at == NOW - timedelta(minutes=10)
    assert served.is_worse_than_judged
    assert live_numbers.sentence(served) == (
        "v1 answers. 63.0% of its answers are right, measured on 100 labelled requests up to 2026-05-04 12:20 UTC; "
        "that is worse than 91.0% when it was judged on 2026-05-04. "
        "Drift in what users ask and how right the answers are, by the check of 2026-05-04 12:20 UTC."
    )


def test_a_text_task_is_shown_by_its_grade(ids: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    version = ledger.get(ModelVersion, ids["v1"])
    card = replace(version.scorecard, criterion="chrf", grade=0.61, ungraded=1, intervals={"grade": (0.58, 0.64)})
    ledger.change(version, scorecard=replace(card, accuracy=0.0))
    served = live_numbers.served_now(ledger, settings.alias_key, get_alias(ledger, *settings.alias_key))
    assert served.judged is not None
    shown = served.judged.found
    assert (shown.name, shown.text, shown.reach) == ("grade by chrf", "61.0 of 100", "58.0 to 64.0")
    assert not served.is_worse_than_judged, "a share of right answers is not compared with a grade"
    assert "61.0 of 100 (grade by chrf) when it was judged" in live_numbers.sentence(served)


def test_a_live_grade_is_held_against_what_the_version_had_beside_one_right_text(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    """It was shown as an accuracy, and the best of several right texts would make each live answer seem worse."""
    kind, version = DriftKind.QUALITY, ids["v1"]
    signal = ledger.find(DriftSignal, version_id=version, kind=kind, feature="all", limit=1)[0]
    graded = replace(signal.details, criterion="chrf", accuracy=0.45, baseline=0.52)
    for low, high, is_worse in ((0.38, 0.51, True), (0.38, 0.53, False)):
        ledger.change(signal, details=replace(graded, accuracy_low=low, accuracy_high=high))
        served = live_numbers.served_now(ledger, settings.alias_key, get_alias(ledger, *settings.alias_key))
        assert served.is_worse_than_judged is is_worse
        told = "that is worse than 52.0" if is_worse else "it was 52.0"
        said = live_numbers.sentence(served)
        assert "Its answers have 45.0 of 100 (grade by chrf beside corrections), measured on 100 labelled" in said
        assert f"{told} when it was judged." in said


def test_a_new_version_inherits_neither_lamp_nor_measured_accuracy(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    served = live_numbers.served_now(ledger, settings.alias_key, swapped(settings, ledger, ids["v2"]))
    assert (served.name, served.lamp, served.checked_at, served.measured) == ("v2", "gray", None, None)
    assert "The monitor has not checked it yet" in live_numbers.sentence(served)


def test_until_the_gateway_swaps_the_numbers_are_of_what_it_serves(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    alias = replace(get_alias(ledger, *settings.alias_key), version_id=ids["v2"], fence=2)
    assert live_numbers.served_now(ledger, settings.alias_key, alias).name == "v1"


def test_an_accuracy_without_labels_is_not_taken_for_a_measured_one(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    version = ledger.get(ModelVersion, ids["v2"])
    signal = ledger.find(DriftSignal, kind=DriftKind.QUALITY, feature="all")[0]
    blank = replace(signal.details, accuracy=0.943, labelled_rows=0)
    ledger.add(replace(signal, id="signal_blank", version_id=version.id, check_id="check_blank", details=blank))
    served = live_numbers.served_now(ledger, settings.alias_key, swapped(settings, ledger, version.id))
    assert served.measured is None
    assert "How well is not known" in live_numbers.sentence(served)


def test_the_interval_is_the_monitors_where_it_said_one(
    ids: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    """Its interval holds what the answers without a label might be; one of the labelled alone is too narrow."""
    (signal,) = ledger.find(DriftSignal, kind=DriftKind.QUALITY, feature="all", version_id=ids["v1"], limit=1)
    wide = replace(signal.details, accuracy=0.8, labelled_rows=600, accuracy_low=0.64, accuracy_high=0.86)
    at = NOW + timedelta(minutes=1)
    ledger.add(replace(signal, id="signal_wide", check_id="check_wide", created_at=at, details=wide))
    served = live_numbers.served_now(ledger, settings.alias_key, get_alias(ledger, *settings.alias_key))
    assert served.measured is not None
    assert served.measured.found.interval == (0.64, 0.86)


def test_the_overview_shows_the_measured_number_beside_the_judged_one(
    seeded: dict[str, str], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    page = view("overview")
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["Measured accuracy of v1"] == "63.0%"
    assert shown["Judged accuracy of v1"] == "91.0%"
    assert "v1 answers. 63.0% of its answers are right" in texts(page)
