"""Training runs: curves, settings and what came out."""

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import files, queries, search_charts, timelines
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
            st.altair_chart(timelines.curve(points, fields, unit), alt=f"{title} over the training steps")


def show_search(search: dict[str, Any]) -> None:
    """Draw a search for settings: its trials, what they had in common, and the best."""
    trials, best = search["trials"], search["best"]
    tabs = st.tabs(["Trials", "Parallel coordinates", "Importance"])
    with tabs[0]:
        st.altair_chart(search_charts.search_history(trials), alt="Validation loss of each trial")
    with tabs[1]:
        st.altair_chart(search_charts.search_lines(trials, search["space"]), alt="Settings of each finished trial")
    with tabs[2]:
        if search["importance"]:
            st.altair_chart(search_charts.importance(search["importance"]), alt="Share of each setting in the loss")
        else:
            st.text("Too few finished trials to say which setting matters.")
    if best:
        st.text(f"Best: trial {best['number']}, validation loss {best['eval_loss']:.4f}, run {best['run_id']}.")
        st.code(f"driftwheel train {best['flags']}", language="bash")


settings, ledger = page.start(__file__, "One fine-tuning of a base model on a dataset, newest first.")
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
    known = {"id": run.id, "dataset": run.dataset_id, "base model": run.base_model, "method": run.method}
    times = {"started": run.created_at, "finished": run.finished_at}
    page.facts({**known, **times, "seed": run.seed, **run.metrics.known()})
with right:
    st.subheader("Settings", anchor=False)
    page.facts(run.settings)
searches = files.searches(settings.root)
if searches:
    st.subheader("Searches for settings", anchor=False)
    titles = {s["id"]: f"{s['id']}: {len(s['trials'])} trials, {s['sampler']}" for s in searches}
    chosen = st.selectbox("Search", list(titles), format_func=lambda id: titles[id], key="search")
    show_search(next(s for s in searches if s["id"] == chosen))
