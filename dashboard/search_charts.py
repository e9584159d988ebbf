"""Charts of a search for settings: its trials, what they had in common, and which setting mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.charts import BLUE, COLORS, ORANGE, sized

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
    base = sized(rows, 260)
    scale = alt.Scale(domain=list(TRIAL_COLORS), range=list(TRIAL_COLORS.values()))
    zoomed = alt.Scale(zero=False)
    line = base.mark_line(interpolate="step-after", color=COLORS["gray"]).encode(x=x, y=alt.Y("best:Q", scale=zoomed))
    return line + base.mark_circle(size=80, opacity=1).encode(
        x=x,
        y=alt.Y("loss:Q", title="validation loss, nats a token", scale=zoomed),
        color=alt.Color("state:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=["trial:Q", "state:N", alt.Tooltip("loss:Q", format=".4f"), "values:N"],
    )


def search_lines(trials: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> Any:
    """Return parallel coordinates: one line per finished trial over its settings, dark where the loss is least."""
    shown = [t for t in trials if t["state"] == "complete"]
    rows = []
    for key in [*space, "validation loss"]:
        values = [t["eval_loss"] if key == "validation loss" else t["values"].get(key) for t in shown]
        places = _places(values, is_log=isinstance(space.get(key), dict) and bool(space[key].get("log")))
        for trial, value, place in zip(shown, values, places, strict=True):
            rows.append(
                {
                    "setting": key,
                    "place": place,
                    "value": str(value),
                    "trial": trial["number"],
                    "loss": trial["eval_loss"],
                }
            )
    base = sized(rows, 260).mark_line(point=True, opacity=0.8)
    return base.encode(
        x=alt.X("setting:N", sort=None, title=None, axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.2)),
        y=alt.Y("place:Q", title="from the least to the greatest value", axis=alt.Axis(labels=False, ticks=False)),
        color=alt.Color("loss:Q", scale=alt.Scale(scheme="blues", reverse=True), title="loss"),
        detail="trial:N",
        tooltip=["trial:N", "setting:N", "value:N", alt.Tooltip("loss:Q", format=".4f")],
    )


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
    base = sized(rows, 70 + 26 * len(rows)).mark_bar(color=BLUE)
    return base.encode(
        x=alt.X("share:Q", title="share of the spread of the loss", axis=alt.Axis(format="%")),
        y=alt.Y("setting:N", sort="-x", title=None),
        tooltip=["setting:N", alt.Tooltip("share:Q", format=".1%")],
    )
