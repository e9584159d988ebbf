"""Words a verdict's numbers as one line for a person."""

from driftwheel.records.gate_verdict import GateVerdict, SliceVerdict

MOST_NAMED = 4
"""Slices that one line names; the verdict holds them all."""


def in_words(verdict: GateVerdict) -> str:
    """Return why the verdict is what it is: the slices that decided, and what this number of items can show."""
    deciding = [entry for entry in verdict.slices if entry.verdict == verdict.verdict]
    if verdict.verdict == "PROMOTE":
        named = [entry for entry in deciding if entry.role in ("target", "part")]
        kept, watched = len(deciding) - len(named), verdict.watched.slices if verdict.watched else 0
        rest = f"of its slices {kept} are shown to be kept, {watched} smaller ones show no sure loss"
        rest = rest if kept or watched else ""
    else:
        named = deciding[:MOST_NAMED]
        rest = f"and {len(deciding) - len(named)} slices more" if len(deciding) > len(named) else ""
    is_open = verdict.verdict == verdict.slices[0].verdict == "INCONCLUSIVE"
    sight = _sight(verdict) if is_open else ""
    return "; ".join(filter(None, [*(_entry_in_words(entry, verdict.criterion) for entry in named), rest, sight]))


def notes(verdict: GateVerdict) -> list[str]:
    """Return what else a reader must know: the error rate that decided, what the items can show, what stays fixed."""
    needed = f" About {verdict.items_needed} more items would settle it." if verdict.items_needed else ""
    found = [
        f"Decided at the level {verdict.level:.1g}, p = {verdict.p_value:.1g}; the intervals are read at "
        f"{verdict.confidence:.0%}. With a chance of 80 % {_sight(verdict)}.{needed} This was look "
        f"{verdict.looks} of {verdict.max_looks} at these items."
    ]
    if verdict.label_odds:
        found.append(
            "Of the answers that who labels could have judged some have no label: a wrong one was up to "
            f"{verdict.label_odds:.1f} times as likely to get one as a right one, and the gain had to be beyond that. "
            "Label the others too, or say with dataset.trusted_labels: sampled that nobody chose by the answer."
        )
    if verdict.fixed:
        won = ", ".join(f"{entry.slice} ({points(entry.gain, signed=True)})" for entry in verdict.fixed)
        found.append(f"Fixed by this version, and to stay fixed: {won}.")
    if verdict.unmeasured:
        found.append(f"Fixed, but the test set holds none of the items: {', '.join(verdict.unmeasured)}.")
    return found


def amount(outcome: float, criterion: str | None) -> str:
    """Return a share of right answers in percent, or a mean grade of 100 with its criterion."""
    return f"{outcome:.1%}" if criterion in (None, "right") else f"{100 * outcome:.1f} of 100 ({criterion})"


def _short(outcome: float, criterion: str | None) -> str:
    return amount(outcome, criterion).partition(" ")[0]


def points(share: float, *, signed: bool = False) -> str:
    """Return a share of right answers, or a difference of mean grades, in points of a hundred."""
    return f"{100 * share:{'+' if signed else ''}.1f} points"


def _sight(verdict: GateVerdict) -> str:
    if verdict.detectable_gain is None:
        return f"{verdict.items} items are too few to see any gain"
    return f"the smallest gain that {verdict.items} items could show is {points(verdict.detectable_gain)}"


def _entry_in_words(entry: SliceVerdict, criterion: str | None) -> str:
    mine, theirs = entry.candidate_accuracy, entry.live_accuracy
    if entry.interval is None or entry.difference is None or mine is None or theirs is None:
        return f"on {entry.slice} {entry.reason}"
    low, high = entry.interval
    more = f"; about {entry.items_needed} more items would settle it" if entry.items_needed else ""
    interval = f"[{points(low, signed=True)}, {points(high, signed=True)}]"
    return (
        f"on {entry.items} {entry.slice} items {entry.reason}: {_short(mine, criterion)} against "
        f"{amount(theirs, criterion)}, {points(entry.difference, signed=True)} {interval}{more}"
    )
