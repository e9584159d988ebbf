"""Deals the better and worse answers of data files to the splits that their prompts are in.

A pair is also a good and a bad answer, and a good and a bad answer to one prompt are also a pair, so that a file of
either kind trains DPO and KTO. What would judge is not learned from: neither the prompts of test rows nor what is like
them.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import Message
from train.data.examples import Example
from train.data.sources.formats import Row
from train.data.sources.preferences import PreferenceRow
from train.data.splitting.clean_rows import clean
from train.data.splitting.leaks import HeldOut
from train.data.splitting.tally import Tally

LEARNED = ("train", "validation")


@dataclass(frozen=True)
class Judged:
    """One prompt with an answer that is good, one that is bad, or both."""

    example: Example
    """The prompt, with either answer."""
    good: list[Message] | None
    bad: list[Message] | None


def learnable(rows: Sequence[Row], tally: Tally) -> list[Row]:
    """Return the rows whose answers may be learned; the report counts those that are marked as bad."""
    kept = [row for row in rows if row.is_good is not False]
    if len(kept) < len(rows):
        tally.dropped["marked as bad: no answer to learn"] += len(rows) - len(kept)
    return kept


def deal_preferences(
    settings: DatasetSettings,
    rows: Sequence[Row],
    splits: Mapping[str, Sequence[Example]],
    quarantine: Sequence[Example],
    tally: Tally,
) -> dict[str, list[PreferenceRow]]:
    """Return the preference rows by file, such as `dpo_train`; none of a kind that has none for one of its splits."""
    judged = _judged(settings, rows, tally)
    by_split: dict[str, list[Judged]] = {name: [] for name in LEARNED}
    for one, name in zip(judged, _split_names(settings, judged, splits, quarantine, tally), strict=True):
        if name in by_split:
            by_split[name].append(one)
        else:
            tally.dropped["a preference whose prompt is a test row, or like one"] += 1
    files: dict[str, list[PreferenceRow]] = {}
    for name, part in by_split.items():
        files[f"dpo_{name}"] = [
            {"prompt": one.example.prompt, "chosen": one.good, "rejected": one.bad} for one in _pairs(part)
        ]
        files[f"kto_{name}"] = [
            {"prompt": one.example.prompt, "completion": answer, "label": label}
            for one in part
            for answer, label in ((one.good, True), (one.bad, False))
            if answer
        ]
    whole = [kind for kind in ("dpo", "kto") if all(files[f"{kind}_{name}"] for name in LEARNED)]
    for kind in {"dpo", "kto"}.difference(whole):
        if left := sum(len(files[f"{kind}_{name}"]) for name in LEARNED):
            tally.dropped[f"preferences for {kind}, too few to hold some of them out"] += left
    return {name: own for name, own in files.items() if name.split("_")[0] in whole}


def _judged(settings: DatasetSettings, rows: Sequence[Row], tally: Tally) -> list[Judged]:
    """Return the judged rows, cleaned as rows to learn are, each once."""
    found: dict[str, Judged] = {}
    for row in rows:
        if row.rejected is None and row.is_good is None:
            continue
        if row.tools or any("tool_calls" in m for m in (*row.prompt, *row.completion, *(row.rejected or []))):
            tally.dropped["a preference with tools, which dpo and kto cannot learn"] += 1
            continue
        answers = [row.completion, row.rejected] if row.rejected is not None else [row.completion]
        cleaned = [e for a in answers for e in clean(settings, [replace(row, completion=a)], Tally())]
        if len(cleaned) < len(answers):
            tally.dropped["a preference of which a text is empty after cleaning"] += 1
            continue
        if row.rejected is not None and cleaned[0].completion == cleaned[1].completion:
            tally.dropped["a preference whose two answers are alike after cleaning"] += 1
            continue
        good = cleaned[0].completion if row.is_good is not False else None
        one = Judged(cleaned[0], good, cleaned[-1].completion if good is None or row.rejected is not None else None)
        if found.setdefault(f"{one.example.id} {one.good} {one.bad}", one) is not one:
            tally.dropped["a preference that repeats another"] += 1
    return list(found.values())


def _split_names(
    settings: DatasetSettings,
    judged: Sequence[Judged],
    splits: Mapping[str, Sequence[Example]],
    quarantine: Sequence[Example],
    tally: Tally,
) -> list[str]:
    """Return each row's split: that of its prompt, or for a prompt that is nowhere else one drawn by its group."""
    known = {e.id: name for name, examples in splits.items() for e in examples}
    new = [one.example for one in judged if one.example.id not in known]
    tested = HeldOut([*splits["test"], *quarantine], settings.near_duplicate_similarity, shared=tally.shared)
    known |= {leak.row.id: "test" for leak in tested.leaks(new)}
    held_out = HeldOut(splits["validation"], settings.near_duplicate_similarity, shared=tally.shared)
    known |= {leak.row.id: "validation" for leak in held_out.leaks([e for e in new if e.id not in known])}
    for e in new:
        drawn = random.Random(f"{settings.seed} {e.group}").random() < settings.validation_share
        known.setdefault(e.id, "validation" if drawn else "train")
    return [known[one.example.id] for one in judged]


def _pairs(judged: Sequence[Judged]) -> list[Judged]:
    """Return the pairs, also those of a good and a bad answer that stand in different rows; each answer in one pair."""
    whole = [one for one in judged if one.good and one.bad]
    halves: dict[str, tuple[list[Judged], list[Judged]]] = defaultdict(lambda: ([], []))
    for one in judged:
        if one.good is None or one.bad is None:
            halves[one.example.id][one.good is None].append(one)
    made = [
        replace(good, bad=bad.bad) for goods, bads in halves.values() for good, bad in zip(goods, bads, strict=False)
    ]
    return [*whole, *made]
