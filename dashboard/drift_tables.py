"""Lays a drift check out for a person: what changed in words and shares, what would help, and the alarms that rang."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.scorecards import Row
from driftwheel.evidence.intervals import share_interval
from driftwheel.records.by_whom import Action, Event
from driftwheel.records.check_details import DECIDING, SignalDetails
from driftwheel.records.diagnosis import Change, Diagnosis, NewCluster, Remedy, WordShift
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict, RetrainDecision
from driftwheel.traffic.new_normal import RENEWED

KINDS = {
    DriftKind.INPUT: "what users ask",
    DriftKind.OUTPUT: "what the model answers",
    DriftKind.QUALITY: "how right the answers are",
    DriftKind.ENGINE: "how fast and how whole the answers come",
}
VERDICTS = {
    DriftVerdict.STEADY: "as before",
    DriftVerdict.SUSPECTED: "perhaps changed",
    DriftVerdict.DRIFTED: "changed",
    DriftVerdict.INSUFFICIENT: "too few requests to say",
}
WHAT_HELPS = {
    Remedy.ACCEPT: "accept as the new normal",
    Remedy.LABEL: "label these",
    Remedy.RETRAIN: "retrain",
    Remedy.BLOCK: "block or leave out",
    Remedy.PROMPT: "look at the instruction",
    Remedy.ENGINE: "look at the engines",
}


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A kind of drift from the window in which it rang until the one in which it was quiet again."""

    kind: DriftKind
    check_id: str
    began_at: datetime
    """End of the window that rang, by the traffic's own time."""
    ended_at: datetime | None
    """None while it lasts."""
    windows: int


def seen_at(signal: DriftSignal) -> datetime:
    """Return the moment that a signal is of: the end of its window, not the moment at which it was looked at."""
    return signal.window_ended_at or signal.created_at


def diagnosis_of(signals: Sequence[DriftSignal]) -> Diagnosis:
    """Return what a check found, of prompts and answers together; an older check found only words."""
    found = [s.details.diagnosis for s in signals if s.details.diagnosis is not None]
    if not found:
        words = next((s.details.shifted_words for s in signals if s.details.shifted_words), [])
        return Diagnosis(words=[WordShift(word=word) for word in words])
    return Diagnosis(
        findings=list({f.sentence: f for d in found for f in d.findings}.values()),
        words=list({(w.side, w.word): w for d in found for w in d.words}.values()),
        clusters=list({tuple(c.examples): c for d in found for c in d.clusters}.values()),
        changes=list({(c.side, c.name): c for d in found for c in d.changes}.values()),
        bot=next((d.bot for d in found if d.bot is not None), None),
        windows=max(d.windows for d in found),
    )


def can_be_accepted(newest: Sequence[DriftSignal], check_id: str) -> bool:
    """Say whether a check is the newest one and something of it could become the new normal."""
    over = (DriftVerdict.DRIFTED, DriftVerdict.SUSPECTED)
    return any(
        s.check_id == check_id and s.feature == DECIDING and s.kind in RENEWED and s.verdict in over for s in newest
    )


def word_rows(words: Sequence[WordShift]) -> list[Row]:
    """Return words with their shares before and now; one whose shares were not counted has none."""
    return [
        {
            "word": word.word,
            "in": "prompts" if word.side == "input" else "answers",
            "before": word.before if word.before or word.now else None,
            "now": word.now if word.before or word.now else None,
        }
        for word in words
    ]


def change_rows(changes: Sequence[Change]) -> list[Row]:
    """Return what else has changed of prompts and answers, before and now."""
    return [
        {
            "what": change.name.replace("_", " "),
            "of": "prompts" if change.side == "input" else "answers",
            "before": _amount(change.before, change.unit),
            "now": _amount(change.now, change.unit),
        }
        for change in changes
    ]


