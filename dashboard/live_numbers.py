"""What is known of the version that answers now, and of no other: its last check, its accuracy judged and measured.

The newest check of a project may be of the version before, and the accuracy of the gate is as old as the version: each
number here carries the version that it is of, and the moment.
"""

from dataclasses import dataclass
from datetime import datetime

from dashboard.queries import latest_check, newest
from dashboard.standing import lamp
from driftwheel.alias_key import AliasKey
from driftwheel.check_details import DECIDING
from driftwheel.intervals import Interval, share_interval
from driftwheel.records import Alias, DriftKind, DriftSignal, DriftVerdict, ModelVersion
from driftwheel.store.ledger import Ledger

CHECKS = 50
"""Back to which a measured accuracy is looked for; an older one says nothing of now."""

NEVER = "never judged by accuracy"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A share of right answers or a mean grade, on how many, and up to when."""

    share: float
    interval: Interval | None
    items: int
    at: datetime
    criterion: str | None = None
    """What graded the answers; None where they are right or wrong."""

    @property
    def name(self) -> str:
        """What the number is called."""
        return "accuracy" if self.criterion is None else f"grade by {self.criterion}"

    @property
    def text(self) -> str:
        """The number as people read it: a share in percent, a grade of 100."""
        return f"{self.share:.1%}" if self.criterion is None else f"{100 * self.share:.1f} of 100"

    @property
    def reach(self) -> str:
        """Its interval in the same unit; empty without one."""
        if self.interval is None:
            return ""
        unit = "%" if self.criterion is None else ""
        return " to ".join(f"{100 * end:.1f}{unit}" for end in self.interval)


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version that the gateway serves, as it reported last; before its first report, the one that is desired."""

    name: str
    """`v1`, `v2` ..., or `none`."""
    lamp: str = "gray"
    drifted: tuple[str, ...] = ()
    """The kinds of drift that its last check rang or suspected."""
    checked_at: datetime | None = None
    judged: Accuracy | None = None
    measured: Accuracy | None = None
    """On the labelled requests of its newest window that had any."""

    @property
    def is_worse_than_judged(self) -> bool:
        """Whether both intervals leave no doubt."""
        if self.judged is None or self.measured is None or self.judged.criterion != self.measured.criterion:
            return False
        judged, measured = self.judged.interval, self.measured.interval
        return judged is not None and measured is not None and measured[1] < judged[0]


def served_now(ledger: Ledger, key: AliasKey, alias: Alias | None) -> Served:
    """Return what is known of the version that answers now."""
    served_id = (alias.observed_version_id or alias.version_id) if alias is not None else None
    without = ("verdict", "fingerprint", "lineage")
    versions = ledger.find(ModelVersion, id=served_id, without=without) if served_id else []
    if not versions:
        return Served(name="none")
    version = versions[0]
    signals = latest_check(ledger, key.project, version.id)
    bad = (DriftVerdict.DRIFTED, DriftVerdict.SUSPECTED)
    moved = {s.kind for s in signals if s.feature == DECIDING and s.verdict in bad}
    return Served(
        name=f"v{version.number}",
        lamp=lamp(signals),
        drifted=tuple(str(kind) for kind in DriftKind if kind in moved),
        checked_at=signals[0].created_at if signals else None,
        judged=_judged(version),
        measured=_measured(ledger, version),
    )


def _judged(version: ModelVersion) -> Accuracy | None:
    card = version.scorecard
    if card.criterion is not None and card.grade is not None:
        ends = card.intervals.get("grade")
        reach = (ends[0], ends[1]) if ends else None
        at, items = version.created_at, card.items - (card.ungraded or 0)
        return Accuracy(share=card.grade, interval=reach, items=items, at=at, criterion=card.criterion)
    if card.accuracy is None or card.criterion is not None:
        return None
    interval = card.intervals.get("accuracy")
    ends = (interval[0], interval[1]) if interval else share_interval(round(card.accuracy * card.items), card.items)
    return Accuracy(share=card.accuracy, interval=ends, items=card.items, at=version.created_at)


def _measured(ledger: Ledger, version: ModelVersion) -> Accuracy | None:
    of = {"version_id": version.id, "feature": DECIDING, "kind": DriftKind.QUALITY}
    for signal in newest(ledger, DriftSignal, version.project, limit=CHECKS, **of):
        share, rows = signal.details.accuracy, signal.details.labelled_rows
        if share is not None and rows:  # without labels, the accuracy in the signal is the gate's
            at = signal.window_ended_at or signal.created_at
            return Accuracy(share=share, interval=share_interval(round(share * rows), rows), items=rows, at=at)
    return None


def sentence(served: Served) -> str:
    """Return in plain words how the loop stands: who answers, how well, and whether something has changed."""
    if served.name == "none":
        return "Nothing is live yet: promote a version."
    parts = [f"{served.name} answers. {_quality(served)}"]
    if served.checked_at is None:
        parts.append("The monitor has not checked it yet.")
    elif served.lamp in ("red", "amber"):
        word = "Drift" if served.lamp == "red" else "Drift is suspected"
        parts.append(f"{word} in {', '.join(served.drifted)}, in the check of {_clock(served.checked_at)}.")
    elif served.lamp == "green":
        parts.append(f"No drift in the check of {_clock(served.checked_at)}.")
    else:
        parts.append(f"The check of {_clock(served.checked_at)} had too few requests to judge.")
    return " ".join(parts)


def _quality(served: Served) -> str:
    measured, judged = served.measured, served.judged
    then = f"{judged.text}{_by(judged)} when it was judged on {judged.at:%Y-%m-%d}" if judged else NEVER
    if measured is None:
        return f"How well is not known: none of its checked requests has a label ({then})."
    verdict = ", which is worse" if served.is_worse_than_judged else ""
    of = f"{measured.items:,} labelled requests up to {_clock(measured.at)}"
    return f"{measured.share:.1%} of its answers are right, measured on {of}{verdict}; {then}."


def _by(found: Accuracy) -> str:
    return f" by {found.criterion}" if found.criterion else ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
