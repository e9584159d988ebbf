"""Train and retrain: the running retrain as it goes on, a form to start one, and what each fine-tuning came to."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import files, moves, queries, search_charts, shared, time_left, timelines
from dashboard.views import page
from driftwheel import approvals, controls
from driftwheel.bookkeeping import Scope, Step
from driftwheel.records import DecisionStatus, DecisionVerdict, RetrainDecision, TrainingRun
from driftwheel.retrain_limits import UNFINISHED
from driftwheel.store.alias import find_alias
from driftwheel.traffic.fresh_labels import fresh_for_retrain

LOG_BYTES = 3_000
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


@st.fragment(run_every="3s")
def show_retrain(decision_id: str) -> None:
    """Draw an unfinished retrain as it goes on, again every three seconds: steps, curve, log, and the time left."""
    decision = ledger.get(RetrainDecision, decision_id, project=settings.project)
    if decision.status not in UNFINISHED:
        st.rerun()  # it has ended: the whole page is of another world now
    with st.container(border=True):
        st.subheader("The retrain that runs", anchor=False)
        st.text("\n".join(decision.reasons))
        if decision.status not in (DecisionStatus.RUNNING, DecisionStatus.PROMOTING):
            show_waiting(decision)
            return
        steps = queries.steps_of(ledger, decision.id)
        st.text(how_far(decision, steps))
        if steps:
            page.table(queries.step_rows(steps))
        run = shared.training_of(ledger, decision)
        points = files.curves(Path(run.path)) if run else []
        if points:
            fields, unit = CURVES["Loss"]
            st.altair_chart(timelines.curve(points, fields, unit), alt="Loss over the training steps so far")
        if steps:
            st.caption(f"The end of the log of {steps[-1].name.replace('_', ' ')}")
            tail = files.tail_of(settings.logs / f"{decision.id}-{steps[-1].name}.log", LOG_BYTES)
            st.code(tail or "This step has written no log.", language=None, wrap_lines=True)


def show_waiting(decision: RetrainDecision) -> None:
    """Say what an unfinished retrain waits for."""
    if decision.status is DecisionStatus.AWAITING_APPROVAL:
        st.text("It waits for a person.")
        page.way("Approve or refuse it", "decisions", key="to_decisions", type="primary")
    elif controls.is_paused(ledger, settings.project):
        st.text("It waits, because retraining is paused.")
        page.way("Resume retraining", "decisions", key="to_decisions")
    else:
        st.text("It waits for the worker; where none runs, this starts one:")
        st.code("driftwheel worker", language="bash")


def how_far(decision: RetrainDecision, steps: list[Step]) -> str:
    """Return in a sentence which step it is at, and how long it still takes."""
    at = f"At {steps[-1].name.replace('_', ' ')}" if steps else "It has begun"
    if controls.is_paused(ledger, settings.project):
        return f"{at}; held, because retraining is paused."
    seconds = shared.retrain_seconds_left(ledger, decision, steps)
    if seconds is None:
        return f"{at}. How long it takes is not known: no retrain has ended here yet."
    return f"{at}. About {queries.span(timedelta(seconds=seconds))} left, by the retrains before it."


def show_start() -> None:
    """Draw the form that starts a retrain of what this page shows, and what stands against it."""
    newest, alias = moves.newest_retrain(ledger, settings.project), find_alias(ledger, *settings.alias_key)
    fence = moves.seen_fence(alias)
    live = queries.version_names(ledger, settings.project).get(alias.version_id, "none") if alias else "none"
    against = controls.what_stands_against(settings.policy, ledger, settings.alias_key, settings.dataset)
    count = fresh_for_retrain(ledger, settings.alias_key, settings.dataset)
    key = page.drawn_key("start", [newest, fence])
    with st.expander("Start a retrain", expanded=not against, key=f"{key}-box"):
        st.text(f"{live} is live. {count:,} labelled requests are new since it learned. {usual_time()}")
        if against:
            st.text("Against it: " + "; ".join(against) + ".")
        with st.form(key):
            why = "Why it is needed all the same" if against else "Why (optional)"
            st.text_input(why, key=f"{key}-why", max_chars=200)
            st.form_submit_button(
                "Start a retrain", key=f"{key}-go", type="primary", on_click=start, args=(newest, fence, f"{key}-why")
            )


def start(newest: str, fence: int, why_key: str) -> None:
    """Ask for a retrain of the world that the form was drawn on."""
    why = st.session_state[why_key]
    ask = partial(moves.request_retrain, settings.policy, ledger, settings.alias_key, why_now=why)
    page.act(
        partial(ask, seen=newest, fence=fence, by=page.cause(), caps=settings.dataset),
        "A retrain is recorded; the worker takes it next.",
        Scope.OPERATE,
    )


def usual_time() -> str:
    """Return how long the retrains before took."""
    usual = time_left.usual_seconds(queries.newest(ledger, Step, settings.project, limit=time_left.REMEMBERED_STEPS))
    if not usual:
        return "How long it takes is not known yet."
    return f"The last ones took about {queries.span(timedelta(seconds=sum(usual.values())))}."


settings, ledger = page.start(__file__, "Retrains as they go on, and each fine-tuning of a base model, newest first.")
unfinished = queries.newest(
    ledger,
    RetrainDecision,
    settings.project,
    limit=1,
    verdict=DecisionVerdict.RETRAIN,
    status=UNFINISHED,
)
if unfinished:
    show_retrain(unfinished[0].id)
    page.confirmed_action(
        "Cancel",
        partial(approvals.cancel, ledger, settings.project, unfinished[0].id, by=page.cause()),
        "The retrain is cancelled; the worker ends its step within seconds.",
        key="cancel",
        seen=[unfinished[0].id],
        question="End this retrain? What it has made so far is not used.",
    )
else:
    show_start()
st.subheader("Fine-tunings", anchor=False)
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
