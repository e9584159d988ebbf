"""A drift check is laid out by the traffic's own time, with shares, intervals and the alarms that rang."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import drift_tables, timelines
from driftwheel.records.by_whom import Action, Event
from driftwheel.records.check_details import SignalDetails
from driftwheel.records.diagnosis import Diagnosis, Finding, NewCluster, Remedy, WordShift
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import texts, view

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
STEADY, SUSPECTED, DRIFTED = DriftVerdict.STEADY, DriftVerdict.SUSPECTED, DriftVerdict.DRIFTED


def signal(
    number: int, verdict: DriftVerdict, kind: DriftKind = DriftKind.INPUT, details: SignalDetails | None = None
) -> DriftSignal:
    """A check of the window that ended `number` hours after the start; it was looked at a month later."""
    return DriftSignal(
        id=f"signal_{kind}_{number}",
        project="p",
        version_id="v",
        created_at=START + timedelta(days=30, minutes=-number),
        window_ended_at=START + timedelta(hours=number),
        kind=kind,
        feature="all",
        method="mmd",
        score=1.0,
        threshold=0.5,
        reference_rows=600,
        current_rows=200,
        verdict=verdict,
        check_id=f"check_{number}",
        details=details or SignalDetails(),
    )


def test_a_point_stands_where_its_traffic_was_and_not_where_it_was_looked_at() -> None:
    values = timelines.drift_timeline([signal(3, STEADY)]).to_dict()["data"]["values"]
    assert values[0]["at"] == "2026-05-04T15:00:00+00:00"


def test_an_alarm_lasts_from_the_window_that_rang_to_the_one_that_was_quiet() -> None:
    verdicts = (STEADY, SUSPECTED, DRIFTED, DRIFTED, DriftVerdict.INSUFFICIENT, STEADY, DRIFTED)
    found = drift_tables.alarms([signal(n, verdict) for n, verdict in enumerate(verdicts)])
    began = [(alarm.check_id, alarm.windows, alarm.ended_at) for alarm in found]
    assert began == [("check_6", 1, None), ("check_2", 2, START + timedelta(hours=5))]
    rows = drift_tables.alarm_rows(found, {})
    assert (rows[0]["until"], rows[1]["began (UTC)"]) == ("now", "2026-05-04 14:00")


def test_the_quality_of_texts_is_said_as_a_grade() -> None:
    """A chrF of 44.3 was told as "44.3% of the answers are right"."""
    grades = SignalDetails(
        accuracy=0.443, accuracy_low=0.03, accuracy_high=0.97, baseline=0.593, labelled_rows=59, criterion="chrf"
    )
    assert drift_tables.quality_sentence([signal(1, DRIFTED, DriftKind.QUALITY, grades)]) == (
        "The answers have 44.3 of 100 by chrf (3.0 to 97.0 with 95 %), by 59 labels; 59.3 when the version was judged."
    )
    chosen = SignalDetails(estimate=0.5, labelled_rows=40, criterion="chrf")
    said = drift_tables.quality_sentence([signal(1, STEADY, DriftKind.QUALITY, chosen)])
    assert said.startswith("The answers have 50.0 of 100 by chrf, by 40 labels. People chose")


def test_quality_is_said_with_its_interval_and_whether_it_is_an_estimate() -> None:
    fair = SignalDetails(accuracy=0.8, accuracy_low=0.7, accuracy_high=0.9, baseline=0.91, labelled_rows=60)
    assert drift_tables.quality_sentence([signal(1, DRIFTED, DriftKind.QUALITY, fair)]) == (
        "80.0% of the answers are right (70.0% to 90.0% with 95 %), by 60 labels; 91.0% when the version was judged."
    )
    chosen = SignalDetails(estimate=0.5, labelled_rows=40)
    assert "so this is an estimate" in drift_tables.quality_sentence([signal(1, STEADY, DriftKind.QUALITY, chosen)])
    none = SignalDetails(accuracy=0.9, labelled_rows=0)
    assert "is not known" in drift_tables.quality_sentence([signal(1, STEADY, DriftKind.QUALITY, none)])


def test_a_diagnosis_of_prompts_and_answers_is_one() -> None:
    finding = Finding(sentence="new topic", remedy=Remedy.LABEL)
    asked = Diagnosis(findings=[finding], words=[WordShift(word="hub", now=0.2)], windows=2)
    answered = Diagnosis(findings=[finding], words=[WordShift(word="hub", now=0.1, side="output")], windows=2)
    found = drift_tables.diagnosis_of(
        [
            signal(1, DRIFTED, details=SignalDetails(diagnosis=asked)),
            signal(1, DRIFTED, DriftKind.OUTPUT, SignalDetails(diagnosis=answered)),
        ]
    )
    assert len(found.findings) == 1
    assert [(r["in"], r["now"]) for r in drift_tables.word_rows(found.words)] == [("prompts", 0.2), ("answers", 0.1)]


def test_a_check_of_before_diagnoses_shows_its_words_without_shares() -> None:
    found = drift_tables.diagnosis_of([signal(1, DRIFTED, details=SignalDetails(shifted_words=["hub"]))])
    assert drift_tables.word_rows(found.words) == [{"word": "hub", "in": "prompts", "before": None, "now": None}]


def test_a_cluster_says_its_share_before_and_now() -> None:
    cluster = NewCluster(share=0.23, before=0.01, words=["hub", "reset"], nearest_label="refund")
    assert drift_tables.cluster_title(cluster) == ("23% of the requests now, 1% before: hub, reset; nearest to refund")


def test_the_drift_page_says_what_changed_and_what_would_help(
    seeded: dict[str, str], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    page = view("drift_signals", check="check_5")
    shown = texts(page)
    assert "what users ask" in shown
    assert "63.0% of the answers are right (53.2% to 71.8% with 95 %), by 100 labels" in shown
    assert "Label 30 of them" in shown
    assert {"Label these", "Label some requests"} <= {b.label for b in page.button}
    assert "my Nestora hub blinks red" in [c.value for c in page.code]


def test_an_alarm_says_who_was_told() -> None:
    rang = Event(id="event_1", project="p", actor="process:monitor", action=Action.ALARM, object_id="signal_1")
    rang = replace(rang, after={"check_id": "check_2"})
    sent = Event(id="event_2", project="p", actor="process:notifier", action=Action.NOTIFY, object_id="event_1")
    told = drift_tables.told_by_check([replace(sent, after={"told": ["slack://T...2"]}), rang])
    assert told == {"check_2": "slack://T...2"}
    (row,) = drift_tables.alarm_rows(drift_tables.alarms([signal(2, DRIFTED)]), {}, told)
    assert row["who was told"] == "slack://T...2"
    failed = replace(sent, after={"told": [], "not_reached": {"mailto://x": "no"}})
    assert drift_tables.told_by_check([failed, rang]) == {"check_2": "nobody was reached"}
