"""Train and retrain: the running retrain as it goes on, a form to start one, and what each fine-tuning came to."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

import streamlit as st

from dashboard import estimate, files, moves, queries, run_tables, search_charts, shared, time_left, timelines, ways
from dashboard.views import page
from driftwheel.control import approvals, controls
from driftwheel.control.retrain_limits import AT_WORK, UNFINISHED
from driftwheel.machine.accelerator import has_gpu
from driftwheel.machine.system import available_bytes
from driftwheel.records.bookkeeping import Scope, Step
from driftwheel.records.nouns import Dataset, DecisionStatus, DecisionVerdict, RetrainDecision, TrainingRun
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.training import TrainSettings
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
        st.text(
            "This run wrote no point of its curves." if run.finished_at or run.error else "No point is written yet."
        )
        return
    for tab, (title, (fields, unit)) in zip(st.tabs(list(CURVES)), CURVES.items(), strict=True):
        with tab:
            st.altair_chart(timelines.curve(points, fields, unit), alt=f"{title} over the training steps")


def show_beside(run: TrainingRun, others: list[TrainingRun]) -> None:
    """Draw a run beside those that a person chooses: their losses, and the settings in which they differ."""
    by_id = {other.id: other for other in others if other.id != run.id}
    chosen = st.multiselect("Compare with", list(by_id), format_func=lambda id: names[id], key="beside")
    if not chosen:
        return
    beside = {names[one.id]: one for one in (run, *(by_id[id] for id in chosen))}
    points = {name: files.curves(Path(one.path)) for name, one in beside.items()}
    st.altair_chart(run_tables.losses(points), alt="Losses of the chosen runs over the training steps")
    without = [name for name, found in points.items() if not found]
    if without:
        st.text(f"Without a curve: {', '.join(without)}.")
    rows = run_tables.differing_settings(beside)
    page.table(rows, height="content") if rows else st.text("They have the same settings.")


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
    ways.follow()
    decision = ledger.get(RetrainDecision, decision_id, project=settings.project)
    if decision.status not in UNFINISHED:
        st.rerun()  # it has ended: the whole page is of another world now
    with st.container(border=True):
        st.subheader(
            "The retrain that runs" if decision.status in AT_WORK else "The retrain that comes next", anchor=False
        )
        st.text("\n".join(decision.reasons))
        if decision.known.plan is not None:
            st.text(f"As asked: {decision.known.plan.in_words()}.")
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
        ways.way("Approve or refuse it", "decisions", key="to_decisions", type="primary")
    elif controls.is_paused(ledger, settings.project):
        st.text("It waits, because retraining is paused.")
        ways.way("Resume retraining", "decisions", key="to_decisions")
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
    """Draw the form that starts a retrain of what this page shows, what it will take, and what stands against it."""
    newest, alias = moves.newest_retrain(ledger, settings.project), find_alias(ledger, *settings.alias_key)
    fence = moves.seen_fence(alias)
    live = queries.version_names(ledger, settings.project).get(alias.version_id, "none") if alias else "none"
    against = controls.what_stands_against(settings.policy, ledger, settings.alias_key, settings.dataset)
    count = fresh_for_retrain(ledger, settings.alias_key, settings.dataset)
    key = page.drawn_key("start", [newest, fence])
    with st.expander("Start a retrain", expanded=not against, key=f"{key}-box"):
        st.text(f"{live} is live. {count:,} labelled requests are new since it learned. {usual_time()}")
        if against:
            st.text(f"Against it: {queries.in_spans('; '.join(against))}.")
        plan = chosen_plan(count)
        with st.form(page.drawn_key(key, [hash(plan)])):
            why = "Why it is needed all the same" if against else "Why (optional)"
            st.text_input(why, key=f"{key}-why", max_chars=200)
            shown = (newest, fence, f"{key}-why", plan)
            st.form_submit_button("Start a retrain", key=f"{key}-go", type="primary", on_click=start, args=shown)


def chosen_plan(fresh: int) -> TrainingPlan:
    """Draw what a person may choose of a retrain, and what that takes; return what differs from the settings."""
    train, names = settings.train, queries.dataset_names(ledger, settings.project)
    left, middle, right = st.columns(3)
    dataset_id = left.selectbox(
        "Learn from",
        [None, *names],
        format_func=lambda id: f"Dataset {names[id]}" if id else "the newly labelled requests",
        key="plan_dataset",
        help="A Dataset that is there is learned from, and judged on its own test rows.",
    )
    methods = list(get_args(TrainSettings.model_fields["method"].annotation))
    method = middle.selectbox("Method", methods, index=methods.index(train.method), key="plan_method")
    passes = right.number_input(
        "Passes over the data", 0.1, 1000.0, float(train.num_train_epochs), 0.5, key="plan_passes", format="%.1f"
    )
    st.text(estimate_text(dataset_id, fresh, method, passes))
    return TrainingPlan(
        dataset_id=dataset_id,
        method=method if method != train.method else None,
        num_train_epochs=passes if passes != train.num_train_epochs else None,
    )


def estimate_text(dataset_id: str | None, fresh: int, method: str, passes: float) -> str:
    """Return what a retrain will take, by the runs before it, or which command tells it."""
    runs = queries.newest(ledger, TrainingRun, settings.project, limit=estimate.REMEMBERED_RUNS)
    datasets = {d.id: d for d in queries.newest(ledger, Dataset, settings.project, without=("report",))}
    usual = time_left.usual_seconds(queries.newest(ledger, Step, settings.project, limit=time_left.REMEMBERED_STEPS))
    # As a retrain builds its Dataset: the new rows, and rows of the one before beside them.
    rows = datasets[dataset_id].train_rows if dataset_id else fresh * (1 + settings.dataset.replay_share)
    if dataset_id and estimate.same_run(runs, dataset_id=dataset_id, method=method, passes=passes):
        return "This was trained already: its run is used, and only judged anew, if the settings are the same."
    found = estimate.estimate(runs, datasets, usual, method=method, rows=rows, passes=passes)
    if found.from_run is None:
        return f"How long {method} takes, and how much memory, is not known: none has ended here. See: driftwheel fit"
    return f"{minutes_text(found, rows)} {memory_text(found)}"


def minutes_text(found: estimate.Estimate, rows: float) -> str:
    """Return how long a retrain will take."""
    if found.training_seconds is None:
        return "How long it takes is not known."
    training = queries.span(timedelta(seconds=found.training_seconds))
    whole = f", {queries.span(timedelta(seconds=found.seconds))} with all steps" if found.seconds is not None else ""
    return f"About {training} to train on {rows:,.0f} rows{whole}, judging by run {queries.short(found.from_run)}."


def memory_text(found: estimate.Estimate) -> str:
    """Return how much memory a training will take, beside what is free."""
    if found.memory_bytes is None:
        return "How much memory it takes is not known."
    free = available_bytes()
    beside = f"; {queries.gibibytes(free)} are free on this machine" if free and not has_gpu() else ""
    return f"It takes about {queries.gibibytes(found.memory_bytes)} of memory{beside}."


def start(newest: str, fence: int, why_key: str, plan: TrainingPlan) -> None:
    """Ask for a retrain of the world that the form was drawn on."""
    why = st.session_state[why_key]
    page.act(
        partial(ask_planned, why, newest, fence, plan),
        "A retrain is recorded; the worker takes it next.",
        Scope.OPERATE,
    )


def ask_planned(why: str, newest: str, fence: int, plan: TrainingPlan) -> None:
    """Ask for a retrain; raises DriftwheelError for what the settings cannot do, and for what stands against it."""
    settings.planned(plan)
    moves.request_retrain(
        settings.policy,
        ledger,
        settings.alias_key,
        why_now=why,
        seen=newest,
        fence=fence,
        by=page.cause(),
        caps=settings.dataset,
        plan=plan,
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
    page.confirmed_action(
        "Cancel the retrain",
        partial(approvals.cancel, ledger, settings.project, unfinished[0].id, by=page.cause()),
        "The retrain is cancelled; the worker ends its step within seconds.",
        key="cancel",
        seen=[unfinished[0].id],
        question="End this retrain? What it has made so far is not used.",
    )
    with page.steady("retrain"):
        show_retrain(unfinished[0].id)
else:
    show_start()
st.subheader("Fine-tunings", anchor=False)
runs = queries.newest(ledger, TrainingRun, settings.project)
if not runs:
    page.nothing_yet("There is no training run yet.", "driftwheel train")
    st.stop()
losses = {name: st.column_config.NumberColumn(format="%.4f") for name in ("loss", "validation loss")}
page.table(run_tables.run_rows(runs), column_config=losses)
names = queries.run_names(ledger, settings.project)
run = page.choose("Training run", runs, lambda r: names[r.id], key="run")
color = {"succeeded": "green", "failed": "red"}.get(str(run.status), "blue")
st.badge(str(run.status), color=color)  # type: ignore[arg-type]  # the dictionary's values are among the literals
if run.error:
    page.problem(run.error, "Error")
watched = shared.training_of(ledger, unfinished[0]) if unfinished else None
if watched is not None and watched.id == run.id:
    st.text("Its loss is drawn above, as it goes on.")
else:
    show_curves(run)
show_beside(run, runs)
left, right = st.columns(2)
with left:
    st.subheader("What came out", anchor=False)
    known = {"id": run.id, "dataset": run.dataset_id, "base model": run.base_model, "method": run.method}
    times = {"started": run.created_at, "finished": run.finished_at}
    page.facts({**known, **times, "seed": run.seed, **queries.measured(run.metrics.known())})
with right:
    st.subheader("Settings", anchor=False)
    page.facts(run.settings, as_keys=True)
searches = files.searches(settings.root)
if searches:
    st.subheader("Searches for settings", anchor=False)
    titles = {s["id"]: f"{s['id']}: {len(s['trials'])} trials, {s['sampler']}" for s in searches}
    chosen = st.selectbox("Search", list(titles), format_func=lambda id: titles[id], key="search")
    show_search(next(s for s in searches if s["id"] == chosen))
