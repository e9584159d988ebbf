"""Overview: how the loop stands in one sentence, the circle with the current id at each station, the live numbers."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import circle, queries, shared
from dashboard.live_numbers import Quality
from dashboard.views import page

BAD_WORDS = ("silent", "stale", "refused")
"""States of the gateway in which nobody may get an answer: the first thing that one sees."""

settings, ledger = page.start(__file__, "The loop, where it stands, and whether it needs you.")


@st.fragment(run_every="5s")
def show_now() -> None:
    """Draw what is true now, again every five seconds; all tabs share what is read for it."""
    now = shared.overview(ledger.url, settings.alias_key, ledger)
    if now.gateway[0] in BAD_WORDS:
        page.problem(now.gateway[1], f"gateway: {now.gateway[0]}")
    with st.container(border=True):
        st.text(now.sentence)
        drawing, lamp = now.drawings[st.context.theme.type == "dark"], circle.LAMP_WORDS[now.served.lamp]
        st.image(drawing, width="stretch", alt=f"The loop and where it stands; drift lamp of {now.served.name}: {lamp}")
    show_tiles(now)
    st.subheader("Requests", anchor=False)
    st.vega_lite_chart(now.requests_chart, alt="Requests a minute over the last half hour")
    show_state(now)


def show_tiles(now: shared.Overview) -> None:
    """Draw one row of numbers; each accuracy says of which version and of when it is."""
    minutes = now.minutes
    last = minutes[-2] if len(minutes) > 1 else minutes[-1]  # the present minute is not over
    latencies = [m.latency_p50_seconds for m in minutes if m.latency_p50_seconds is not None]
    version = now.served.name
    tiles = st.columns([2, 3, 3, 3, 3])  # so wide that no title is cut: it says of which version a number is
    tiles[0].metric(
        "Answering now",
        version,
        border=True,
        delta=f"moving to {now.moving_to}" if now.moving_to else None,
        delta_color="off",
        delta_arrow="off",
        height="stretch",
    )
    judged = now.served.judged.found.name if now.served.judged else "accuracy"
    show_quality(tiles[1], f"Measured accuracy of {version}", now.served.measured, "labelled requests")
    show_quality(tiles[2], f"Judged {judged} of {version}", now.served.judged, "test items")
    tiles[3].metric(
        "Requests in the last minute",
        last.requests,
        border=True,
        chart_data=[m.requests for m in minutes],
        height="stretch",
    )
    tiles[4].metric(
        "Latency, median",
        f"{latencies[-1] * 1000:.0f} ms" if latencies else "unknown",
        border=True,
        chart_data=[x * 1000 for x in latencies] or None,
        height="stretch",
    )


def show_quality(tile: DeltaGenerator, title: str, quality: Quality | None, of: str) -> None:
    """Draw an accuracy or a grade with its interval, on how many, and up to when."""
    with tile.container(border=True, height="stretch"):
        st.metric(title, quality.found.text if quality else "unknown")
        if quality is None:
            st.caption("No labelled requests were checked." if of != "test items" else "It was never judged.")
            return
        if quality.found.reach:
            st.caption(f"{quality.found.reach} (95 %)")
        st.caption(f"{quality.items:,} {of}, {queries.age(quality.at)}")


def show_state(now: shared.Overview) -> None:
    """Say what the gateway does, what was decided last, and how often an alarm may be false."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.subheader("Serving", anchor=False)
        word, sentence = now.gateway
        st.badge(word, color="green" if word == "serving" else "red" if word == "refused" else "orange")
        st.text(sentence)
        budget = settings.monitor.false_alarms_per_month
        st.caption(f"Alarm budget: at most {budget:g} false alarm(s) a month on steady traffic, by calibration.")
    with right.container(border=True, height="stretch"):
        st.subheader("Latest decision", anchor=False)
        if now.is_paused:
            st.badge("retraining is paused", color="orange")
        st.text(now.decision or "None yet. The monitor decides after each full window of traffic.")
        st.text("\n".join(now.reasons))


show_now()
