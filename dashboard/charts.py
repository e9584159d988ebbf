"""Bar charts of counts and scores, and the colors of all charts; pure functions, without Streamlit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.scorecard import FaultScore, Interval, ReliabilityBin

COLORS = {"green": "#3f9b63", "amber": "#d9962b", "red": "#c8473d", "gray": "#8a8f98"}
BLUE, ORANGE = "#2f6f8f", "#d08a2e"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the second of two versions has more than the first on a slice, in shares of right answers."""

    slice: str
    difference: float | None
    interval: Interval | None
    limit: float | None = None
    """What the difference must exceed."""
    verdict: str | None = None
    items: int | None = None


def sized(rows: Sequence[Mapping[str, Any]], height: int) -> Any:
    """Return a chart of rows without marks, so many pixels high."""
    return alt.Chart(alt.Data(values=list(rows)), height=height)


def counts(values: Mapping[str, int], title: str) -> Any:
    """Return horizontal bars, the largest first."""
    rows = [{"name": name, "rows": count} for name, count in values.items()]
    base = sized(rows, 70 + 26 * len(rows)).mark_bar()
    return base.encode(
        x=alt.X("rows:Q", title="rows"),
        y=alt.Y("name:N", sort="-x", title=title, axis=alt.Axis(labelLimit=260)),
        tooltip=["name:N", "rows:Q"],
    )


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Any:
    """Return the confusion matrix as a heatmap; a row is a true label and sums to 1."""
    rows = [
        {"expected": labels[i], "predicted": label, "items": n, "share": n / (sum(row) or 1)}
        for i, row in enumerate(matrix)
        for label, n in zip(labels, row, strict=False)
    ]
    size = max(240, min(760, 26 * len(labels)))
    base = sized(rows, size).mark_rect()
    return base.encode(
        x=alt.X("predicted:N", title="model said", sort=list(labels), axis=alt.Axis(labelAngle=-45, labelLimit=160)),
        y=alt.Y("expected:N", title="right answer", sort=list(labels), axis=alt.Axis(labelLimit=200)),
        color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), title="share"),
        tooltip=["expected:N", "predicted:N", "items:Q", alt.Tooltip("share:Q", format=".1%")],
    )


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
    base = sized(rows, 150 + 24 * len(labels)).encode(
        x=alt.X("predicted:N", title="model said", sort=list(labels), axis=alt.Axis(labelAngle=-45, **axis)),
        y=alt.Y("expected:N", title="right answer", sort=list(labels), axis=alt.Axis(**axis)),
        tooltip=["expected:N", "predicted:N", alt.Tooltip("items:Q", format="+d", title="change")],
    )
    # Cells beyond this are so dark that black digits cannot be read on them.
    ink = alt.condition(f"abs(datum.good) > {0.6 * most}", alt.value("white"), alt.value("black"))
    numbers = base.transform_filter("datum.items != 0").mark_text().encode(alt.Text("items:Q", format="+d"), color=ink)
    return base.mark_rect().encode(color=color) + numbers


def robustness(kinds: Mapping[str, FaultScore]) -> Any | None:
    """Return what each kind of fault costs, with intervals; None where nothing was measured."""
    parts = [
        Difference(
            slice=kind.replace("_", " "),
            # A drop is a loss: drawn as a change its sign turns, and so the ends of its interval change places.
            difference=-found.drop,
            interval=(-found.drop_interval[1], -found.drop_interval[0]),
        )
        for kind, found in kinds.items()
        if found.drop is not None and found.drop_interval is not None
    ]
    return interval(parts, "change of the share of correct answers")


def reliability(bins: Sequence[ReliabilityBin]) -> Any:
    """Return accuracy by confidence with intervals; what can be believed lies on the diagonal."""
    rows = [
        {**vars(b), "lowest": b.interval[0] if b.interval else None, "highest": b.interval[1] if b.interval else None}
        for b in bins
    ]
    scale, ends = alt.Scale(domain=[0, 1]), [{"sure": 0, "right": 0}, {"sure": 1, "right": 1}]
    base = sized(rows, 300).encode(x=alt.X("confidence:Q", title="confidence", scale=scale))
    reach = base.mark_rule(strokeWidth=3, color=BLUE).encode(
        y=alt.Y("lowest:Q", title="share of right answers", scale=scale), y2="highest:Q"
    )
    shown = [alt.Tooltip(f"{n}:Q", format=".3f") for n in ("confidence", "accuracy", "lowest", "highest")]
    dots = base.mark_circle(color=BLUE, opacity=1).encode(
        y="accuracy:Q", size=alt.Size("items:Q", legend=None), tooltip=["items:Q", *shown]
    )
    diagonal = alt.Chart(alt.Data(values=ends)).mark_line(strokeDash=[4, 4], color=COLORS["gray"])
    return diagonal.encode(x="sure:Q", y="right:Q") + reach + dots


def differences_of(verdict: GateVerdict) -> list[Difference]:
    """Return what a verdict says of each slice; of all target items where it has no slices."""
    if not verdict.slices:
        found, interval = verdict.difference, verdict.interval
        return [Difference(slice="target", difference=found, interval=interval, verdict=verdict.verdict)]
    return [
        Difference(
            slice=s.slice,
            difference=s.difference,
            interval=s.interval,
            limit=s.margin,
            verdict=s.verdict,
            items=s.items,
        )
        for s in verdict.slices
    ]


def interval(parts: Sequence[Difference], title: str = "candidate minus live, share of correct answers") -> Any | None:
    """Return candidate minus live by slice, each with its interval and, as a red tick, the limit that it must clear.

    None without numbers.
    """
    rows = [
        {
            "slice": p.slice,
            "difference": p.difference,
            "low": p.interval[0],
            "high": p.interval[1],
            "limit": p.limit,
            "verdict": p.verdict,
        }
        for p in parts
        if p.difference is not None and p.interval is not None
    ]
    if not rows:
        return None
    base = sized(rows, 70 + 40 * len(rows)).encode(y=alt.Y("slice:N", title=None, sort=None))
    x = alt.X("low:Q", title=title, axis=alt.Axis(format="+.0%"))
    line = base.mark_rule(strokeWidth=3, color=BLUE).encode(x=x, x2="high:Q")
    tooltip = [*(alt.Tooltip(f"{n}:Q", format="+.2%") for n in ("low", "difference", "high", "limit")), "verdict:N"]
    point = base.mark_point(filled=True, size=110, color=BLUE, opacity=1).encode(x="difference:Q", tooltip=tooltip)
    limit = base.transform_filter("isValid(datum.limit)").mark_tick(thickness=3, size=26, color=COLORS["red"])
    zero = alt.Chart(alt.Data(values=[{"x": 0}])).mark_rule(strokeDash=[4, 4], color=COLORS["gray"]).encode(x="x:Q")
    return zero + line + limit.encode(x="limit:Q") + point
