"""What all open tabs share: read once every few seconds, however many people look."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import files, live_numbers, queries, standing, time_left, timelines, traffic_search
from dashboard.live_numbers import Served
from dashboard.next_step import GATEWAY_DOWN, NextStep, Situation, next_step
from dashboard.pace import Pace, pace
from dashboard.spending import Total, total
from dashboard.standing import Station
from dashboard.traffic_search import Minute
from driftwheel.control import controls
from driftwheel.control.retrain_limits import WAITING
from driftwheel.identity import utc_now
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import (
    Alias,
    DecisionStatus,
    DecisionVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.settings.watching import DashboardSettings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger

SHARED_SECONDS = 4
"""Below the five seconds after which a tab asks again: each of its looks finds what is new."""
SLOW_SECONDS = 14
"""Of what changes by the minute: the bars of requests."""
COUNT_SECONDS = 60
QUIET_SECONDS = 600
SHOWN_MINUTES, MOVING_MINUTES = 30, 2
"""The newest minutes are counted at each look, as long answers are written late; the older ones are kept."""


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """The retrain that runs now."""

    decision_id: str
    step: str
    """Which step it is at; empty before the first."""
    seconds_left: float | None
    """None before any retrain has ended here: there is nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All that the page of the present draws."""

    served: Served
    sentence: str
    next_step: NextStep
    stations: list[Station]
    pace: Pace
    minutes: list[Minute]
    requests_chart: dict[str, Any]
    gateway: tuple[str, str]
    reported_at: datetime | None
    moving_to: str | None
    """The name of the desired version while another one answers."""
    waiting: int
    """Retrains that wait for a person."""
    retraining: Retraining | None
    is_paused: bool
    decision: str
    reasons: tuple[str, ...]


@st.cache_data(ttl=SHARED_SECONDS, max_entries=8, show_spinner=False)
def overview(url: str, key: AliasKey, _ledger: Ledger) -> Overview:
    """Return what the page of the present draws; the database's address and the alias are its key."""
    project = key.project
    alias = find_alias(_ledger, *key)
    served = live_numbers.served_now(_ledger, key, alias)
    counted, chart = _requests(url, project, _ledger)
    decisions = queries.newest(_ledger, RetrainDecision, project, limit=1)
    names = queries.version_names(_ledger, project)
    desired = names.get(alias.version_id, alias.version_id) if alias else None
    waiting = _ledger.count(RetrainDecision, project=project, status=WAITING)
    retrains = queries.newest(_ledger, RetrainDecision, project, limit=1, verdict=DecisionVerdict.RETRAIN)
    retrain = retrains[0] if retrains else None
    is_paused, gateway = controls.is_paused(_ledger, project), standing.gateway_state(alias)
    situation = Situation(
        gateway=gateway[0],
        lamp=served.lamp,
        waiting=waiting,
        retrain=retrain.status if retrain else None,
        is_paused=is_paused,
        unpromoted=_unpromoted(_ledger, project, names, alias),
        has_version=bool(names),
        has_labels=served.measured is not None,
    )
    return Overview(
        served=served,
        sentence=live_numbers.sentence(served, is_down=gateway[0] in GATEWAY_DOWN),
        next_step=next_step(situation),
        stations=standing.stations(_ledger, project, _request_count(url, project, _ledger)),
        pace=pace(_ledger, project),
        minutes=counted,
        requests_chart=chart,
        gateway=gateway,
        reported_at=alias.observed_at if alias else None,
        moving_to=desired if desired != served.name else None,
        waiting=waiting,
        retraining=_retraining(_ledger, retrain) if retrain else None,
        is_paused=is_paused,
        decision=_in_words(decisions[0]) if decisions else "",
        reasons=tuple(decisions[0].reasons) if decisions else (),
    )


@st.cache_data(ttl=COUNT_SECONDS, max_entries=8, show_spinner=False)
def spent(url: str, project: str, _prices: DashboardSettings, _ledger: Ledger) -> Total:
    """Return what the loop took lately: summed up once a minute, as an hour of a busy gateway is many rows."""
    return total(_prices, _ledger, project)


