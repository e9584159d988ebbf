"""Training runs: curves, settings and what came out."""

from pathlib import Path

import streamlit as st

from dashboard import charts, files, queries
from dashboard.views import page
from driftwheel.records import TrainingRun

CURVES = {
    "Loss": ({"loss": "training", "eval_loss": "validation"}, "loss, nats a token"),
    "Speed": ({"tokens_per_second": "tokens"}, "useful tokens a second"),
    "Learning rate": ({"learning_rate": "learning rate"}, "learning rate"),
}


def show_curves(run: TrainingRun) -> None:
    """Draw the curves of a run."""
    points = files.curves(Path(run.path))
    if not points:
        st.text("This run has written no point of its curves yet.")
        return
    for tab, (title, (fields, unit)) in zip(st.tabs(list(CURVES)), CURVES.items(), strict=True):
        with tab:
            st.altair_chart(charts.curve(points, fields, unit), alt=f"{title} over the training steps")


settings, ledger = page.start("Training runs", "One fine-tuning of a base model on a dataset, newest first.")
runs = queries.newest(ledger, TrainingRun, settings.project)
if not runs:
    page.nothing_yet("There is no training run yet.", "driftwheel train")
    st.stop()
names = queries.run_names(ledger, settings.project)
run = page.choose("Training run", runs, lambda r: names[r.id], key="run")
color = {"succeeded": "green", "failed": "red"}.get(str(run.status), "blue")
st.badge(str(run.status), color=color)  # type: ignore[arg-type]  # the dictionary's values are among the literals
if run.error:
    page.problem(run.error, "Error")
show_curves(run)
left, right = st.columns(2)
with left:
    st.subheader("What came out", anchor=False)
    page.facts({"id": run.id, "dataset": run.dataset_id, "base model": run.base_model, "method": run.method,
                "started": run.created_at, "finished": run.finished_at, "seed": run.seed, **run.metrics})  # fmt: skip
with right:
    st.subheader("Settings", anchor=False)
    page.facts(run.settings)
