"""Lays fine-tunings beside one another: a table of all, their losses in one chart, and the settings that differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.charts import sized
from dashboard.queries import flat, short, span
from driftwheel.records.nouns import TrainingRun

KINDS = {"loss": "training", "eval_loss": "validation"}


def run_rows(runs: Sequence[TrainingRun]) -> list[dict[str, object]]:
    """Return fine-tunings as table rows, so that their losses stand below one another; no column that says nothing."""
    rows = [
        {
            "started (UTC)": f"{run.created_at:%Y-%m-%d %H:%M}",
            "run": short(run.id),
            "method": run.method,
            "status": str(run.status),
            "took": span(run.finished_at - run.created_at) if run.finished_at else "",
            "loss": run.metrics.train_loss,
            "validation loss": run.metrics.eval_loss,
            "dataset": short(run.dataset_id),
            "error": (run.error or "")[:200],
        }
        for run in runs
    ]
    return [{name: row[name] for name in row if any(r[name] not in (None, "") for r in rows)} for row in rows]


def losses(points: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Return the losses of several runs over the training step, by each run's name: one color for each."""
    rows = [
        {"step": point.get("step"), "loss": point[field], "run": name, "of": kind}
        for name, found in points.items()
        for point in found
        for field, kind in KINDS.items()
        if point.get(field) is not None
    ]
    return (
        sized(rows, 340)
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="optimizer step"),
            y=alt.Y("loss:Q", title="loss, nats a token", scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", title=None, legend=alt.Legend(orient="top", labelLimit=400, columns=1)),
            strokeDash=alt.StrokeDash("of:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["run:N", "of:N", "step:Q", alt.Tooltip("loss:Q", format=".4g")],
        )
    )


def differing_settings(runs: Mapping[str, TrainingRun]) -> list[dict[str, str]]:
    """Return the settings in which runs differ as table rows, by each run's name; what one has not is empty."""
    by_run = {name: {"method": run.method, **flat(run.settings)} for name, run in runs.items()}
    names = dict.fromkeys(setting for values in by_run.values() for setting in values)
    rows = [
        {"setting": setting, **{name: str(values.get(setting, "")) for name, values in by_run.items()}}
        for setting in names
    ]
    return [row for row in rows if len({row[name] for name in by_run}) > 1]
