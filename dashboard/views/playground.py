"""Playground: ask two versions the same question, through the gateway."""

import streamlit as st

from dashboard import asking, queries
from dashboard.views import page
from driftwheel.records.bookkeeping import Scope
from driftwheel.store.alias import find_alias


def show_reply(reply: asking.Reply, names: dict[str, str]) -> None:
    """Draw one answer, or why there is none."""
    st.subheader(names.get(reply.model, reply.model), anchor=False)
    if reply.problem:
        page.problem(reply.problem)
        return
    st.code(reply.answer or "(empty)", language=None, wrap_lines=True)
    served = names.get(reply.version_id or "", reply.version_id or "unknown")
    st.text(f"answered by {served} in {reply.seconds * 1000:.0f} ms, request {reply.request_id}")


settings, ledger = page.start(__file__, "Ask two versions the same question. Both requests are logged as traffic.")
versions = queries.version_names(ledger, settings.project)
if not versions:
    page.nothing_yet("There is no model version to ask yet.", "driftwheel publish")
    st.stop()
alias = find_alias(ledger, *settings.alias_key)
live = versions.get(alias.version_id, "none") if alias else "none"
names = {settings.serve.alias: f"{settings.serve.alias} (what users get: {live})", **versions}
models = list(names)
earlier = alias.previous_version_id if alias and alias.previous_version_id in names else models[-1]
with st.form("ask"):
    left, right = st.columns(2)
    first = left.selectbox("First version", models, format_func=lambda m: names[m], key="first")
    second = right.selectbox(
        "Second version", models, index=models.index(earlier), format_func=lambda m: names[m], key="second"
    )
    question = st.text_area("Question", key="question")
    sent = st.form_submit_button("Ask both", type="primary", key="ask_both")
if sent and question.strip():
    page.require(Scope.ASK)  # it is asked with the gateway's own key
    with st.spinner("Asking"):
        replies = asking.ask_each(settings.serve, [first, second], question, max_tokens=settings.evaluate.max_tokens)
    for column, reply in zip(st.columns(2), replies, strict=True):
        with column:
            show_reply(reply, names)
