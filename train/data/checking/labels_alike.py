"""Finds labels that read alike, but are several to a model: they differ by case, space or width of letters."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

SHOWN = 5


def labels_alike(labels: Iterable[str]) -> list[list[str]]:
    """Return the groups of labels that read alike, each in its order of first use."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        groups[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [group for group in groups.values() if len(group) > 1]


def said_alike(groups: list[list[str]]) -> str:
    """Return the first groups for a sentence."""
    shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:SHOWN])
    return shown + ("; ..." if len(groups) > SHOWN else "")
