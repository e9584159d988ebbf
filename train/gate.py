"""A candidate's and the live version's answers to the same items become PROMOTE, REJECT or INCONCLUSIVE.

Pure: no clock, no chance, no files. The target is the items drawn from fresh traffic (slice `new`), or all
items where there are none; there the candidate must win. Every other slice is a contract: there it must not
lose more than `max_regression`. One REJECT rejects; one INCONCLUSIVE leaves it open; only otherwise PROMOTE.

Intervals of the paired difference are Tango's score intervals (T. Tango, Statistics in Medicine 17, 1998,
891-908), which hold their level with few or no discordant pairs; at a difference of zero they agree with
McNemar's test. The target's interval is two-sided, so that a candidate that is no better is promoted in at
most half of 1 - confidence of cases. A contract is a one-sided question and gets a one-sided bound at
`confidence`: its interval is the two-sided one at 2 * confidence - 1 (Schuirmann 1987).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from driftwheel.config import GateSettings
from driftwheel.errors import GateError

Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]

TARGET = "new"
EVERYTHING = "all"
POWER = 0.8
"""Chance with which the stated number of items would settle it, if the measured difference is the true one."""


@dataclass(frozen=True)
class Item:
    """One test item and whether the answer to it was right."""

    id: str
    slice: str
    is_correct: bool


@dataclass(frozen=True)
class Pairs:
    """The four-fold table of one slice."""

    slice: str
    both: int
    gained: int
    """Right by the candidate, wrong by the live version."""
    lost: int
    """The reverse."""
    neither: int

    @property
    def items(self) -> int:
        return self.both + self.gained + self.lost + self.neither

    @property
    def difference(self) -> float:
        return (self.gained - self.lost) / self.items


def judge(
    candidate: Sequence[Item],
    live: Sequence[Item] | None,
    settings: GateSettings,
    *,
    baseline_accuracy: float | None = None,
    earlier_looks: int = 0,
    live_version_id: str | None = None,
) -> dict[str, Any]:
    """Judge a candidate against the live version on the same items; the result is a version's verdict.

    Without a live version it must beat `baseline_accuracy`, the best that the untuned base model reaches.
    `earlier_looks` counts verdicts already based on the same target items: the k-th look gets a k-th of the
    allowed error (Bonferroni), because candidates chosen by looking at a test set fit that test set.
    Raises GateError if the two were not asked the same items.
    """
    if not candidate:
        raise GateError("the candidate was scored on no items: there is nothing to judge; evaluate it again")
    if live is None:
        return _first_verdict(candidate, baseline_accuracy)
    target, *contracts = _slices(candidate, live)
    confidence = 1 - (1 - settings.confidence) / (1 + earlier_looks)
    entries = [_judge_target(target, settings, confidence)]
    entries += [_judge_contract(pairs, settings) for pairs in contracts]
    verdict, reason = _settle(entries)
    needed = [entry["items_needed"] for entry in entries if entry["items_needed"] is not None]
    return {
        "verdict": verdict,
        "reason": reason,
        "difference": target.difference,
        "interval": entries[0]["interval"],
        "p_value": mcnemar_p(target.gained, target.lost),
        "items": target.items,
        "items_needed": max(needed) if verdict == "INCONCLUSIVE" and needed else None,
        "confidence": confidence,
        "slices": entries,
        "live_version_id": live_version_id,
    }


def paired_interval(gained: int, lost: int, items: int, confidence: float) -> tuple[float, float]:
    """Return Tango's score interval of the difference of two paired proportions."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (gained - lost) / items
    return _root(gained, lost, items, z, -1.0, centre), _root(gained, lost, items, -z, centre, 1.0)


