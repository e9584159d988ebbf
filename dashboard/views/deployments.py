"""Deployments: which version should answer, which one does, and how it came to that."""

import streamlit as st

from dashboard import queries, standing
from dashboard.views import page
from driftwheel.records.nouns import Deployment, DeploymentStage
from driftwheel.store.alias import find_alias

settings, ledger = page.start(__file__, "Which version should answer, which one does, and every change of that.")
names = queries.version_names(ledger, settings.project)


@st.fragment(run_every="5s")
def show_alias() -> None:
    """Draw desired against observed, again every five seconds."""
    alias = find_alias(ledger, *settings.alias_key)
    if alias is None:
        page.nothing_yet("No version has been promoted yet.", "driftwheel promote VERSION_ID")
        return
    word, sentence = standing.gateway_state(alias)
    columns = st.columns(3)
    columns[0].metric("Should answer", names.get(alias.version_id, "unknown"), border=True)
    columns[1].metric("Answers now", names.get(alias.observed_version_id or "", "nothing"), border=True)
    columns[2].metric("Gateway reported", queries.age(alias.observed_at), border=True)
    for live in queries.newest(ledger, Deployment, settings.project, stage=DeploymentStage.LIVE)[:1]:
        st.text(f"{names.get(live.version_id, live.version_id)} is served by: {live.reason}.")
    canaries = queries.newest(ledger, Deployment, settings.project, stage=DeploymentStage.CANARY)
    if canaries:
        canary = canaries[0]
        name = names.get(canary.version_id, canary.version_id)
        st.text(f"Canary: {name} answers {canary.share:.0%} of the requests, {canary.reason}.")
        st.progress(canary.share)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(word, color="green" if word == "serving" else "red" if word == "refused" else "orange")
        st.text(sentence)


with page.steady("alias"):
    show_alias()
st.subheader("History", anchor=False)
deployments = queries.newest(ledger, Deployment, settings.project)
if deployments:
    page.table(
        [
            {
                "created (UTC)": f"{d.created_at:%Y-%m-%d %H:%M:%S}",
                "alias": d.alias,
                "version": names.get(d.version_id, d.version_id),
                "stage": str(d.stage),
                "share of requests": d.share,
                "why": d.reason,
                "changed": queries.age(d.updated_at),
            }
            for d in deployments
        ],
        column_config={"share of requests": st.column_config.NumberColumn(format="percent")},
    )
else:
    page.nothing_yet("The gateway has deployed nothing yet.", "driftwheel serve")
