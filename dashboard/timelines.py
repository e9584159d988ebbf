"""Charts over time: requests, training curves, drift scores and the steps of a retrain; without Streamlit."""

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt

from dashboard.charts import BLUE, COLORS, ORANGE, sized
from dashboard.drift_tables import seen_at
from dashboard.traffic_search import Minute
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import DriftSignal, DriftVerdict

STEP_FRAME_PIXELS, STEP_PIXELS = 150, 34
"""Of the legend with the axis, and of one step: with less, the names of two steps are written over each other."""
VERDICT_COLORS = {"steady": "green", "suspected": "amber", "drifted": "red", "insufficient": "gray"}


def requests_per_minute(minutes: Sequence[Minute]) -> Any:
    """Return bars of requests a minute, failed ones in red."""
    scale = alt.Scale(domain=["answered", "failed"], range=[BLUE, COLORS["red"]])
    base = sized(_by_outcome(minutes), 210).mark_bar()
    return base.encode(
        x=alt.X(
            "utcyearmonthdatehoursminutes(minute):T",
            title="UTC",
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(format="%H:%M"),
        ),
        y=alt.Y(
            "requests:Q",
            title="requests a minute",
            axis=alt.Axis(tickMinStep=1, format="d"),
            scale=alt.Scale(domain=_reach(minutes), nice=True),
        ),
        color=alt.Color("outcome:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["minute:T", "outcome:N", "requests:Q"],
    )


def requests_spec(minutes: Sequence[Minute]) -> Any:
    """Return the same chart as Vega-Lite's JSON, without Altair's check of it, which costs as much as the query."""
    spec = copy.deepcopy(_checked_spec())
    spec["data"] = {"values": _by_outcome(minutes)}
    spec["encoding"]["y"]["scale"]["domain"] = _reach(minutes)
    return spec


@cache
def _checked_spec() -> Any:
    return requests_per_minute(()).to_dict()


def _by_outcome(minutes: Sequence[Minute]) -> list[Mapping[str, object]]:
    return [
        {"minute": m.at.isoformat(), "requests": n, "outcome": outcome}
        for m in minutes
        for n, outcome in ((m.requests - m.failed, "answered"), (m.failed, "failed"))
    ]


def _reach(minutes: Sequence[Minute]) -> list[int]:
    return [0, max(1, *(m.requests for m in minutes), 1)]


def curve(points: Sequence[Mapping[str, Any]], fields: Mapping[str, str], unit: str) -> Any:
    """Return lines over the training step, one per field that has a value; `fields` gives their titles."""
    rows = [
        {"step": p.get("step"), "value": p[name], "curve": title}
        for p in points
        for name, title in fields.items()
        if p.get(name) is not None
    ]
    base = sized(rows, 340).mark_line(point=len(rows) < 60)
    return base.encode(
        x=alt.X("step:Q", title="optimizer step"),
        y=alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False)),
        color=alt.Color("curve:N", title=None, legend=alt.Legend(orient="top") if len(fields) > 1 else None),
        tooltip=["curve:N", "step:Q", alt.Tooltip("value:Q", format=".4g")],
    )


def drift_timeline(signals: Sequence[DriftSignal]) -> Any:
    """Return score over threshold of one or more kinds by time; above the line at 1 a window is over its limit.

    The time is the traffic's own, the end of each window: a check that came late, or again, changes no picture.
    """
    rows = [
        {
            "at": seen_at(s).isoformat(),
            "kind": str(s.kind),
            "verdict": str(s.verdict),
            "score": s.score,
            "threshold": s.threshold,
            "ratio": s.score / s.threshold if s.threshold else None,
            "method": s.method,
        }
        for s in signals
    ]
    names = list(VERDICT_COLORS)
    colors = alt.Scale(domain=names, range=[COLORS[VERDICT_COLORS[n]] for n in names])
    x = alt.X(
        "at:T",
        title="end of the window, UTC",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format="%d %b %H:%M", tickCount=6),
    )
    y = alt.Y("ratio:Q", title="times its limit")
    # A window with too few rows has no score: its point says when, and no line leads to it.
    is_judged = alt.datum.verdict != str(DriftVerdict.INSUFFICIENT)
    base = alt.Chart()
    line = base.mark_line(color=COLORS["gray"], opacity=0.6).transform_filter(is_judged).encode(x=x, y=y)
    tooltip = ["at:T", "kind:N", "verdict:N", "method:N", "score:Q", "threshold:Q"]
    dots = base.mark_circle(size=80, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("verdict:N", scale=colors, legend=None),
        tooltip=tooltip,
    )
    limit = base.mark_rule(strokeDash=[5, 4], color=COLORS["red"]).encode(y=alt.datum(1))
    return alt.layer(limit, line, dots, data=alt.Data(values=rows), height=170)


def step_timeline(steps: Sequence[Step]) -> Any:
    """Return a retrain job's steps as bars over time."""
    rows = [
        {
            "step": s.name.replace("_", " "),
            "start": s.created_at.isoformat(),
            "status": s.status,
            "end": (s.finished_at or utc_now()).isoformat(),
            "attempt": s.attempt,
        }
        for s in steps
    ]
    scale = alt.Scale(domain=["done", "running", "failed"], range=[COLORS["green"], ORANGE, COLORS["red"]])
    base = sized(rows, STEP_FRAME_PIXELS + STEP_PIXELS * len(rows)).mark_bar(cornerRadius=3, minBandSize=12)
    return base.encode(
        x=alt.X("start:T", title="UTC", scale=alt.Scale(type="utc"), axis=alt.Axis(format="%H:%M:%S", tickCount=8)),
        x2="end:T",
        y=alt.Y("step:N", sort=None, title=None),
        color=alt.Color("status:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["step:N", "status:N", "attempt:Q", "start:T", "end:T"],
    )
