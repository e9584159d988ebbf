"""What all open tabs share: read once every few seconds, however many people look."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from dashboard import circle, live_numbers, queries, standing, timelines, traffic_search
from dashboard.live_numbers import Served
from dashboard.traffic_search import Minute
from driftwheel import controls
from driftwheel.alias_key import AliasKey
from driftwheel.identity import utc_now
from driftwheel.records import RetrainDecision, Traffic
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger

SHARED_SECONDS = 4
"""Below the five seconds after which a tab asks again: each of its looks finds what is new."""
COUNT_SECONDS = 60
QUIET_SECONDS = 600
SHOWN_MINUTES, MOVING_MINUTES = 30, 2
"""The newest minutes are counted at each look, as long answers are written late; the older ones are kept."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All that the overview draws."""

    served: Served
    sentence: str
    drawings: dict[bool, str]
    """The circle as SVG; true is for a dark page."""
    minutes: list[Minute]
    requests_chart: dict[str, Any]
    gateway: tuple[str, str]
    moving_to: str | None
    """The name of the desired version while another one answers."""
    is_paused: bool
    decision: str
    reasons: tuple[str, ...]


@st.cache_data(ttl=SHARED_SECONDS, max_entries=8, show_spinner=False)
def overview(url: str, key: AliasKey, _ledger: Ledger) -> Overview:
    """Return what the overview draws; the database's address and the alias are its key."""
    alias = find_alias(_ledger, *key)
    served = live_numbers.served_now(_ledger, key, alias)
    counted = _minutes(url, key.project, _ledger)
    decisions = queries.newest(_ledger, RetrainDecision, key.project, limit=1)
    names = queries.version_names(_ledger, key.project)
    desired = names.get(alias.version_id, alias.version_id) if alias else None
    return Overview(
        served=served,
        sentence=live_numbers.sentence(served),
        drawings=_drawings(url, key, _ledger, served),
        minutes=counted,
        requests_chart=timelines.requests_spec(counted),
        gateway=standing.gateway_state(alias),
        moving_to=desired if desired != served.name else None,
        is_paused=controls.is_paused(_ledger, key.project),
        decision=_in_words(decisions[0]) if decisions else "",
        reasons=tuple(decisions[0].reasons) if decisions else (),
    )


def _drawings(url: str, key: AliasKey, ledger: Ledger, served: Served) -> dict[bool, str]:
    stations = standing.stations(ledger, key.project, _request_count(url, key.project, ledger))
    checked = f", checked {queries.age(served.checked_at)}" if served.checked_at else ""
    live = f"{key.name} is {served.name}{checked}" if served.name != "none" else "nothing is live yet"
    return {is_dark: circle.draw(stations, served.lamp, live, is_dark=is_dark) for is_dark in (False, True)}


def _in_words(decision: RetrainDecision) -> str:
    words = f"{decision.verdict}, {decision.status}".replace("_", " ")
    return f"{words}  ({queries.age(decision.created_at)})"


@st.cache_data(ttl=COUNT_SECONDS, max_entries=8, show_spinner=False)
def _request_count(url: str, project: str, _ledger: Ledger) -> int:
    return _ledger.count(Traffic, project=project)


def _minutes(url: str, project: str, ledger: Ledger) -> list[Minute]:
    now = utc_now().replace(second=0, microsecond=0)
    moving = now - timedelta(minutes=MOVING_MINUTES - 1)
    return [
        *_quiet_minutes(url, project, moving, ledger),
        *traffic_search.minutes(ledger, project, start=moving, now=now),
    ]


@st.cache_data(ttl=COUNT_SECONDS, max_entries=8, show_spinner=False)
def _quiet_minutes(url: str, project: str, end: datetime, _ledger: Ledger) -> list[Minute]:
    """Return the minutes before the moving ones: a new list each minute, of which one is counted."""
    quiet = [end - timedelta(minutes=i) for i in range(SHOWN_MINUTES - MOVING_MINUTES, 0, -1)]
    return [_quiet_minute(url, project, at, _ledger) for at in quiet]


@st.cache_data(ttl=QUIET_SECONDS, max_entries=256, show_spinner=False)
def _quiet_minute(url: str, project: str, at: datetime, _ledger: Ledger) -> Minute:
    return traffic_search.minutes(_ledger, project, start=at, now=at)[0]


def forget() -> None:
    """Read the overview anew at the next look: somebody here has changed something."""
    overview.clear()
