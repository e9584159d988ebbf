"""Decides what a person should do next, from what is true now; pure."""

from dataclasses import dataclass

from driftwheel.control.retrain_limits import AT_WORK
from driftwheel.records.nouns import DecisionStatus

GATEWAY_DOWN = ("silent", "stale")


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the next step depends on."""

    gateway: str
    """`empty`, `silent`, `refused`, `moving`, `stale` or `serving`."""
    lamp: str
    """`red`, `amber`, `green` or `gray`."""
    waiting: int
    """Retrains that wait for a person."""
    retrain: DecisionStatus | None
    """The newest decision to retrain."""
    is_paused: bool
    unpromoted: str | None
    """The newest published version, where it is newer than the live one or none is live."""
    has_version: bool
    has_labels: bool
    """Whether the live version's answers were measured against labels."""


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """One thing to do: the words on its button with the page where it is done, or the command that does it."""

    why: str
    label: str = ""
    page: str = ""
    """Name of the page's file; empty where a command is what helps."""
    command: str = ""
    color: str = "green"
    """`green`: all is fine. `orange`: look at it. `red`: users suffer."""
    word: str = "Fine"


def next_step(now: Situation) -> NextStep:
    """Return the most urgent step: first what hurts users, then what waits for a person, then what improves."""
    return _of_gateway(now) or _of_retrain(now) or _of_quality(now) or NextStep(why="Nothing needs you.")


def _of_gateway(now: Situation) -> NextStep | None:
    if now.gateway == "empty":
        if now.unpromoted:
            label = f"Make {now.unpromoted} live"
            return NextStep(why="Nothing is live yet.", label=label, page="model_versions", **LOOK)
        command = "driftwheel publish" if now.has_version else "driftwheel data build"
        return NextStep(why="No version is ready to go live yet.", command=command, **LOOK)
    if now.gateway in GATEWAY_DOWN:
        return NextStep(why="The gateway is not reporting.", command="driftwheel up", **BAD)
    if now.gateway == "refused":
        why = "The gateway refused the version that it should serve."
        return NextStep(why=why, label="See why it was refused", page="deployments", **BAD)
    return None


def _of_retrain(now: Situation) -> NextStep | None:
    if now.waiting:
        why = "A retrain waits for you." if now.waiting == 1 else f"{now.waiting} retrains wait for you."
        return NextStep(why=why, label="Approve or refuse it", page="decisions", **LOOK)
    if now.retrain in AT_WORK and not now.is_paused:  # one that waits for a person was told above
        return NextStep(why="A retrain is running.", label="Watch it", page="training_runs", color="blue", word="Busy")
    if now.is_paused:
        return NextStep(why="Retraining is paused.", label="Resume it", page="decisions", **LOOK)
    return None


def _of_quality(now: Situation) -> NextStep | None:
    if now.lamp == "red":
        why = "The traffic or the answers have changed."
        return NextStep(why=why, label="See what changed", page="drift_signals", **LOOK)
    if now.unpromoted:
        why = f"{now.unpromoted} passed its test and is not live."
        return NextStep(why=why, label=f"Compare and promote {now.unpromoted}", page="model_versions", **LOOK)
    if now.lamp == "amber":
        why = "One window looked different; the next ones will tell."
        return NextStep(why=why, label="See what changed", page="drift_signals", **LOOK)
    if not now.has_labels:
        why = "How good the answers are is not measured."
        return NextStep(why=why, label="Label some requests", page="label", **LOOK)
    return None


LOOK = {"color": "orange", "word": "Look"}
BAD = {"color": "red", "word": "Act now"}
