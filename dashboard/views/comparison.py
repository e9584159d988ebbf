"""Compare versions: two scorecards side by side, and the most changed answers for a person to judge, blind."""

from functools import partial

import streamlit as st

from dashboard import charts, comparing, moves, queries
from dashboard.views import page
from driftwheel.errors import DriftwheelError
from driftwheel.evidence.comparison import Comparison, compare
from driftwheel.evidence.judgements import in_order, is_model, judgements_of
from driftwheel.records.bookkeeping import Judgement, Preference, Scope
from driftwheel.records.nouns import ModelVersion

SIDES = {"left": "Left is better", "right": "Right is better", "both": "Both are good", "neither": "Both are bad"}


def chosen_pair(versions: list[ModelVersion]) -> tuple[ModelVersion, ModelVersion]:
    """Let a person choose two versions; the newest and the one that it was judged against are the default."""
    newest = versions[0]
    other = next((v for v in versions if v.id == newest.verdict.live_version_id), versions[1])
    left, right = st.columns(2)
    names = {v.id: f"v{v.number}  {queries.short(v.id)}" for v in versions}
    ids = list(names)
    one = left.selectbox("First version", ids, index=ids.index(other.id), format_func=lambda i: names[i], key="one")
    two = right.selectbox("Second version", ids, format_func=lambda i: names[i], key="two")
    if one == two:
        st.info("Choose two different versions.")
        st.stop()
    by_id = {v.id: v for v in versions}
    return in_order(by_id[one], by_id[two])


def show_numbers(found: Comparison) -> None:
    """Draw both scorecards, the difference by slice, and the change of the confusion matrix."""
    page.table(comparing.measures(found, names), height="content")
    st.caption(
        f"Difference: {names[1]} minus {names[0]}, with the paired 95 % interval (Tango) where every item decides "
        "for itself; in brackets the 95 % interval of a share (Wilson)."
    )
    slices, mistakes = st.tabs(["By slice", "Confusion matrix"])
    with slices:
        title = f"{names[1]} minus {names[0]}, share of correct answers"
        chart = charts.interval(comparing.by_slice(found.pairs), title)
        if chart is not None:
            st.altair_chart(chart, alt="Difference of the accuracies by slice with 95 % intervals")
    with mistakes:
        labels, change = comparing.confusion_change(found.pairs)
        if any(any(row) for row in change):
            st.caption(f"Items more or fewer with {names[1]}; blue is better, red is worse.")
            st.altair_chart(charts.confusion_change(labels, change), alt="Change of the confusion matrix")
        else:
            st.text("No label changed.")


def judge_answers(found: Comparison, judged: list[Judgement]) -> None:
    """Draw the next changed item that this person has not judged, the versions hidden, and what she said so far."""
    judge = page.ask_name("Your name")
    items = comparing.blind(found.pairs, judge)
    if not items:
        st.text("Both versions gave the same answers.")
        return
    mine = {j.item_id: j for j in judged if j.judge == judge and not is_model(j)}
    done = sum(item.item_id in mine for item in items)
    st.progress(done / len(items), text=f"{done} of the {len(items)} most changed answers judged")
    open_items = [item for item in items if item.item_id not in mine]
    if open_items:
        with page.place_for("pair", [pair[0].id, pair[1].id, open_items[0].item_id, judge]):
            show_blind(found, open_items[0], judge)
    else:
        st.text("You have judged all of them.")
    if mine:
        page.table([judged_row(item, mine[item.item_id]) for item in items if item.item_id in mine])


def show_blind(found: Comparison, item: comparing.Blind, judge: str) -> None:
    """Draw one item with its two answers and the four things that can be said about them."""
    st.caption("Question")
    st.code(item.prompt, language=None, wrap_lines=True)
    for column, side, answer in zip(st.columns(2), ("Left", "Right"), (item.left, item.right), strict=True):
        with column:
            st.caption(side)
            st.code(answer or "(empty)", language=None, wrap_lines=True)
    with st.expander("Reference answer"):
        st.code(item.expected, language=None, wrap_lines=True)
    with st.container(horizontal=True):
        for side, label in SIDES.items():
            record = partial(
                moves.judge,
                ledger,
                *pair,
                dataset_id=found.dataset_id,
                item_id=item.item_id,
                judge=judge,
                preference=item.preference(side),
                first_was_left=item.first_is_left,
            )
            done = f"Recorded. Left was {names[0 if item.first_is_left else 1]}."
            # The sides are dealt anew for each person, so the name is a part of what was seen.
            seen = [pair[0].id, pair[1].id, item.item_id, judge]
            page.action(label, record, done, key=f"judge_{side}", seen=seen, needs=Scope.LABEL, disabled=not judge)
    if not judge:
        st.caption("Your judgement is stored under your name.")


def judged_row(item: comparing.Blind, judgement: Judgement) -> dict[str, str]:
    """Return one judged item with the versions uncovered."""
    answers = (item.left, item.right) if item.first_is_left else (item.right, item.left)
    said = {
        Preference.FIRST: f"{names[0]} is better",
        Preference.SECOND: f"{names[1]} is better",
        Preference.BOTH: "both are good",
        Preference.NEITHER: "both are bad",
    }
    return {"question": item.prompt, names[0]: answers[0], names[1]: answers[1], "you said": said[judgement.preference]}


settings, ledger = page.start(__file__, "Two versions on the same test items: numbers, slices and answers.")
versions = queries.newest(ledger, ModelVersion, settings.project, limit=50)
if len(versions) < 2:
    page.nothing_yet("There are no two model versions to compare yet.", "driftwheel publish")
    st.stop()
pair = chosen_pair(versions)
names = (f"v{pair[0].number}", f"v{pair[1].number}")
try:
    found = compare(settings.root, *pair)
except DriftwheelError as error:
    page.problem(str(error), "Not comparable")
    st.stop()
st.caption(f"{len(found.pairs)} test items of dataset {queries.short(found.dataset_id)}, answered by both.")
# Tabs would jump back to the first one when a judgement's notice appears above them.
shown = st.radio("Show", ["Numbers", "Judge the answers"], horizontal=True, key="shown", label_visibility="collapsed")
if shown == "Numbers":
    show_numbers(found)
else:
    judged = judgements_of(ledger, *pair)
    judge_answers(found, judged)
    if judged:
        st.subheader("What was said", anchor=False)
        page.table(comparing.tally(judged, names))
