"""Compares two versions' answers to the same items: table rows, differences by slice, and blind pairs to judge."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from dashboard.charts import Difference
from dashboard.scorecards import Row, share_text
from driftwheel.evidence.bounded_means import mean_interval
from driftwheel.evidence.comparison import Comparison, most_changed
from driftwheel.evidence.intervals import paired_interval, share_interval
from driftwheel.evidence.judgements import agreement, is_model, peoples_word
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Scorecard
from driftwheel.text.answers import parse_object

TO_JUDGE = 20
"""What a person judges in one sitting."""
MOST_SLICES = 30
MOST_LABELS = 80
"""More rows and columns could not be told apart on a screen; the rest is one row and column."""
OTHER = "(other)"

Pairs = Sequence[tuple[Prediction, Prediction]]

PAIRED: dict[str, Callable[[Prediction], bool]] = {
    "accuracy": lambda item: item.is_correct,
    "exact_match": lambda item: item.answer.strip() in {text.strip() for text in item.right_answers},
    "json_validity": lambda item: parse_object(item.answer) is not None,
    "object_match": lambda item: (
        (given := parse_object(item.answer)) is not None
        and given in [parse_object(text) for text in item.right_answers]
    ),
}
"""Shares that each item decides for itself, so that their difference has a paired interval."""


@dataclass(frozen=True)
class Blind:
    """One changed item as a person sees it before she has judged: nobody knows which side is which version."""

    item_id: str
    prompt: str
    expected: str
    left: str
    right: str
    first_is_left: bool

    def preference(self, side: str) -> Preference:
        """Return what `left`, `right`, `both` or `neither` means for the pair of versions."""
        if side in ("left", "right"):
            return Preference.FIRST if (side == "left") == self.first_is_left else Preference.SECOND
        return Preference(side)


def blind(pairs: Pairs, judge: str) -> list[Blind]:
    """Return the most changed items, the sides dealt out by chance for each person and item, the same each time."""
    found = []
    for first, second in most_changed(pairs, TO_JUDGE):
        answers = [first.answer, second.answer]
        first_is_left = random.Random(f"{judge}-{first.id}-{answers}").random() < 0.5
        left, right = answers if first_is_left else answers[::-1]
        found.append(Blind(first.id, first.prompt, first.expected, left, right, first_is_left))
    return found


def measures(comparison: Comparison, names: tuple[str, str]) -> list[dict[str, str]]:
    """Return the two scorecards' numbers side by side, with the difference second minus first."""
    one, other = comparison.scorecards
    rows = []
    for key, value in vars(one).items():
        against = getattr(other, key)
        if _is_number(value) and _is_number(against):
            interval = _paired_interval(key, comparison.pairs)
            shown = [_shown(card, key, is_share=interval is not None) for card in (one, other)]
            rows.append(
                {
                    "measure": key.replace("_", " "),
                    names[0]: shown[0],
                    names[1]: shown[1],
                    "difference": _difference(against - value, is_share=key in one.intervals or interval is not None),
                    "95 % interval": f"{interval[0] * 100:+.1f} to {interval[1] * 100:+.1f}" if interval else "",
                }
            )
    return rows


def _shown(card: Scorecard, key: str, *, is_share: bool) -> str:
    """Return a number of a scorecard in the unit of its difference: a share in percent, with or without interval."""
    value, interval = getattr(card, key), card.intervals.get(key)
    return f"{value:.1%}" if is_share and interval is None else share_text(value, interval)


def _paired_interval(measure: str, pairs: Pairs) -> tuple[float, float] | None:
    """Return the interval of the difference, where every item decides the measure for itself."""
    if pairs and measure == "grade":
        found = _graded("", pairs)
        return found.interval if found else None
    return _paired("", pairs, PAIRED[measure]).interval if pairs and measure in PAIRED else None


def _difference(difference: float, *, is_share: bool) -> str:
    return f"{difference * 100:+.1f} points" if is_share else f"{difference:+.4g}"


