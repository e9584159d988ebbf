"""Now: whether all is well in one sentence, what to do next, the live numbers, and where each noun stands."""

from datetime import timedelta

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import queries, shared, standing, ways
from dashboard.live_numbers import Quality
from dashboard.next_step import GATEWAY_DOWN
from dashboard.pace import NEWEST_ROWS
from dashboard.spending import Total
from dashboard.views import page

BAD_WORDS = ("silent", "stale", "refused")
"""States of the gateway in which nobody may get an answer: the first thing that one sees."""
TILE_PIXELS, WIDE_PIXELS, STATION_PIXELS = 149, 314, 126
"""Six tiles, of which a wide one takes two, and seven stations stand in a row on a wide screen; two on a phone."""
UNKNOWN = "unknown"

settings, ledger = page.start(__file__, "Is it fine, and does it need you?")


@st.fragment(run_every="5s")
def show_now() -> None:
    """Draw what is true now, again every five seconds; all tabs share what is read for it."""
    ways.follow()
    now = shared.overview(ledger.url, settings.alias_key, ledger)
    show_sentence(now)
    with st.container(horizontal=True):
        show_quality_tiles(now)
        show_tiles(now)
        show_spending_tiles(shared.spent(ledger.url, settings.project, settings.dashboard, ledger))
    st.caption(
        f"Errors, latency and tokens are of the newest {NEWEST_ROWS} requests of the last half hour; "
        "p95: 95 of 100 are faster."
    )
    st.subheader("The loop", anchor=False)
    show_strip(now.stations)
    st.subheader("Requests", anchor=False)
    st.vega_lite_chart(now.requests_chart, alt="Requests a minute over the last half hour")
    show_state(now)


def show_sentence(now: shared.Overview) -> None:
    """Say how the loop stands, and offer the one thing to do next."""
    step = now.next_step
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(step.word, color=step.color)  # type: ignore[arg-type]  # next_step names colors that Streamlit has
            # What the gateway is at says more than that it is bad, and stands first and once.
            st.text(now.gateway[1] if now.gateway[0] in BAD_WORDS else step.why)
        st.text(now.sentence)
        if step.page:
            ways.way(step.label, step.page, key="next", type="primary")
        elif step.command:
            st.text("What to do next:")
            st.code(step.command, language="bash")


def show_quality_tiles(now: shared.Overview) -> None:
    """Draw who answers and how well; each accuracy says of which version and of when it is."""
    version = now.served.name
    judged = now.served.judged.found.name if now.served.judged else "accuracy"
    tile(
        "Answered last" if now.gateway[0] in GATEWAY_DOWN else "Answering now",
        version,
        f"moving to {now.moving_to}" if now.moving_to else "",
    )
    tile("Waiting for you", f"{now.waiting:,}", "retrains to approve")
    measured = "grade" if now.served.measured and now.served.measured.before is not None else "accuracy"
    show_quality(f"Measured {measured} of {version}", now.served.measured, "labelled requests")
    show_quality(f"Judged {judged} of {version}", now.served.judged, "test items")


def show_quality(title: str, quality: Quality | None, of: str) -> None:
    """Draw an accuracy or a grade with its interval, on how many, and up to when."""
    if quality is None:
        note = "It was never judged." if of == "test items" else "No labelled requests were checked."
        tile(title, UNKNOWN, note, width=WIDE_PIXELS)
        return
    reach = f"{quality.found.reach} (95 %). " if quality.found.reach else ""
    note = f"{reach}{quality.items:,} {of}, {queries.age(quality.at)}."
    tile(title, quality.found.text, note, width=WIDE_PIXELS)


