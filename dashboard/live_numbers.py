"""What is known of the version that answers now, and of no other: its last check, its quality judged and measured.

The newest check of a project may be of the version before, and the gate's number is as old as the version: each
number here carries the version that it is of, and the moment.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from dashboard.drift_tables import KINDS
from dashboard.queries import latest_check, newest
from dashboard.standing import lamp
from driftwheel.evidence.intervals import share_interval
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import Alias, DriftKind, DriftSignal, DriftVerdict, ModelVersion
from driftwheel.records.scorecard import Headline, headline
from driftwheel.store.ledger import Ledger

CHECKS = 50
"""Back to which a measured accuracy is looked for; an older one says nothing of now."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """An accuracy or a mean grade, on how many answers, and up to when."""

    found: Headline
    items: int
    at: datetime
    before: float | None = None
    """Of a live grade: what the version had when it was judged, beside one right text as a correction is. The judged
    grade itself is that of the best of several."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version that the gateway serves, as it reported last; before its first report, the one that is desired."""

    name: str
    """`v1`, `v2` ..., or `none`."""
    lamp: str = "gray"
    drifted: tuple[str, ...] = ()
    """The kinds of drift that its last check rang or suspected."""
    checked_at: datetime | None = None
    judged: Quality | None = None
    measured: Quality | None = None
    """On the labelled requests of its newest window that had any."""

    @property
    def is_worse_than_judged(self) -> bool:
        """Whether both intervals leave no doubt; a grade and an accuracy cannot be compared."""
        if self.measured is not None and self.measured.before is not None and self.measured.found.interval is not None:
            return self.measured.found.interval[1] < self.measured.before
        if self.judged is None or self.measured is None or self.judged.found.name != self.measured.found.name:
            return False
        judged, measured = self.judged.found.interval, self.measured.found.interval
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


def _judged(version: ModelVersion) -> Quality | None:
    card = version.scorecard
    found = headline(card)
    if found is None:
        return None
    if found.interval is None and card.criterion is None:
        found = replace(found, interval=share_interval(round(found.value * card.items), card.items))
    return Quality(found=found, items=card.items, at=version.created_at)


def _measured(ledger: Ledger, version: ModelVersion) -> Quality | None:
    of = {"version_id": version.id, "feature": DECIDING, "kind": DriftKind.QUALITY}
    for signal in newest(ledger, DriftSignal, version.project, limit=CHECKS, **of):
        share, rows = signal.details.accuracy, signal.details.labelled_rows
        if share is not None and rows:  # without labels, the accuracy in the signal is the gate's
            at = signal.window_ended_at or signal.created_at
            low, high = signal.details.accuracy_low, signal.details.accuracy_high
            # The monitor's holds what the answers without a label might be; older signals have none.
            interval = share_interval(round(share * rows), rows) if low is None or high is None else (low, high)
            criterion, before = signal.details.criterion, signal.details.baseline
            name = "accuracy" if criterion is None else f"grade by {criterion} beside corrections"
            found = Headline(name=name, value=share, interval=interval)
            return Quality(found=found, items=rows, at=at, before=None if criterion is None else before)
    return None


def sentence(served: Served, *, is_down: bool = False) -> str:
    """Return in plain words how the loop stands: who answers, how well, and whether something has changed.

    While the gateway is down nobody answers, and the numbers are of whoever did last.
    """
    if served.name == "none":
        return "Nothing is live yet: promote a version."
    parts = [f"{served.name} {'answered last' if is_down else 'answers'}. {_quality(served)}"]
    if served.checked_at is None:
        parts.append("The monitor has not checked it yet.")
    elif served.lamp in ("red", "amber"):
        word = "Drift" if served.lamp == "red" else "Drift is suspected"
        changed = " and ".join(KINDS[DriftKind(kind)] for kind in served.drifted)
        parts.append(f"{word} in {changed}, by the check of {_clock(served.checked_at)}.")
    elif served.lamp == "green":
        parts.append(f"No drift in the check of {_clock(served.checked_at)}.")
    else:
        parts.append(f"The check of {_clock(served.checked_at)} had too few requests to judge.")
    return " ".join(parts)


def _quality(served: Served) -> str:
    measured, judged = served.measured, served.judged
    then = ""
    if judged:
        by = "" if judged.found.name == "accuracy" else f" ({judged.found.name})"
        then = f"{judged.found.text}{by} when it was judged on {judged.at:%Y-%m-%d}"
    if measured is None:
        return f"How well is not known: none of its checked requests has a label{f' ({then})' if then else ''}."
    of = f"{measured.items:,} labelled requests up to {_clock(measured.at)}"
    if measured.before is not None:
        worse = "that is worse than " if served.is_worse_than_judged else "it was "
        return (
            f"Its answers have {measured.found.text} ({measured.found.name}), measured on {of}; "
            f"{worse}{100 * measured.before:.1f} when it was judged."
        )
    against = f"; {'that is worse than ' if served.is_worse_than_judged else 'it was '}{then}" if then else ""
    return f"{measured.found.text} of its answers are right, measured on {of}{against}."


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
