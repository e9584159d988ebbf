"""Retrain decisions: the queue, why each was made, how far it got; approve, refuse, retrain now, pause."""

from functools import partial

import streamlit as st

from dashboard import files, moves, queries, timelines
from dashboard.views import page
from driftwheel.control import controls
from driftwheel.control.retrain_limits import AT_WORK, WAITING
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, RetrainDecision

WAITS = {
    "retrain": "A retrain that the loop proposes waits for a person.",
    "promotion": "What a retrain made waits for a person before it goes live.",
    "both": "A retrain that the loop proposes waits for a person, and so does what it made before it goes live.",
    "none": "Nothing waits for a person: retrains start and go live by themselves.",
}


def show_controls() -> None:
    """Draw the buttons that steer retraining."""
    paused = controls.is_paused(ledger, settings.project)
    mark, newest = controls.pause_mark(ledger, settings.project), moves.newest_retrain(ledger, settings.project)
    against = controls.what_stands_against(settings.policy, ledger, settings.alias_key, settings.dataset)
    why_now = ""
    if against:
        st.caption(f"Against a retrain now: {queries.in_spans('; '.join(against))}.")
        why_now = st.text_input("Why one is needed all the same", key="why_now", max_chars=200)
    with st.container(horizontal=True, vertical_alignment="center"):
        page.confirmed_action(
            "Retrain now",
            partial(
                moves.request_retrain,
                settings.policy,
                ledger,
                settings.alias_key,
                seen=newest,
                why_now=why_now,
                by=page.cause(),
                caps=settings.dataset,
            ),
            "A retrain is recorded; the worker takes it next.",
            key="retrain_now",
            seen=[newest],
            question="Start a retrain from the labelled traffic now?",
            type="primary",
        )
        page.action(
            "Resume" if paused else "Pause",
            partial(moves.set_paused, ledger, settings.project, not paused, seen=mark, by=page.cause()),
            "Retraining goes on." if paused else "Retraining is paused.",
            key="pause",
            seen=[mark],
        )
        st.badge("retraining is paused" if paused else "retraining is on", color="orange" if paused else "green")
        st.caption(WAITS[settings.policy.approval])


def show_approval(decision: RetrainDecision) -> None:
    """Draw the buttons that settle a retrain, or a promotion, which waits for a person."""
    if decision.status is DecisionStatus.AWAITING_PROMOTION:
        st.caption(f"{decision.version_id} has passed the gate, and waits for a person to let it go live.")
    with st.container(horizontal=True):
        page.action(
            "Approve",
            partial(moves.approve, ledger, settings.project, decision.id, by=page.cause()),
            "Approved; the worker goes on with it.",
            key="approve",
            seen=[decision.id],
            type="primary",
        )
        page.action(
            "Refuse",
            partial(moves.refuse, ledger, settings.project, decision.id, by=page.cause()),
            "Refused; nothing follows.",
            key="refuse",
            seen=[decision.id],
        )


def show_decision(decision: RetrainDecision) -> None:
    """Draw one decision: reasons, approval, timeline, what was known."""
    st.subheader("Why", anchor=False)
    st.text("\n".join(decision.reasons) or "No reason was given.")
    if decision.error:
        page.problem(decision.error, "Error")
    if decision.status in WAITING:
        show_approval(decision)
    if decision.status in AT_WORK:
        st.fragment(show_steps, run_every="5s")(decision.id)
    else:
        show_steps(decision.id)
    st.subheader("What was known", anchor=False)
    page.facts(
        {
            "id": decision.id,
            "status": str(decision.status).replace("_", " "),
            "decided": decision.created_at,
            "asked by": decision.trigger,
            "would help": decision.remedy,
            "check": decision.check_id,
            "dataset": decision.dataset_id,
            "run": decision.run_id,
            "version": decision.version_id,
            **queries.known_in(decision.known),
        }
    )


def show_steps(decision_id: str) -> None:
    """Draw the steps of a retrain with their times, and the end of the log of the one that ran last."""
    steps = queries.steps_of(ledger, decision_id)
    if not steps:
        return
    st.subheader("Steps", anchor=False)
    st.altair_chart(timelines.step_timeline(steps), alt="Steps of the retrain over time")
    made = [_made(step) for step in steps]
    page.table([row | {"made": what} for row, what in zip(queries.step_rows(steps), made, strict=True)])
    box = st.expander(f"Log of {steps[-1].name}", key=page.drawn_key("log", [decision_id]), on_change="rerun")
    if box.open:
        tail = files.tail_of(settings.logs / f"{decision_id}-{steps[-1].name}.log")
        box.code(tail or "This step has written no log.", language=None, wrap_lines=True)


def _made(step: Step) -> str:
    values = {name: value for name, value in queries.flat(step.output).items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())[: page.LONGEST_TEXT]


settings, ledger = page.start(__file__, "Retrain or hold, with the reasons.")
show_controls()
decisions = queries.newest(ledger, RetrainDecision, settings.project)
if not decisions:
    page.nothing_yet("Nothing has been decided yet: the monitor decides after each check.", "driftwheel monitor")
    st.stop()
verdict = st.segmented_control("Verdict", ["all", *map(str, DecisionVerdict)], default="all", key="verdict")
decisions = [d for d in decisions if verdict in (None, "all", d.verdict)]
if not decisions:
    st.text(f"No decision was {verdict}.")
    st.stop()
page.table(
    [
        {
            "time (UTC)": f"{d.created_at:%Y-%m-%d %H:%M:%S}",
            "verdict": str(d.verdict),
            "asked by": d.trigger,
            "status": str(d.status).replace("_", " "),
            "would help": d.remedy,
            "reasons": "; ".join(d.reasons),
        }
        for d in decisions
    ],
)
waiting = [d for d in decisions if d.status in WAITING]
ordered = [*waiting, *(d for d in decisions if d not in waiting)]
chosen = page.choose(
    "Decision", ordered, lambda d: f"{d.created_at:%Y-%m-%d %H:%M:%S} UTC  {d.verdict}", key="decision"
)
with page.place_for("chosen", [chosen.id]):
    show_decision(chosen)