def _amount(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "share" else f"{value:,.4g} {unit}"


def cluster_title(cluster: NewCluster) -> str:
    """Return what a cluster is, in one line."""
    words = ", ".join(cluster.words[:5])
    near = f"; nearest to {cluster.nearest_label}" if cluster.nearest_label else ""
    return f"{cluster.share:.0%} of the requests now, {cluster.before:.0%} before: {words}{near}"


def output_rows(signals: Sequence[DriftSignal]) -> list[Row]:
    """Return the properties of answers that are over their threshold, the furthest first."""
    over = [s for s in signals if s.kind is DriftKind.OUTPUT and s.feature != DECIDING and s.score > s.threshold]
    return [
        {"what": s.feature.replace("_", " "), "times its limit": s.score / s.threshold if s.threshold else None}
        for s in sorted(over, key=lambda s: -(s.score / s.threshold if s.threshold else 0))
    ]


def quality_sentence(signals: Sequence[DriftSignal]) -> str:
    """Return how right the answers are by now, with the interval, beside what it was when the version was judged."""
    signal = next((s for s in signals if s.kind is DriftKind.QUALITY and s.feature == DECIDING), None)
    details = signal.details if signal else None
    if details is None or (details.accuracy is None and details.estimate is None) or not details.labelled_rows:
        return "How right the answers are by now is not known: none of this window's requests has a label."
    rows, is_fair = details.labelled_rows, details.accuracy is not None
    share = details.accuracy if details.accuracy is not None else details.estimate or 0.0
    low, high = details.accuracy_low, details.accuracy_high
    chosen = "" if is_fair else " People chose which answers to label, so this is an estimate."
    if details.criterion is not None:
        return _told_as_grade(details, share) + chosen
    interval = (
        (low, high) if is_fair and low is not None and high is not None else share_interval(round(share * rows), rows)
    )
    reach = f" ({interval[0]:.1%} to {interval[1]:.1%} with 95 %)" if interval else ""
    judged = f"; {details.baseline:.1%} when the version was judged" if details.baseline is not None else ""
    # People label what they come across, mostly what is wrong: such a share is lower than the truth.
    return f"{share:.1%} of the answers are right{reach}, by {rows:,} labels{judged}.{chosen}"


def _told_as_grade(details: SignalDetails, grade: float) -> str:
    low, high = details.accuracy_low, details.accuracy_high
    reach = f" ({100 * low:.1f} to {100 * high:.1f} with 95 %)" if low is not None and high is not None else ""
    judged = f"; {100 * details.baseline:.1f} when the version was judged" if details.baseline is not None else ""
    by = f"by {details.labelled_rows or 0:,} labels{judged}"
    return f"The answers have {100 * grade:.1f} of 100 by {details.criterion}{reach}, {by}."


def alarms(signals: Sequence[DriftSignal]) -> list[Alarm]:
    """Return the alarms among the deciding signals of several checks, the newest first."""
    found = []
    for kind in DriftKind:
        of_kind = sorted((s for s in signals if s.kind is kind), key=seen_at)
        current: list[DriftSignal] = []
        for signal in of_kind:
            if signal.verdict is DriftVerdict.DRIFTED:
                current.append(signal)
            elif current and signal.verdict is DriftVerdict.STEADY:  # a window that says nothing ends no alarm
                found.append(_alarm(kind, current, seen_at(signal)))
                current = []
        if current:
            found.append(_alarm(kind, current, None))
    return sorted(found, key=lambda alarm: alarm.began_at, reverse=True)


def _alarm(kind: DriftKind, signals: Sequence[DriftSignal], ended_at: datetime | None) -> Alarm:
    first = signals[0]
    return Alarm(kind=kind, check_id=first.check_id, began_at=seen_at(first), ended_at=ended_at, windows=len(signals))


def alarm_rows(
    found: Sequence[Alarm], decisions: Mapping[str, RetrainDecision], told: Mapping[str, str] | None = None
) -> list[Row]:
    """Return the alarms as rows, each with what was decided on it and who was told; both are given by check id."""
    return [
        {
            "began (UTC)": f"{alarm.began_at:%Y-%m-%d %H:%M}",
            "changed": KINDS[alarm.kind],
            "until": f"{alarm.ended_at:%Y-%m-%d %H:%M}" if alarm.ended_at else "now",
            "windows": alarm.windows,
            "what followed": _followed(decisions.get(alarm.check_id)),
            "who was told": (told or {}).get(alarm.check_id, "nobody"),
        }
        for alarm in found
    ]


def told_by_check(events: Sequence[Event]) -> dict[str, str]:
    """Return who was told of the alarms of each check, of the events of alarms and of notifications."""
    check_of = {e.id: str(e.after.get("check_id", "")) for e in events if e.action is Action.ALARM}
    found: dict[str, list[str]] = {}
    for event in events:
        if event.action is Action.NOTIFY and event.object_id in check_of:
            names = event.after.get("told")
            reached = [str(name) for name in names] if isinstance(names, list) else []
            found.setdefault(check_of[event.object_id], []).extend(reached or ["nobody was reached"])
    return {check_id: ", ".join(dict.fromkeys(names)) for check_id, names in found.items()}


def _followed(decision: RetrainDecision | None) -> str:
    return f"{decision.verdict}, {decision.status}".replace("_", " ") if decision else "not decided yet"
