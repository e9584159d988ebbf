"""Records and points become charts: pure functions, without Streamlit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.queries import Minute
from driftwheel.records import DriftSignal, DriftVerdict, Step, utc_now

COLORS = {"green": "#3f9b63", "amber": "#d9962b", "red": "#c8473d", "gray": "#8a8f98"}
BLUE, ORANGE = "#2f6f8f", "#d08a2e"
VERDICT_COLORS = {"steady": "green", "suspected": "amber", "drifted": "red", "insufficient": "gray"}


def requests_per_minute(minutes: Sequence[Minute]) -> Any:
    """Return bars of requests a minute, failed ones in red."""
    rows = [
        {"minute": m.at.isoformat(), "requests": n, "outcome": outcome}
        for m in minutes
        for n, outcome in ((m.requests - m.failed, "answered"), (m.failed, "failed"))
    ]
    scale = alt.Scale(domain=["answered", "failed"], range=[BLUE, COLORS["red"]])
    most = max((m.requests for m in minutes), default=0)
    return _chart(rows, 180).mark_bar().encode(
        x=alt.X("utcyearmonthdatehoursminutes(minute):T", title="UTC", scale=alt.Scale(type="utc"),
                axis=alt.Axis(format="%H:%M")),
        y=alt.Y("requests:Q", title="requests a minute", axis=alt.Axis(tickMinStep=1, format="d"),
                scale=alt.Scale(domain=[0, max(1, most)], nice=True)),
        color=alt.Color("outcome:N", scale=scale, legend=None),
        tooltip=["minute:T", "outcome:N", "requests:Q"],
    )  # fmt: skip


def _chart(rows: Sequence[Mapping[str, Any]], height: int) -> Any:
    return alt.Chart(alt.Data(values=list(rows)), height=height)


def curve(points: Sequence[Mapping[str, Any]], fields: Mapping[str, str], unit: str) -> Any:
    """Return lines over the training step, one per field that has a value; `fields` gives their titles."""
    rows = [
        {"step": p.get("step"), "value": p[name], "curve": title}
        for p in points
        for name, title in fields.items()
        if p.get(name) is not None
    ]
    return _chart(rows, 340).mark_line(point=len(rows) < 60).encode(
        x=alt.X("step:Q", title="optimizer step"),
        y=alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False)),
        color=alt.Color("curve:N", title=None, legend=alt.Legend(orient="top") if len(fields) > 1 else None),
        tooltip=["curve:N", "step:Q", alt.Tooltip("value:Q", format=".4g")],
    )  # fmt: skip


TRIAL_COLORS = {"complete": BLUE, "pruned": ORANGE, "interrupted": COLORS["gray"], "fail": COLORS["red"]}


def search_history(trials: Sequence[Mapping[str, Any]]) -> Any:
    """Return each trial's least validation loss in order, and the least so far as a line."""
    rows, best = [], math.inf
    for trial in trials:
        loss = trial["eval_loss"]
        if loss is not None:
            best = min(best, loss) if trial["state"] == "complete" else best
            values = ", ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in trial["values"].items()
            )
            row = {"trial": trial["number"], "loss": loss, "state": trial["state"], "values": values}
            rows.append({**row, "best": best if math.isfinite(best) else None})
    x = alt.X("trial:Q", title="trial", axis=alt.Axis(tickMinStep=1))
    base = _chart(rows, 260)
    scale = alt.Scale(domain=list(TRIAL_COLORS), range=list(TRIAL_COLORS.values()))
    zoomed = alt.Scale(zero=False)
    line = base.mark_line(interpolate="step-after", color=COLORS["gray"]).encode(x=x, y=alt.Y("best:Q", scale=zoomed))
    return line + base.mark_circle(size=80, opacity=1).encode(
        x=x, y=alt.Y("loss:Q", title="validation loss, nats a token", scale=zoomed),
        color=alt.Color("state:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["trial:Q", "state:N", alt.Tooltip("loss:Q", format=".4f"), "values:N"],
    )  # fmt: skip


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_lines(trials: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> Any:
    """Return parallel coordinates: one line per finished trial over its settings, dark where the loss is least."""
    shown = [t for t in trials if t["state"] == "complete"]
    rows = []
    for key in [*space, "validation loss"]:
        values = [t["eval_loss"] if key == "validation loss" else t["values"].get(key) for t in shown]
        places = _places(values, is_log=isinstance(space.get(key), dict) and bool(space[key].get("log")))
        for trial, value, place in zip(shown, values, places, strict=True):
            rows.append({"setting": key, "place": place, "value": str(value), "trial": trial["number"],
                         "loss": trial["eval_loss"]})  # fmt: skip
    return _chart(rows, 260).mark_line(point=True, opacity=0.8).encode(
        x=alt.X("setting:N", sort=None, title=None, axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.2)),
        y=alt.Y("place:Q", title="from the least to the greatest value", axis=alt.Axis(labels=False, ticks=False)),
        color=alt.Color("loss:Q", scale=alt.Scale(scheme="blues", reverse=True), title="loss"),
        detail="trial:N",
        tooltip=["trial:N", "setting:N", "value:N", alt.Tooltip("loss:Q", format=".4f")],
    )  # fmt: skip


def _places(values: Sequence[Any], *, is_log: bool) -> list[float]:
    """Return each value's place on an axis from 0 to 1; what is no number stands in order of its name."""
    is_number = all(isinstance(v, int | float) for v in values)
    names = sorted({str(v) for v in values})
    numbers = [(math.log(v) if is_log else float(v)) if is_number else float(names.index(str(v))) for v in values]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    return [(n - low) / (high - low) if high > low else 0.5 for n in numbers]


def importance(shares: Mapping[str, float]) -> Any:
    """Return horizontal bars: how much of the spread of the loss each setting explains."""
    rows = [{"setting": name, "share": share} for name, share in shares.items()]
    return _chart(rows, 70 + 26 * len(rows)).mark_bar(color=BLUE).encode(
        x=alt.X("share:Q", title="share of the spread of the loss", axis=alt.Axis(format="%")),
        y=alt.Y("setting:N", sort="-x", title=None),
        tooltip=["setting:N", alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip


def counts(values: Mapping[str, int], title: str) -> Any:
    """Return horizontal bars, the largest first."""
    rows = [{"name": name, "rows": count} for name, count in values.items()]
    return _chart(rows, 70 + 26 * len(rows)).mark_bar().encode(
        x=alt.X("rows:Q", title="rows"),
        y=alt.Y("name:N", sort="-x", title=title, axis=alt.Axis(labelLimit=260)),
        tooltip=["name:N", "rows:Q"],
    )  # fmt: skip


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Any:
    """Return the confusion matrix as a heatmap; a row is a true label and sums to 1."""
    rows = [
        {"expected": labels[i], "predicted": label, "items": n, "share": n / (sum(row) or 1)}
        for i, row in enumerate(matrix)
        for label, n in zip(labels, row, strict=False)
    ]
    size = max(240, min(760, 26 * len(labels)))
    return _chart(rows, size).mark_rect().encode(
        x=alt.X("predicted:N", title="model said", sort=list(labels), axis=alt.Axis(labelAngle=-45, labelLimit=160)),
        y=alt.Y("expected:N", title="right answer", sort=list(labels), axis=alt.Axis(labelLimit=200)),
        color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), title="share"),
        tooltip=["expected:N", "predicted:N", "items:Q", alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip


def confusion_change(labels: Sequence[str], change: Sequence[Sequence[int]]) -> Any:
    """Return what the second version answers more often (red off the diagonal is new mistakes) or less often."""
    rows = [
        {"expected": labels[i], "predicted": labels[j], "items": n, "good": n if i == j else -n}
        for i, row in enumerate(change)
        for j, n in enumerate(row)
    ]
    most = max(1, *(abs(n) for row in change for n in row))
    color = alt.Color("good:Q", scale=alt.Scale(scheme="redblue", domain=[-most, most]), legend=None)
    axis = {"labelLimit": 200, "labelOverlap": False}
    base = _chart(rows, 150 + 24 * len(labels)).encode(
        x=alt.X("predicted:N", title="model said", sort=list(labels), axis=alt.Axis(labelAngle=-45, **axis)),
        y=alt.Y("expected:N", title="right answer", sort=list(labels), axis=alt.Axis(**axis)),
        tooltip=["expected:N", "predicted:N", alt.Tooltip("items:Q", format="+d", title="change")],
    )
    ink = alt.condition(f"abs(datum.good) > {0.6 * most}", alt.value("white"), alt.value("black"))
    numbers = base.transform_filter("datum.items != 0").mark_text().encode(alt.Text("items:Q", format="+d"), color=ink)
    return base.mark_rect().encode(color=color) + numbers


def robustness(kinds: Mapping[str, Mapping[str, Any]]) -> Any | None:
    """Return what each kind of fault costs, with intervals; None where nothing was measured."""
    parts = [
        {"slice": kind.replace("_", " "), "difference": -found["drop"],
         "interval": [-end for end in reversed(found["drop_interval"])]}
        for kind, found in kinds.items()
        if found["items"]
    ]  # fmt: skip
    return interval({"slices": parts}, "change of the share of correct answers")


def reliability(bins: Sequence[Mapping[str, Any]]) -> Any:
    """Return accuracy by confidence with intervals; what can be believed lies on the diagonal."""
    rows = [{**b, "lowest": b["interval"][0], "highest": b["interval"][1]} for b in bins]
    scale, ends = alt.Scale(domain=[0, 1]), [{"sure": 0, "right": 0}, {"sure": 1, "right": 1}]
    base = _chart(rows, 300).encode(x=alt.X("confidence:Q", title="confidence", scale=scale))
    reach = base.mark_rule(strokeWidth=3, color=BLUE).encode(
        y=alt.Y("lowest:Q", title="share of right answers", scale=scale), y2="highest:Q"
    )
    shown = [alt.Tooltip(f"{n}:Q", format=".3f") for n in ("confidence", "accuracy", "lowest", "highest")]
    dots = base.mark_circle(color=BLUE, opacity=1).encode(
        y="accuracy:Q", size=alt.Size("items:Q", legend=None), tooltip=["items:Q", *shown]
    )
    diagonal = alt.Chart(alt.Data(values=ends)).mark_line(strokeDash=[4, 4], color=COLORS["gray"])
    return diagonal.encode(x="sure:Q", y="right:Q") + reach + dots


def interval(verdict: Mapping[str, Any], title: str = "candidate minus live, share of correct answers") -> Any | None:
    """Return candidate minus live by slice, each with its interval and, as a red tick, the limit that it must clear.

    None without numbers.
    """
    parts = verdict.get("slices") or [{**verdict, "slice": "target"}]
    rows = [
        {
            "slice": p.get("slice"), "difference": p["difference"], "low": p["interval"][0], "high": p["interval"][1],
            "limit": p.get("margin"), "verdict": p.get("verdict"),
        }
        for p in parts
        if p.get("difference") is not None and p.get("interval")
    ]  # fmt: skip
    if not rows:
        return None
    base = _chart(rows, 70 + 40 * len(rows)).encode(y=alt.Y("slice:N", title=None, sort=None))
    x = alt.X("low:Q", title=title, axis=alt.Axis(format="+.0%"))
    line = base.mark_rule(strokeWidth=3, color=BLUE).encode(x=x, x2="high:Q")
    tooltip = [*(alt.Tooltip(f"{n}:Q", format="+.2%") for n in ("low", "difference", "high", "limit")), "verdict:N"]
    point = base.mark_point(filled=True, size=110, color=BLUE, opacity=1).encode(x="difference:Q", tooltip=tooltip)
    limit = base.transform_filter("isValid(datum.limit)").mark_tick(thickness=3, size=26, color=COLORS["red"])
    zero = alt.Chart(alt.Data(values=[{"x": 0}])).mark_rule(strokeDash=[4, 4], color=COLORS["gray"]).encode(x="x:Q")
    return zero + line + limit.encode(x="limit:Q") + point


def drift_timeline(signals: Sequence[DriftSignal]) -> Any:
    """Return score over threshold of each kind by time; above the line at 1 a check is over its threshold."""
    rows = [
        {
            "at": s.created_at.isoformat(), "kind": str(s.kind), "verdict": str(s.verdict), "score": s.score,
            "threshold": s.threshold, "ratio": s.score / s.threshold if s.threshold else None, "method": s.method,
        }
        for s in signals
    ]  # fmt: skip
    names = list(VERDICT_COLORS)
    colors = alt.Scale(domain=names, range=[COLORS[VERDICT_COLORS[n]] for n in names])
    x = alt.X("at:T", title="UTC", scale=alt.Scale(type="utc"))
    y = alt.Y("ratio:Q", title="score / threshold")
    base = alt.Chart(height=110, width=690)
    # A window with too few rows has no score: its point says when, and no line leads to it.
    is_judged = alt.datum.verdict != str(DriftVerdict.INSUFFICIENT)
    line = base.mark_line(color=COLORS["gray"], opacity=0.6).transform_filter(is_judged).encode(x=x, y=y)
    tooltip = ["at:T", "kind:N", "verdict:N", "method:N", "score:Q", "threshold:Q"]
    dots = base.mark_circle(size=80, opacity=1).encode(
        x=x, y=y, color=alt.Color("verdict:N", scale=colors, title=None, legend=alt.Legend(orient="top")),
        tooltip=tooltip,
    )  # fmt: skip
    limit = base.mark_rule(strokeDash=[5, 4], color=COLORS["red"]).encode(y=alt.datum(1))
    layers = alt.layer(limit, line, dots, data=alt.Data(values=rows))
    return layers.facet(row=alt.Row("kind:N", title=None, header=alt.Header(labelAngle=0, labelAlign="left")))


def step_timeline(steps: Sequence[Step]) -> Any:
    """Return a retrain job's steps as bars over time."""
    rows = [
        {
            "step": s.name.replace("_", " "), "start": s.created_at.isoformat(), "status": s.status,
            "end": (s.finished_at or utc_now()).isoformat(), "attempt": s.attempt,
        }
        for s in steps
    ]  # fmt: skip
    scale = alt.Scale(domain=["done", "running", "failed"], range=[COLORS["green"], ORANGE, COLORS["red"]])
    return _chart(rows, 110 + 30 * len(rows)).mark_bar(cornerRadius=3, minBandSize=12).encode(
        x=alt.X("start:T", title="UTC", scale=alt.Scale(type="utc")),
        x2="end:T",
        y=alt.Y("step:N", sort=None, title=None),
        color=alt.Color("status:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["step:N", "status:N", "attempt:Q", "start:T", "end:T"],
    )  # fmt: skip
