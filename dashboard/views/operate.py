"""Operate: engines by their own metrics, which version is deployed where, keys, tokens, and who is told of alarms."""

import time
from functools import partial

import streamlit as st

from dashboard import engine_numbers, queries, spending, standing, ways
from dashboard.engine_numbers import FIRST_TOKEN, LATENCY, EngineNumbers
from dashboard.scorecards import Row
from dashboard.views import page
from driftwheel.control import notifying
from driftwheel.errors import DriftwheelError
from driftwheel.records.bookkeeping import ApiKey, Scope
from driftwheel.records.nouns import Deployment, DeploymentStage
from driftwheel.store.alias import find_alias

LOOKS, SPENT_SECONDS = "engine_looks", 60
UNKNOWN = "unknown"
AMOUNTS = ("requests", "tokens read", "tokens written", "seconds of answering")
SERVING = (DeploymentStage.LIVE, DeploymentStage.CANARY, DeploymentStage.SHADOW, DeploymentStage.DRAINING)

settings, ledger = page.start(
    __file__, "Engines, deployments, keys, tokens and what they cost, and who is told of alarms."
)
names = queries.version_names(ledger, settings.project)


@st.fragment(run_every="5s")
def show_engines() -> None:
    """Draw what each engine does, again every five seconds; speeds are of the time between two looks."""
    found = engine_numbers.read_engines(settings.serve)
    if isinstance(found, str):
        page.problem(found, "No engines")
        st.code("driftwheel up", language="bash")
        return
    now = time.monotonic()
    looks: dict[str, tuple[float, EngineNumbers]] = st.session_state.get(LOOKS, {})
    page.table([engine_row(engine, looks.get(engine.address), now) for engine in found])
    st.session_state[LOOKS] = {engine.address: (now, engine) for engine in found if not engine.problem}
    for engine in found:
        if engine.problem:
            page.problem(engine.problem, engine.address)
    st.caption(
        "Read from each engine every 5 s. Tokens a second are of the time since the last look; latencies are of all "
        "requests since the engine started. p95: 95 of 100 are faster."
    )


def engine_row(engine: EngineNumbers, before: tuple[float, EngineNumbers] | None, now: float) -> Row:
    """Return an engine as a line of the table."""
    ids = engine.version_ids.split(",")
    latency = partial(milliseconds, is_known=not engine.problem)
    return {
        "engine": engine.address,
        "version": ", ".join(names.get(id, id) for id in ids),
        "requests running": amount(engine.running),
        "waiting": amount(engine.waiting),
        "KV cache used": UNKNOWN if engine.cache_share is None else f"{engine.cache_share:.1%}",
        "tokens read/s": speed(before, now, engine.read_tokens, "read_tokens"),
        "tokens written/s": speed(before, now, engine.written_tokens, "written_tokens"),
        "latency p50": latency(engine.percentile(LATENCY, 0.5)),
        "latency p95": latency(engine.percentile(LATENCY, 0.95)),
        "first token p95": latency(engine.percentile(FIRST_TOKEN, 0.95)),
    }


