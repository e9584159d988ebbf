"""The ways in which a version may take over from the one that is live, each in a sentence; pure."""

from collections.abc import Sequence
from datetime import timedelta

from dashboard.queries import span
from driftwheel.settings.serving import ServeSettings

DIRECT, CANARY, SHADOW = "All at once", "Canary", "Shadow"
COMMON_SHARES = (1, 5, 10, 25, 50, 75)
"""Percent of the requests that a canary is offered beside those of the settings: from a look to nearly all."""


def ways(serve: ServeSettings) -> list[str]:
    """Return what a person may choose; canary and shadow need a second engine beside the live one."""
    return [DIRECT] if serve.swap == "in_place" else [DIRECT, CANARY, SHADOW]


def usual_way(serve: ServeSettings) -> str:
    """Return how a version goes live where nobody chooses, by `serve.rollout`."""
    return CANARY if serve.rollout == "canary" else DIRECT


def offered_shares(serve: ServeSettings) -> list[float]:
    """Return the shares that a person may choose of, in percent."""
    return sorted({*COMMON_SHARES, *usual_shares(serve)})


def usual_shares(serve: ServeSettings) -> list[float]:
    """Return the shares of the settings, in percent."""
    return [round(100 * share, 3) for share in serve.canary_shares]


def explained(serve: ServeSettings, way: str, name: str) -> str:
    """Return what a way means for who asks the model."""
    if way == DIRECT:
        return f"Every request goes to {name} as soon as the gateway has proved it."
    if way == CANARY:
        at_least = span(timedelta(seconds=serve.canary_seconds))
        return (
            f"{name} answers a share of the requests first, then more, then all, with at least {at_least} and "
            f"{serve.canary_min_requests:,} requests at each share. If it does worse, it is rolled back by itself."
        )
    return (
        f"{name} gets a copy of each request and nobody gets its answers, so that you can compare them. "
        "What is live stays live."
    )


def steps_in_words(shares: Sequence[float]) -> str:
    """Return the steps of a canary, such as `10 %, then 50 %, then all requests`."""
    return ", then ".join([*(f"{share:g} %" for share in shares), "all requests"])
