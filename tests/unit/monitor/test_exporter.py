"""The exporter's page says what the newest records say, and a taken port is an error with a way out."""

import socket
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from driftwheel.control import controls
from driftwheel.errors import ConflictError
from driftwheel.records.check_details import SignalDetails
from driftwheel.records.nouns import (
    Alias,
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersionStatus,
    RetrainDecision,
)
from driftwheel.records.scorecard import Scorecard, SliceScore
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from monitor.exporter import CheckCounter, LedgerCollector, start_exporter
from tests.support.versions import add_with_parents, answered_request, published_version

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def page(settings: Settings, ledger: Ledger) -> CollectorRegistry:
    """A registry that reads the ledger at every look."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, CheckCounter()))
    return registry


def signal(check_id: str, kind: DriftKind, verdict: DriftVerdict, feature: str = "all", hour: int = 0) -> DriftSignal:
    return DriftSignal(
        id=f"{check_id}-{kind}-{feature}",
        project="support",
        created_at=AT + timedelta(hours=hour),
        version_id="version_1",
        kind=kind,
        feature=feature,
        method="m",
        score=2.0 + hour,
        threshold=5.0,
        reference_rows=400,
        current_rows=100,
        verdict=verdict,
        check_id=check_id,
        details=SignalDetails(accuracy=0.75),
    )


def test_an_empty_ledger_is_a_page_without_alarms(page: CollectorRegistry) -> None:
    for kind in DriftKind:
        assert page.get_sample_value("driftwheel_drift_detected", {"kind": kind}) == 0
    assert page.get_sample_value("driftwheel_drift_last_check_timestamp_seconds") is None
    assert page.get_sample_value("driftwheel_quality_ratio") is None
    assert page.get_sample_value("driftwheel_retrain_paused") == 0


def test_only_the_newest_check_is_shown(page: CollectorRegistry, ledger: Ledger) -> None:
    add_with_parents(
        ledger,
        signal("check_1", DriftKind.INPUT, DriftVerdict.DRIFTED),
        signal("check_1", DriftKind.OUTPUT, DriftVerdict.DRIFTED),
        signal("check_2", DriftKind.INPUT, DriftVerdict.STEADY, hour=1),
        signal("check_2", DriftKind.INPUT, DriftVerdict.DRIFTED, "prompt_words", hour=1),
        signal("check_2", DriftKind.INPUT, DriftVerdict.DRIFTED, "a_feature", hour=1),
        signal("check_2", DriftKind.QUALITY, DriftVerdict.DRIFTED, hour=1),
    )
    detected = {k: page.get_sample_value("driftwheel_drift_detected", {"kind": k}) for k in DriftKind}
    assert detected == {"input": 0, "output": 0, "quality": 1, "engine": 0}
    assert page.get_sample_value("driftwheel_drift_score", {"kind": "input", "feature": "prompt_words"}) == 3
    assert page.get_sample_value("driftwheel_drift_score", {"kind": "output", "feature": "all"}) is None
    assert page.get_sample_value("driftwheel_quality_ratio") == 0.75
    last = page.get_sample_value("driftwheel_drift_last_check_timestamp_seconds")
    assert last == (AT + timedelta(hours=1)).timestamp()


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [(DriftVerdict.SUSPECTED, 0), (DriftVerdict.DRIFTED, 1), (DriftVerdict.INSUFFICIENT, 0)],
    ids=["suspected", "drifted", "too few labels"],
)
def test_only_an_alarm_counts_as_detected(
    page: CollectorRegistry, ledger: Ledger, verdict: DriftVerdict, shown: float
) -> None:
    add_with_parents(ledger, signal("check_1", DriftKind.QUALITY, verdict))
    assert page.get_sample_value("driftwheel_drift_detected", {"kind": "quality"}) == shown
    is_known = page.get_sample_value("driftwheel_quality_ratio") is not None
    assert is_known is (verdict is not DriftVerdict.INSUFFICIENT)


def test_decisions_traffic_and_the_pause_are_counted(
    page: CollectorRegistry, settings: Settings, ledger: Ledger
) -> None:
    for number, status in enumerate([DecisionStatus.CLOSED, DecisionStatus.CLOSED, DecisionStatus.FAILED]):
        verdict = DecisionVerdict.RETRAIN if status is DecisionStatus.FAILED else DecisionVerdict.HOLD
        add_with_parents(
            ledger,
            RetrainDecision(
                id=f"d{number}",
                project="support",
                verdict=verdict,
                status=status,
                trigger="policy",
                remedy="none",
                reasons=[],
            ),
        )
    add_with_parents(
        ledger,
        answered_request("req_1", version_id="v", route="r", prompt="p", answer="a"),
    )
    controls.set_paused(ledger, settings.project, True)
    made = {"verdict": "hold", "trigger": "policy"}
    assert page.get_sample_value("driftwheel_retrain_decisions_total", made) == 2
    assert page.get_sample_value("driftwheel_retrain_state", {"state": "failed"}) == 1
    assert page.get_sample_value("driftwheel_retrain_state", {"state": "open"}) == 0
    assert page.get_sample_value("driftwheel_traffic_rows_total") == 1
    assert page.get_sample_value("driftwheel_retrain_paused") == 1


SLICES = ("all", "old")


@pytest.mark.parametrize(
    ("observed", "error", "is_in_sync", "live"),
    [(None, None, 0, None), ("v2", None, 1, "v2"), ("v1", None, 0, "v1"), ("v2", "refused", 0, "v2")],
    ids=["never served", "served", "still the old one", "refused"],
)
def test_the_alias_says_what_is_served(
    page: CollectorRegistry, ledger: Ledger, observed: str | None, error: str | None, is_in_sync: float, live: str
) -> None:
    for number, id_ in enumerate(["v1", "v2"], 1):
        part = SliceScore(items=5, accuracy=0.4, grade=0.3 * number)
        card = Scorecard(accuracy=0.5 * number, criterion="chrf", grade=0.25 * number, slices={"old": part})
        add_with_parents(
            ledger,
            published_version(id_, number=number, scorecard=card, status=ModelVersionStatus.CANDIDATE),
        )
    add_with_parents(
        ledger,
        Alias(
            id="support/support",
            project="support",
            name="support",
            version_id="v2",
            fence=2,
            observed_version_id=observed,
            observed_error=error,
        ),
    )
    assert page.get_sample_value("driftwheel_alias_in_sync", {"alias": "support"}) == is_in_sync
    for id_ in ("v1", "v2"):
        shown = page.get_sample_value("driftwheel_live_version_info", {"alias": "support", "version": id_})
        assert shown == (1 if id_ == live else None)
    accuracy = page.get_sample_value("driftwheel_eval_score_ratio", {"metric": "accuracy", "slice": "all"})
    assert accuracy == {None: None, "v1": 0.5, "v2": 1.0}[live]
    assert page.get_sample_value("driftwheel_eval_score_ratio", {"metric": "macro_f1", "slice": "all"}) is None
    grades = [page.get_sample_value("driftwheel_eval_score_ratio", {"metric": "grade", "slice": s}) for s in SLICES]
    assert grades == {None: [None, None], "v1": [0.25, 0.3], "v2": [0.5, 0.6]}[live]


def test_a_failed_check_is_counted(settings: Settings, ledger: Ledger) -> None:
    counter, registry = CheckCounter(), CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, counter))
    counter.count()
    assert registry.get_sample_value("driftwheel_check_failures_total") == 1


def test_a_taken_port_is_refused_with_the_setting_to_change(settings: Settings, ledger: Ledger) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monitor = settings.monitor.model_copy(update={"port": port})
        with pytest.raises(ConflictError, match=r"set monitor\.port"):
            start_exporter(settings.model_copy(update={"monitor": monitor}), ledger, CheckCounter())