def show_tiles(now: shared.Overview) -> None:
    """Draw the numbers of the present; those of the newest requests say since when."""
    pace, share = now.pace, now.pace.failed_share
    none = "no requests in the last half hour"
    since = f"since {pace.since:%H:%M:%S} UTC" if pace.since else none
    streamed = pace.first_token_p95_seconds is not None
    tile("Errors", UNKNOWN if share is None else f"{share:.1%}", f"{pace.failed:,} {since}" if pace.since else none)
    tile("Latency, p95", milliseconds(pace.latency_p95_seconds), since)
    tile("First token, p95", milliseconds(pace.first_token_p95_seconds), since if streamed else "no streamed answers")
    tokens = pace.tokens_per_second
    tile("Tokens a second", UNKNOWN if tokens is None else f"{tokens:,.1f}", since)
    tile("Gateway reported", queries.age(now.reported_at), now.gateway[0], width=WIDE_PIXELS)
    tile("Retrain", *retrain_tile(now.retraining), width=WIDE_PIXELS)


def show_spending_tiles(spent: Total) -> None:
    """Draw what the loop takes: tokens and their cost, and the time of its trainings."""
    tokens = f"{spent.read_tokens:,} tokens read, {spent.written_tokens:,} written"
    if spent.cost is None:
        count = f"{spent.read_tokens + spent.written_tokens:,}"
        tile("Tokens of the last hour", count, f"{tokens}; the settings have no price", width=WIDE_PIXELS)
    else:
        tile("Cost of the last hour", money(spent.cost), f"{tokens}, at your prices", width=WIDE_PIXELS)
    took = queries.span(timedelta(seconds=spent.training_seconds))
    tile("Training of the last day", took, queries.counted(spent.runs, "run"), width=WIDE_PIXELS)


def money(cost: float) -> str:
    """Return an amount of money with two digits that tell something: a thousandth of a cent is not nothing."""
    return f"{cost:,.2f}" if cost >= 1 or cost == 0 else f"{cost:.2g}"


def milliseconds(seconds: float | None) -> str:
    """Return a duration in milliseconds, or that it is not known."""
    return UNKNOWN if seconds is None else f"{seconds * 1000:,.0f} ms"


def retrain_tile(retraining: shared.Retraining | None) -> tuple[str, str]:
    """Return how long the running retrain still takes, and at which step it is."""
    if retraining is None:
        return "none", "No retrain runs now."
    step = f"at {retraining.step}" if retraining.step else "has begun"
    if retraining.seconds_left is None:
        return "running", f"{step}; the first one: no estimate"
    return f"{queries.span(timedelta(seconds=retraining.seconds_left))} left", f"{step}; estimated"


def tile(title: str, value: str, note: str, *, width: int = TILE_PIXELS) -> DeltaGenerator:
    """Draw one number with its title and a line about it."""
    place = st.container(border=True, width=width, height="stretch", gap="xxsmall")
    place.metric(title, value)
    if note:
        place.caption(note)
    return place


def show_strip(stations: list[standing.Station]) -> None:
    """Draw the nouns of the loop in the order of its turn, each with its newest record and the way to its page."""
    with st.container(horizontal=True):
        for station in stations:
            with st.container(border=True, width=STATION_PIXELS, height="stretch", gap="xxsmall"):
                ways.way(station.noun, station.page, key=f"station_{station.page}", type="tertiary")
                st.text(station.title)
                if station.is_bad:
                    st.badge(station.status, color="red")
                else:
                    st.caption(station.status)


def show_state(now: shared.Overview) -> None:
    """Say what the gateway does, what was decided last, and how often an alarm may be false."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.subheader("Serving", anchor=False)
        word, sentence = now.gateway
        st.badge(word, color="green" if word == "serving" else "red" if word == "refused" else "orange")
        st.text(sentence)
        st.text(f"The last check says: {standing.LAMP_WORDS[now.served.lamp]}.")
        budget = settings.monitor.false_alarms_per_month
        st.caption(f"At most {queries.counted(budget, 'false alarm')} a month on steady traffic, by calibration.")
    with right.container(border=True, height="stretch"):
        st.subheader("Latest decision", anchor=False)
        if now.is_paused:
            st.badge("retraining is paused", color="orange")
        st.text(now.decision or "None yet. The monitor decides after each full window of traffic.")
        st.text("\n".join(now.reasons))


with page.steady("now"):
    show_now()
