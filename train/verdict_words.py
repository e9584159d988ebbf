"""A verdict's numbers become one line for a person."""

from collections.abc import Mapping
from typing import Any

MOST_NAMED = 4
"""Slices that one line names; the verdict holds them all."""


def in_words(verdict: Mapping[str, Any]) -> str:
    """Return why the verdict is what it is: the slices that decided, and what this number of items can show."""
    deciding = [entry for entry in verdict["slices"] if entry["verdict"] == verdict["verdict"]]
    if verdict["verdict"] == "PROMOTE":
        named = [entry for entry in deciding if entry["role"] in ("target", "part")]
        kept, watched = len(deciding) - len(named), verdict["watched"]["slices"]
        rest = f"of its slices {kept} are shown to be kept, {watched} smaller ones show no sure loss"
        rest = rest if kept or watched else ""
    else:
        named = deciding[:MOST_NAMED]
        rest = f"and {len(deciding) - len(named)} slices more" if len(deciding) > len(named) else ""
    sight = _sight(verdict) if verdict["verdict"] == "INCONCLUSIVE" else ""
    return "; ".join(filter(None, [*(_entry_in_words(entry) for entry in named), rest, sight]))


def points(share: float, *, signed: bool = False) -> str:
    """Return a share of correct answers in points."""
    return f"{100 * share:{'+' if signed else ''}.1f} points"


def _sight(verdict: Mapping[str, Any]) -> str:
    if verdict["detectable_gain"] is None:
        return f"{verdict['items']} items are too few to see any gain"
    return f"the smallest gain that {verdict['items']} items could show is {points(verdict['detectable_gain'])}"


def _entry_in_words(entry: Mapping[str, Any]) -> str:
    if not entry["items"]:
        return f"on {entry['slice']} {entry['reason']}"
    low, high = entry["interval"]
    more = f"; about {entry['items_needed']} more items would settle it" if entry["items_needed"] else ""
    return (
        f"on {entry['items']} {entry['slice']} items {entry['reason']}: {entry['candidate_accuracy']:.1%} against "
        f"{entry['live_accuracy']:.1%}{' in ' + entry['against'] if entry['role'] == 'fixed' else ''}, "
        f"{points(entry['difference'], signed=True)} [{points(low, signed=True)}, {points(high, signed=True)}]{more}"
    )
