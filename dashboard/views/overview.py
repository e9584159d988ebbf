"""Overview: the loop with the current id at each station, the drift lamp, and the live numbers."""

import streamlit as st

from dashboard import circle, queries, standing, timelines, traffic_search
from dashboard.views import page
from driftwheel import controls
from driftwheel.records import ModelVersion, RetrainDecision
from driftwheel.scorecard import headline
from driftwheel.store.alias import find_alias

settings, ledger = page.start(__file__, "The loop, where it stands, and whether it needs you.")


@st.fragment(run_every="5s")
def show_circle() -> None:
    """Draw the circle and the tiles, again every five seconds."""
    signals = queries.latest_check(ledger, settings.project)
    live = queries.live_version(ledger, settings.alias_key)
    live_name = f"{settings.serve.alias} is v{live.number}" if live else "nothing is live yet"
    with st.container(border=True):
        stations, lamp = standing.stations(ledger, settings.project), standing.lamp(signals)
        drawing = circle.draw(stations, lamp, live_name, is_dark=st.context.theme.type == "dark")
        st.image(drawing, width="stretch", alt=f"The loop and where it stands; drift lamp: {circle.LAMP_WORDS[lamp]}")
    minutes = traffic_search.minutes(ledger, settings.project)
    show_tiles(live, minutes)
    st.subheader("Requests", anchor=False)
    st.altair_chart(timelines.requests_per_minute(minutes), alt="Requests a minute over the last half hour")


def show_tiles(live: ModelVersion | None, minutes: list[traffic_search.Minute]) -> None:
    """Draw one row of numbers."""
    last = minutes[-2] if len(minutes) > 1 else minutes[-1]  # the present minute is not over
    latencies = [m.latency_p50_seconds for m in minutes if m.latency_p50_seconds is not None]
    judged = headline(live.scorecard if live else None)
    columns = st.columns(4)
    columns[0].metric("Live version", f"v{live.number}" if live else "none", border=True, height="stretch")
    name = judged.name.capitalize() if judged else "Accuracy"
    columns[1].metric(
        f"{name} when judged",
        judged.text if judged else "unknown",
        border=True,
        delta=judged.reach or None if judged else None,
        delta_color="off",
        delta_arrow="off",
        height="stretch",
    )
    columns[2].metric(
        "Requests in the last minute",
        last.requests,
        border=True,
        chart_data=[m.requests for m in minutes],
        height="stretch",
    )
    columns[3].metric(
        "Latency, median",
        f"{latencies[-1] * 1000:.0f} ms" if latencies else "unknown",
        border=True,
        chart_data=[x * 1000 for x in latencies] or None,
        height="stretch",
    )


def show_state() -> None:
    """Say what the gateway does, what was decided last, and how often an alarm may be false."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.subheader("Serving", anchor=False)
        word, sentence = standing.gateway_state(find_alias(ledger, *settings.alias_key))
        st.badge(word, color="green" if word == "serving" else "red" if word == "refused" else "orange")
        st.text(sentence)
        budget = settings.monitor.false_alarms_per_month
        st.caption(f"Alarm budget: at most {budget:g} false alarm(s) a month on steady traffic, by calibration.")
    with right.container(border=True, height="stretch"):
        st.subheader("Latest decision", anchor=False)
        found = queries.newest(ledger, RetrainDecision, settings.project, limit=1)
        if controls.is_paused(ledger, settings.project):
            st.badge("retraining is paused", color="orange")
        if not found:
            st.text("None yet. The monitor decides after each full window of traffic.")
            return
        st.text(f"{found[0].verdict}, {found[0].status}".replace("_", " ") + f"  ({queries.age(found[0].created_at)})")
        st.text("\n".join(found[0].reasons))


show_circle()
show_state()
