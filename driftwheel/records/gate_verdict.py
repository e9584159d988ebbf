"""Records of the gate's verdict on a candidate, slice by slice.

Every field has a default, so that a verdict that an older program wrote can still be read.
"""

from dataclasses import dataclass
from typing import Literal

from driftwheel.records.json_form import only_with
from driftwheel.records.scorecard import Interval, Measurement

Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]


@dataclass(frozen=True, kw_only=True)
class SliceVerdict:
    """What one slice says about a candidate: shares of right answers, or mean grades, candidate minus the other."""

    slice: str
    role: str = "-"
    """`target`, `part`, `contract`, `fixed`, `slice` or `watched`."""
    against: str = ""
    items: int = 0
    candidate_accuracy: float | None = None
    live_accuracy: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    margin: float | None = None
    """The difference that must be shown to be exceeded; None where the slice is only watched."""
    gained: int = 0
    lost: int = 0
    items_needed: int | None = None
    verdict: Verdict = "INCONCLUSIVE"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The slices that are too small to be shown to be kept."""

    slices: int = 0
    level: float = 0.0
    """Level of each one's test for a loss."""
    worst: tuple[SliceVerdict, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Won:
    """A slice that a promoted version surely gained on, and that later ones must keep."""

    slice: str
    gain: float
    items: int = 0


@dataclass(frozen=True, kw_only=True)
class Override:
    """That a person published a version against the verdict, and why."""

    by: str
    at: str
    """ISO 8601, in UTC."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """The gate's verdict on a candidate; without a live version, or on a spent test set, most fields are None."""

    verdict: Verdict | None = None
    """None where the version was never judged."""
    reason: str = ""
    difference: float | None = None
    """Of the target items: the candidate's share of right answers minus the live version's."""
    interval: Interval | None = None
    p_value: float | None = None
    level: float | None = None
    items: int = 0
    items_needed: int | None = None
    """About how many more items would settle it."""
    detectable_gain: float | None = None
    """The smallest true gain that so many items show with a chance of 80 %."""
    confidence: float | None = None
    slices: tuple[SliceVerdict, ...] = ()
    watched: Watched | None = None
    fixed: tuple[Won, ...] = ()
    unmeasured: tuple[str, ...] = ()
    """What stays fixed, but of which the test set holds no item."""
    max_looks: int | None = only_with("max_looks")
    looks: int = 0
    """How many candidates were judged on these items, this one included."""
    live_version_id: str | None = None
    notes: tuple[str, ...] = ()
    criterion: str | None = only_with("criterion")
    """By what the answers were graded; None where they are right or wrong."""
    ungraded: int | None = only_with("ungraded")
    """Target items that one of the two has no grade on."""
    label_odds: float | None = only_with("label_odds")
    """How many times as likely an item got its label where the live version was wrong, at most; None where all did."""
    override: Override | None = only_with("override")
    general: dict[str, dict[str, Measurement]] | None = only_with("general")
    """Candidate minus live on tasks that have nothing to do with training."""