def _unpromoted(ledger: Ledger, project: str, names: dict[str, str], alias: Alias | None) -> str | None:
    """Return the newest published version's name, where it is newer than the desired one or none is desired."""
    without = ("scorecard", "verdict", "fingerprint", "lineage")
    status = ModelVersionStatus.PUBLISHED
    found = queries.newest(ledger, ModelVersion, project, limit=1, without=without, status=status)
    if not found:
        return None
    order = list(names)  # newest first; a version that was promoted and left again is behind the live one or is it
    desired = order.index(alias.version_id) if alias and alias.version_id in order else len(order)
    return names[found[0].id] if order.index(found[0].id) < desired else None


def _retraining(ledger: Ledger, retrain: RetrainDecision) -> Retraining | None:
    if retrain.status is not DecisionStatus.RUNNING:
        return None
    steps = queries.steps_of(ledger, retrain.id)
    return Retraining(
        decision_id=retrain.id,
        step=steps[-1].name.replace("_", " ") if steps else "",
        seconds_left=retrain_seconds_left(ledger, retrain, steps),
    )


def retrain_seconds_left(ledger: Ledger, retrain: RetrainDecision, steps: list[Step]) -> float | None:
    """Return how long a running retrain still takes, by those before it and by its training's own pace."""
    earlier = queries.newest(ledger, Step, retrain.project, limit=time_left.REMEMBERED_STEPS)
    usual = time_left.usual_seconds([step for step in earlier if step.decision_id != retrain.id])
    run = training_of(ledger, retrain)
    of_training = time_left.training_left(run, files.newest_points(Path(run.path))) if run else None
    return time_left.seconds_left(steps, usual, utc_now(), of_training=of_training)


def training_of(ledger: Ledger, retrain: RetrainDecision) -> TrainingRun | None:
    """Return the training of a retrain: the one that it names, or while it trains, the one that runs since it began."""
    if retrain.run_id is not None:
        found = ledger.find(TrainingRun, id=retrain.run_id)
        return found[0] if found else None
    if retrain.status is not DecisionStatus.RUNNING:
        return None
    running = queries.newest(ledger, TrainingRun, retrain.project, limit=1, status=TrainingRunStatus.RUNNING)
    return running[0] if running and running[0].created_at >= retrain.created_at else None


def _in_words(decision: RetrainDecision) -> str:
    words = f"{decision.verdict}, {decision.status}".replace("_", " ")
    return f"{words}  ({queries.age(decision.created_at)})"


@st.cache_data(ttl=COUNT_SECONDS, max_entries=8, show_spinner=False)
def _request_count(url: str, project: str, _ledger: Ledger) -> int:
    return _ledger.count(Traffic, project=project)


@st.cache_data(ttl=SLOW_SECONDS, max_entries=8, show_spinner=False)
def _requests(url: str, project: str, _ledger: Ledger) -> tuple[list[Minute], Any]:
    """Return the requests of each minute, and their chart."""
    counted = _minutes(url, project, _ledger)
    return counted, timelines.requests_spec(counted)


def _minutes(url: str, project: str, ledger: Ledger) -> list[Minute]:
    now = utc_now().replace(second=0, microsecond=0)
    moving = now - timedelta(minutes=MOVING_MINUTES - 1)
    return [
        *_quiet_minutes(url, project, moving, ledger),
        *traffic_search.minutes(ledger, project, start=moving, now=now, with_median=False),
    ]


@st.cache_data(ttl=COUNT_SECONDS, max_entries=8, show_spinner=False)
def _quiet_minutes(url: str, project: str, end: datetime, _ledger: Ledger) -> list[Minute]:
    """Return the minutes before the moving ones: a new list each minute, of which one is counted."""
    quiet = [end - timedelta(minutes=i) for i in range(SHOWN_MINUTES - MOVING_MINUTES, 0, -1)]
    return [_quiet_minute(url, project, at, _ledger) for at in quiet]


@st.cache_data(ttl=QUIET_SECONDS, max_entries=256, show_spinner=False)
def _quiet_minute(url: str, project: str, at: datetime, _ledger: Ledger) -> Minute:
    return traffic_search.minutes(_ledger, project, start=at, now=at, with_median=False)[0]


def forget() -> None:
    """Read the page of the present anew at the next look: somebody here has changed something."""
    overview.clear()