def by_slice(pairs: Pairs) -> list[Difference]:
    """Return the difference of accuracies, or of mean grades, for all items first, then for the largest slices."""
    groups: dict[str, list[tuple[Prediction, Prediction]]] = {}
    for pair in pairs:
        for name in _slices(pair[1]):
            groups.setdefault(name, []).append(pair)
    largest = sorted(groups, key=lambda name: (-len(groups[name]), name))[:MOST_SLICES]
    parts = {"all items": pairs, **{name: groups[name] for name in largest}}
    return [_graded(name, part) or _paired(name, part, PAIRED["accuracy"]) for name, part in parts.items() if part]


def confusion_change(pairs: Pairs) -> tuple[list[str], list[list[int]]]:
    """Return labels, and how many items more the second version puts into each cell than the first.

    Labels with most changes are shown where there are too many; the others and made-up ones are one.
    """
    labelled = [(a, b) for a, b in pairs if a.label is not None]
    moved = [(str(a.label), a.predicted, b.predicted) for a, b in labelled if a.predicted != b.predicted]
    changes: dict[str, int] = dict.fromkeys(sorted({str(a.label) for a, _ in labelled}), 0)
    for right, *given in moved:
        for label in changes.keys() & {right, *given}:
            changes[label] += 1
    known = sorted(sorted(changes, key=lambda label: -changes[label])[:MOST_LABELS])
    place = {label: position for position, label in enumerate([*known, OTHER])}
    matrix = [[0] * len(place) for _ in place]
    for right, before, after in moved:
        row = matrix[place.get(right, place[OTHER])]
        row[place.get(before or OTHER, place[OTHER])] -= 1
        row[place.get(after or OTHER, place[OTHER])] += 1
    return list(place), matrix


def tally(judgements: Iterable[Judgement], names: tuple[str, str]) -> list[Row]:
    """Return how often each judge preferred what, and how often a judge model says what people say."""
    by_judge: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_judge.setdefault(judgement.judge, []).append(judgement)
    gold = peoples_word(j for given in by_judge.values() for j in given)
    return [_tally_row(judge, given, gold, names) for judge, given in sorted(by_judge.items())]


def _tally_row(judge: str, given: Sequence[Judgement], gold: Mapping[str, Preference], names: tuple[str, str]) -> Row:
    counts = {preference: sum(j.preference is preference for j in given) for preference in Preference}
    decided = counts[Preference.FIRST] + counts[Preference.SECOND]
    won = counts[Preference.SECOND] / decided if decided else None
    row: Row = {
        "judge": judge,
        f"{names[0]} better": counts[Preference.FIRST],
        f"{names[1]} better": counts[Preference.SECOND],
        "both good": counts[Preference.BOTH],
        "both bad": counts[Preference.NEITHER],
        "unsure": counts[Preference.UNSURE],
        f"{names[1]} wins, of decided": share_text(won, share_interval(counts[Preference.SECOND], decided)),
        "agrees with people": "",
    }
    if given and is_model(given[0]):
        agreed, told = agreement(given, dict(gold))
        share = agreed / told if told else None
        row["agrees with people"] = share_text(share, share_interval(agreed, told)) or "nobody judged these items"
    return row


def _slices(item: Prediction) -> list[str]:
    return list(dict.fromkeys([item.slice, *item.slices]))


def _paired(name: str, pairs: Pairs, is_good: Callable[[Prediction], bool]) -> Difference:
    gained = sum(is_good(b) and not is_good(a) for a, b in pairs)
    lost = sum(is_good(a) and not is_good(b) for a, b in pairs)
    interval = paired_interval(gained, lost, len(pairs))
    return Difference(slice=name, difference=(gained - lost) / len(pairs), interval=interval, items=len(pairs))


def _graded(name: str, pairs: Pairs) -> Difference | None:
    """Return the difference of the mean grades; None where answers are right or wrong, or have no grades."""
    found = [b.grade - a.grade for a, b in pairs if a.grade is not None and b.grade is not None]
    if not found or all(one.grade == float(one.is_correct) for pair in pairs for one in pair):
        return None
    interval = mean_interval(found, low=-1.0)
    return Difference(slice=name, difference=fmean(found), interval=interval, items=len(found))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
