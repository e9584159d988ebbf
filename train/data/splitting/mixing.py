"""Augments the training split: rows drawn by weight, labels balanced, rewordings and typos added.

All of it comes after the split and touches training rows alone, so that no copy can stand on both sides.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import with_text
from train.data.examples import Example
from train.data.splitting.leaks import HeldOut
from train.data.splitting.paraphrases import paraphrases
from train.data.splitting.same_prompts import every_answer
from train.data.splitting.splits import Splits, TimedSplits
from train.data.splitting.tally import Tally
from train.data.splitting.teachable import teachable
from train.data.tokens.learned_tokens import Learn

REPEATED_AT_MOST = 10
"""A row that is seen more often than this is learned by heart."""


def mix(settings: Settings, timed: TimedSplits, quarantine: Sequence[Example], tally: Tally) -> Splits:
    """Return the splits with the training rows mixed as the settings say; the report counts what was done."""
    dataset, chance = settings.dataset, random.Random(settings.dataset.seed)
    train = weighted(timed.splits["train"], tally.weights, chance)
    tally.mixed["repeated or left out by weight"] = len(train) - len(timed.splits["train"])
    drawn, train = len(train), every_answer(train, dataset.label_field)
    tally.mixed["further right answers"] = len(train) - drawn
    if dataset.balance == "oversample":
        balanced = oversampled(train, chance)
        tally.mixed["repeated for balance"] = len(balanced) - len(train)
        train = balanced
    # What is made obeys what rows of files obey: a rewording may be longer than its original.
    learn, fits = settings.train.learn, partial(teachable, settings.base, settings.train, tally=tally)
    judging = [*timed.splits["test"], *timed.splits["validation"], *quarantine]
    if dataset.paraphrase_url:
        reworded = paraphrases(settings, train, tally)
        made = _unlike(dataset, judging, reworded, tally, "paraphrase: like a judging row", learn)
        made = fits(made, what="paraphrase")
        tally.mixed["made in other words"] = len(made)
        train = train + made
    if dataset.augmented_share:
        made = copies(train, round(len(train) * dataset.augmented_share / (1 - dataset.augmented_share)), chance)
        made = _unlike(dataset, judging, made, tally, "made with typos or other casing: like a judging row", learn)
        made = fits(made, what="made with typos or other casing")
        tally.mixed["made with typos or other casing"] = len(made)
        train = train + made
    return {**timed.splits, "train": train}


def _unlike(
    settings: DatasetSettings,
    judging: Sequence[Example],
    made: Sequence[Example],
    tally: Tally,
    reason: str,
    learn: Learn,
) -> list[Example]:
    """Return the made rows that resemble no judging row; the report counts the others."""
    similarity = settings.near_duplicate_similarity
    leaks = (
        {leak.row.id for leak in HeldOut(judging, similarity, shared=tally.shared).leaks(made, learn)}
        if made
        else set()
    )
    tally.dropped[reason] += len(leaks)
    return [e for e in made if e.id not in leaks]


def weighted(rows: Sequence[Example], weights: dict[str, float], chance: random.Random) -> list[Example]:
    """Return each row as often as its weight says; the fraction of a weight is drawn by chance."""
    drawn = []
    for row in rows:
        weight = weights.get(row.id, 1.0)
        drawn += [row] * (int(weight) + (weight % 1 > 0 and chance.random() < weight % 1))
    return drawn


def oversampled(rows: Sequence[Example], chance: random.Random) -> list[Example]:
    """Return the rows, those of rarer labels repeated until each label has as many rows as the commonest."""
    counts = Counter(row.label for row in rows)
    if len(counts) * 5 >= len(rows):
        return list(rows)  # free text: each answer is its own label
    most, added = max(counts.values()), list[Example]()
    for label, count in counts.items():
        own = [row for row in rows if row.label == label]
        missing = min(most - count, (REPEATED_AT_MOST - 1) * count)
        added += own * (missing // count) + chance.sample(own, missing % count)
    return [*rows, *added]


def copies(rows: Sequence[Example], wanted: int, chance: random.Random) -> list[Example]:
    """Return that many copies of rows, their last message with a typo or in another case, each naming its original."""
    originals = list({row.id: row for row in rows if row.original is None and row.ends_with_user}.values())
    made = []
    for number in range(wanted if originals else 0):
        row = originals[number % len(originals)] if wanted >= len(originals) else chance.choice(originals)
        said = with_text(row.prompt[-1], _worded_otherwise(row.prompt[-1]["content"] or "", chance))
        if said != row.prompt[-1]:
            made.append(
                replace(
                    row, id=f"{row.id}-{number}", prompt=[*row.prompt[:-1], said], source="augmented", original=row.id
                )
            )
    return made


def _worded_otherwise(text: str, chance: random.Random) -> str:
    letters = [n for n, c in enumerate(text) if c.isalpha()]
    if not letters:
        return text
    place = chance.choice(letters)
    before, letter, after = text[:place], text[place], text[place + 1 :]
    return chance.choice(
        [
            text.lower(),
            text.upper(),
            text[:1].upper() + text[1:],
            before + after,
            before + letter * 2 + after,
            before + after[:1] + letter + after[1:],
        ]
    )