def amount(value: float | None) -> str:
    """Return a count, or that it is not known."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def milliseconds(seconds: float | None, *, is_known: bool) -> str:
    """Return a duration in milliseconds, or that there was nothing to measure, or nobody to say it."""
    if seconds is None:
        return "no requests yet" if is_known else UNKNOWN
    return f"{seconds * 1000:,.0f} ms"


def speed(before: tuple[float, EngineNumbers] | None, now: float, count: float | None, name: str) -> str:
    """Return by how much a counter grows in a second, from two looks at it."""
    earlier = getattr(before[1], name) if before else None
    if count is None:
        return UNKNOWN
    if before is None or earlier is None:
        return "in 5 s"
    # A counter that fell was started anew: what it holds has come since.
    grown = count - earlier if count >= earlier else count
    return f"{grown / max(now - before[0], 0.001):,.1f}"


@st.fragment(run_every="10s")
def show_deployments() -> None:
    """Draw which version the gateway serves, and how much of the requests each gets."""
    ways.follow()
    alias = find_alias(ledger, *settings.alias_key)
    word, sentence = standing.gateway_state(alias)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(word, color="green" if word == "serving" else "red" if word in ("refused", "stale") else "orange")
        st.text(sentence)
        st.caption(f"Reported {queries.age(alias.observed_at if alias else None)}")
    found = queries.newest(ledger, Deployment, settings.project, stage=list(SERVING))
    if found:
        rows = [
            {
                "version": names.get(d.version_id, d.version_id),
                "stage": str(d.stage),
                "share of requests": d.share,
                "changed": queries.age(d.updated_at),
                "why": d.reason,
            }
            for d in found
        ]
        page.table(rows, column_config={"share of requests": st.column_config.NumberColumn(format="percent")})
    else:
        st.text("Nothing is deployed. A version that is promoted is, once a gateway runs.")
    ways.way("All deployments", "deployments", key="to_deployments")


@st.cache_data(ttl=SPENT_SECONDS, max_entries=8, show_spinner=False)
def spent_rows(url: str, project: str) -> list[Row]:
    """Return the tokens of the last hour by version and key; summed up once a minute for all tabs."""
    return [
        {
            "version": names.get(s.version_id, s.version_id),
            "key": s.key_id or "without a key",
            "requests": s.requests,
            "tokens read": s.read_tokens,
            "tokens written": s.written_tokens,
            "seconds of answering": round(s.answering_seconds, 1),
            **({} if s.cost is None else {"cost": s.cost}),
        }
        for s in spending.spending(settings.dashboard, ledger, project)
    ]


def show_spending() -> None:
    """Draw tokens by version and key, with their cost where there is a price."""
    rows = spent_rows(ledger.url, settings.project)
    if not rows:
        st.text("No requests in the last hour.")
        return
    amounts = {name: st.column_config.NumberColumn(format="localized") for name in AMOUNTS}
    page.table(rows, column_config={**amounts, "cost": st.column_config.NumberColumn(format="%.6f")})
    st.caption(spent_in_all(rows))
    if "cost" not in rows[0]:
        st.caption("With dashboard.price_of_read_tokens and price_of_written_tokens this shows the cost.")


def spent_in_all(rows: list[Row]) -> str:
    """Return the sums of the table in a sentence."""
    sums = {name: sum(float(row[name] or 0) for row in rows) for name in (*AMOUNTS, "cost") if name in rows[0]}
    words = ", ".join(f"{value:,.6g} {name}" for name, value in sums.items() if name != "cost")
    cost = f", which cost {sums['cost']:.4g}" if "cost" in sums else ""
    return f"In all {words}{cost}."


def limit(value: int | None) -> str:
    """Return how much a key may have of something."""
    return "no limit" if value is None else f"{value:,}"


def show_keys() -> None:
    """Draw the API keys and what each may do; the keys themselves are kept nowhere."""
    keys = queries.newest(ledger, ApiKey, settings.project)
    if not keys:
        st.text("There are no API keys yet: whoever reaches the gateway may ask it, or has the key of its environment.")
        st.code("driftwheel keys create NAME", language="bash")
        return
    rows = [
        {
            "key": key.id.partition("/")[2],
            "status": str(key.status),
            "may": ", ".join(key.scopes),
            "ends": f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "never",
            "requests a minute": limit(key.requests_per_minute),
            "tokens a minute": limit(key.tokens_per_minute),
        }
        for key in keys
    ]
    page.table(rows)


def try_notifications() -> None:
    """Send a message to everybody who is told of alarms, and say whom it reached."""
    try:
        page.require(Scope.OPERATE)
        found = notifying.send_test(settings.project, notifying.addresses())
    except DriftwheelError as error:
        page.notice("Not done", "red", str(error))
        return
    lines = [f"{delivery.to}: {delivery.problem or 'it arrived'}" for delivery in found]
    is_whole = all(delivery.problem is None for delivery in found)
    page.notice("Sent" if is_whole else "Look", "green" if is_whole else "orange", "\n".join(lines))


def show_notifications() -> None:
    """Draw who is told of alarms, retrains and swaps, with a way to try it."""
    found = notifying.addresses()
    if not found:
        st.text("Nobody is told of alarms yet. Put addresses into DRIFTWHEEL_NOTIFY, start the loop anew, and try:")
        st.code("driftwheel notify test", language="bash")
        return
    st.text("\n".join(map(notifying.shown, found)))
    st.button("Send a test", key="notify_test", on_click=try_notifications)


st.subheader("Engines", anchor=False)
with page.steady("engines"):
    show_engines()
st.subheader("Deployments", anchor=False)
with page.steady("deployed"):
    show_deployments()
st.subheader("Tokens and cost of the last hour", anchor=False)
show_spending()
st.subheader("Keys", anchor=False)
show_keys()
st.subheader("Notifications", anchor=False)
show_notifications()