def mcnemar_p(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: the discordant pairs as fair coin tosses."""
    tosses, fewer = gained + lost, min(gained, lost)
    tail: float = sum(math.comb(tosses, k) for k in range(fewer + 1)) / 2**tosses
    return min(1.0, 2 * tail)


def items_needed(pairs: Pairs, margin: float, level: float) -> int | None:
    """Return how many more items would lift the interval's lower end over `margin`; None if none would.

    `level` is one-sided. The measured difference and discordance are taken as true (Connor 1987, Biometrics 43, 207).
    """
    distance = pairs.difference - margin
    if distance <= 0:
        return None
    normal = NormalDist()
    # One imagined discordant pair: no discordance seen does not mean that there is none.
    discordance = max(pairs.gained + pairs.lost, 1) / pairs.items
    variance = max(discordance - pairs.difference**2, 0.0)
    total = (normal.inv_cdf(1 - level) + normal.inv_cdf(POWER)) ** 2 * variance / distance**2
    return max(1, math.ceil(total) - pairs.items)


def _root(gained: int, lost: int, items: int, goal: float, low: float, high: float) -> float:
    """Return the difference at which Tango's statistic, which falls as the difference grows, equals `goal`."""
    for _ in range(60):
        middle = (low + high) / 2
        if _tango(gained, lost, items, middle) > goal:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _tango(gained: int, lost: int, items: int, difference: float) -> float:
    a = 2 * items
    b = -gained - lost + (2 * items - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    lost_share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = items * (2 * lost_share + difference * (1 - difference))
    distance = gained - lost - items * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def _slices(candidate: Sequence[Item], live: Sequence[Item]) -> list[Pairs]:
    """Return the target's pairs first, then every other slice's by name."""
    other = {item.id: item for item in live}
    if len(other) != len(live) or other.keys() != {item.id for item in candidate} or len(other) != len(candidate):
        raise GateError("candidate and live version were not asked the same items; evaluate both again")
    names = sorted({item.slice for item in candidate})
    if TARGET not in names:
        groups = {EVERYTHING: list(candidate)} | {n: _of(candidate, n) for n in names if len(names) > 1}
    else:
        groups = {TARGET: _of(candidate, TARGET)} | {n: _of(candidate, n) for n in names if n != TARGET}
    return [_pairs(name, [(i.is_correct, other[i.id].is_correct) for i in items]) for name, items in groups.items()]


def _of(items: Sequence[Item], name: str) -> list[Item]:
    return [item for item in items if item.slice == name]


def _pairs(name: str, outcomes: list[tuple[bool, bool]]) -> Pairs:
    both, gained, lost, neither = (
        outcomes.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    return Pairs(name, both, gained, lost, neither)


def _judge_target(pairs: Pairs, settings: GateSettings, confidence: float) -> dict[str, Any]:
    low, high = paired_interval(pairs.gained, pairs.lost, pairs.items, confidence)
    goal = f"the required gain of {_points(settings.min_gain)}"
    missing = settings.min_items - pairs.items
    needed = items_needed(pairs, settings.min_gain, (1 - confidence) / 2)
    if high < 0:
        return _entry(pairs, low, high, "REJECT", "it is worse than the live version", None)
    if high <= settings.min_gain:
        return _entry(pairs, low, high, "REJECT", f"it does not reach {goal}", None)
    if missing > 0:
        return _entry(pairs, low, high, "INCONCLUSIVE", f"{pairs.items} items are too few", max(missing, needed or 0))
    if low > settings.min_gain:
        return _entry(pairs, low, high, "PROMOTE", "it is better than the live version", None)
    return _entry(pairs, low, high, "INCONCLUSIVE", f"the interval does not lie above {goal}", needed)


def _judge_contract(pairs: Pairs, settings: GateSettings) -> dict[str, Any]:
    low, high = paired_interval(pairs.gained, pairs.lost, pairs.items, 2 * settings.confidence - 1)
    margin = -settings.max_regression
    limit = f"the allowed loss of {_points(settings.max_regression)}"
    missing = settings.min_items - pairs.items
    needed = items_needed(pairs, margin, 1 - settings.confidence)
    # With too few items a single lost one could pass the limit: only a significant loss counts there.
    if high < margin or (missing <= 0 and pairs.difference < margin):
        return _entry(pairs, low, high, "REJECT", f"it loses more than {limit}", None)
    if missing > 0:
        return _entry(pairs, low, high, "INCONCLUSIVE", f"{pairs.items} items are too few", max(missing, needed or 0))
    if low < margin:
        return _entry(pairs, low, high, "INCONCLUSIVE", f"the interval reaches below {limit}", needed)
    return _entry(pairs, low, high, "PROMOTE", f"it stays within {limit}", None)


def _entry(pairs: Pairs, low: float, high: float, verdict: Verdict, reason: str, needed: int | None) -> dict[str, Any]:
    return {
        "slice": pairs.slice,
        "items": pairs.items,
        "candidate_accuracy": (pairs.both + pairs.gained) / pairs.items,
        "live_accuracy": (pairs.both + pairs.lost) / pairs.items,
        "difference": pairs.difference,
        "interval": [low, high],
        "gained": pairs.gained,
        "lost": pairs.lost,
        "items_needed": needed,
        "verdict": verdict,
        "reason": reason,
    }


def _settle(entries: list[dict[str, Any]]) -> tuple[Verdict, str]:
    order: tuple[Verdict, ...] = ("REJECT", "INCONCLUSIVE", "PROMOTE")
    verdict = min((entry["verdict"] for entry in entries), key=order.index)
    return verdict, "; ".join(_in_words(entry) for entry in entries if entry["verdict"] == verdict)


def _in_words(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    more = f"; about {entry['items_needed']} more items would settle it" if entry["items_needed"] else ""
    return (
        f"on {entry['items']} {entry['slice']} items {entry['reason']}: {entry['candidate_accuracy']:.1%} against "
        f"{entry['live_accuracy']:.1%}, {_points(entry['difference'], signed=True)} "
        f"[{_points(low, signed=True)}, {_points(high, signed=True)}]{more}"
    )


def _points(share: float, *, signed: bool = False) -> str:
    return f"{100 * share:{'+' if signed else ''}.1f} points"


def _first_verdict(candidate: Sequence[Item], baseline_accuracy: float | None) -> dict[str, Any]:
    accuracy = sum(item.is_correct for item in candidate) / len(candidate)
    floor = baseline_accuracy or 0.0
    verdict: Verdict = "PROMOTE" if accuracy > floor else "REJECT"
    against = "nothing (no baseline was measured)" if baseline_accuracy is None else f"the base model's {floor:.1%}"
    does = "no version is live and it beats" if verdict == "PROMOTE" else "no version is live, and it does not beat"
    return {
        "verdict": verdict,
        "reason": f"{does} {against}: {accuracy:.1%} on {len(candidate)} items",
        "difference": None if baseline_accuracy is None else accuracy - baseline_accuracy,
        "interval": None,
        "p_value": None,
        "items": len(candidate),
        "items_needed": None,
        "confidence": None,
        "slices": [],
        "live_version_id": None,
    }
