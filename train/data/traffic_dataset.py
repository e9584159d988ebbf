"""Builds a retrain's Dataset: fresh rows of labelled traffic and of files, and replayed rows of the live Dataset."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from driftwheel.answers import AnswerForm, form_of
from driftwheel.records import Dataset, ModelVersion
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from train.data.clean_rows import clean, split, stop_at_too_few
from train.data.dataset_files import read_splits, write
from train.data.examples import Example
from train.data.leaks import HeldOut, learned_rows, quarantined
from train.data.learned_tokens import Learn, each_learned
from train.data.preference_files import deal_preferences
from train.data.shared_frame import measured
from train.data.source_rows import new_in_sources
from train.data.splits import Deal, Splits, TimedSplits, group_numbers
from train.data.tally import Tally
from train.data.teachable import teachable
from train.data.traffic_rows import labelled_rows


def dataset_from_traffic(settings: Settings, ledger: Ledger, decision_id: str) -> Dataset:
    """Build a retrain's Dataset: fresh rows in slice `new`, replayed rows of the live dataset in `old`.

    Fresh are the requests that were labelled since, and the rows of `dataset.sources` that no version has seen.
    Its test split holds fresh rows and the live dataset's whole test split, so that the gate sees both.
    Raises DataError if there are too few fresh rows.
    """
    found = ledger.find(Dataset, project=settings.project, origin=decision_id, limit=1)
    if found:
        return found[0]
    alias = get_alias(ledger, settings.project, settings.serve.alias)
    live = ledger.get(ModelVersion, alias.version_id)
    live_dataset = ledger.get(Dataset, live.dataset_id)
    old, tally = read_splits(live_dataset), Tally()
    quarantine = quarantined(ledger, settings.project)
    answers = list({e.id: e.answer for e in old["train"] if e.original is None}.values())
    form = live_dataset.report.answer_form or form_of(answers)
    fresh = _fresh(settings.dataset, ledger, settings.serve.alias, live_dataset, form, answers, tally)
    given = new_in_sources(settings.dataset, ledger, settings.project, settings.weighted_paths(), tally)
    # Where somebody labelled the same question in use, that label stands.
    added = _drop(given.fresh, {e.id for e in fresh}, tally, "new in a file, but labelled in the traffic")
    for e in fresh:
        tally.weights.pop(e.id, None)  # a file's weight is not the traffic's
    fresh += [replace(e, slice="new") for e in added]
    tally.shared = measured(e.conversation for e in (*old["train"], *old["test"], *fresh))
    judging = HeldOut(quarantine, settings.dataset.near_duplicate_similarity, shared=tally.shared)
    resembling = {leak.row.id for leak in judging.leaks(fresh, settings.train.learn) if leak.kind != "group"}
    fresh = _drop(fresh, resembling, tally, "quarantined: like a test item")
    # Dropped one by one: a training refuses all for the sake of one, and the next retrain would meet it again.
    fresh = teachable(settings.base, settings.train, fresh, tally)
    stop_at_too_few(settings.dataset, fresh, tally)
    # Where the training goes on from the live weights, it has learned what these have, and is not judged on that.
    learned = each_learned([*old["train"], *old["validation"]], settings.train.learn)
    if settings.train.goes_on:
        learned += learned_rows(ledger, live.run_id)
    timed = _split_fresh(settings.dataset, fresh, learned, quarantine, tally, settings.train.learn)
    # Template and length may be others than when the live rows were chosen.
    fits = partial(teachable, settings.base, settings.train, tally=tally, what="replayed")
    rows = round(settings.dataset.replay_share * len(fresh))
    replay = Replay(rows=rows, learn=settings.train.learn, judging=judging, fits=fits)
    _add_replay(settings.dataset, timed.splits, old, replay, tally)
    _drop_late(timed, tally)
    preferences = None
    if settings.train.objective != "sft":
        preferences = deal_preferences(settings.dataset, given.judged, timed.splits, quarantine, tally)
    return write(settings, ledger, timed, quarantine, tally, origin=decision_id, preferences=preferences)


def _fresh(
    settings: DatasetSettings,
    ledger: Ledger,
    alias: str,
    live_dataset: Dataset,
    form: AnswerForm | None,
    answers: Sequence[str],
    tally: Tally,
) -> list[Example]:
    """Return the traffic that was labelled since the live dataset was built."""
    since = live_dataset.created_at
    rows = labelled_rows(settings, ledger, live_dataset.project, alias, since=since, tally=tally, form=form)
    sources = {r.row.place: r.source for r in rows}
    examples = clean(settings, [r.row for r in rows], tally, answers)
    return [replace(e, slice="new", source=sources[tally.places[e.id]]) for e in examples]


def _split_fresh(
    settings: DatasetSettings,
    fresh: list[Example],
    learned: Sequence[Example],
    quarantine: Sequence[Example],
    tally: Tally,
    learn: Learn,
) -> TimedSplits:
    """Split fresh rows by whole groups: those like learned rows are learned, those of held-out users stay held out."""
    similarity = settings.near_duplicate_similarity
    groups, tested_groups = group_numbers(fresh, similarity, learn, tally.shared), {e.group for e in quarantine}
    like_learned = {leak.row.id for leak in HeldOut(learned, similarity, shared=tally.shared).leaks(fresh)}
    by_row = list(zip(fresh, groups, strict=True))
    seen = {group for e, group in by_row if e.id in like_learned}
    pinned = {group for e, group in by_row if e.group in tested_groups}
    dealt = [(e, group) for e, group in by_row if group not in seen]
    shares = {"test": settings.fresh_test_share, "validation": settings.validation_share}
    timed = split(settings, Deal([e for e, _ in dealt], [group for _, group in dealt], shares, pinned))
    timed.splits["train"] += [e for e, group in by_row if group in seen - pinned]
    tally.dropped["like both a test row and a training row"] += sum(group in seen & pinned for group in groups)
    return timed


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What may be replayed, and how much."""

    rows: int
    """Of each split, at most."""
    learn: Learn
    judging: HeldOut
    """Whatever may not be learned."""
    fits: Callable[[list[Example]], list[Example]]
    """Returns the rows that a training would take."""


def _add_replay(settings: DatasetSettings, splits: Splits, old: Splits, replay: Replay, tally: Tally) -> None:
    """Add a sample of the live dataset's learned rows, and all of its test rows.

    A row that weight or balance repeated there is as many times as likely to be drawn, and is drawn once.
    """
    chance = random.Random(settings.seed)
    fresh = {e.id for rows in splits.values() for e in rows}
    for name in ("train", "validation"):
        # The newest answer to a question stands; the one before it is not learned beside it.
        own = [e for e in old[name] if e.original is None]
        again = {e.id for e in own if e.id.partition("-r")[0] in fresh}  # with all its right answers
        said = _drop(own, again, tally, "in the live dataset, but asked again")
        replayed = list({e.id: e for e in chance.sample(said, len(said))}.values())[: replay.rows]
        replayed = replay.fits(replayed)
        tested = {leak.row.id for leak in replay.judging.leaks(replayed, replay.learn)}
        kept = _drop(replayed, tested, tally, "replayed, but like a test item")
        splits[name] += [replace(e, source="replay", slice="old") for e in kept]
    splits["test"] += [replace(e, slice="old") for e in old["test"]]
    learned = HeldOut(
        each_learned(splits["train"], replay.learn), settings.near_duplicate_similarity, shared=tally.shared
    )
    repeated = {leak.row.id for leak in learned.leaks(splits["validation"])}
    splits["validation"] = _drop(splits["validation"], repeated, tally, "for validation, but like a training row")


def _drop_late(timed: TimedSplits, tally: Tally) -> None:
    """Drop rows that are newer than the cut of the split that judges them, such as new rows like learned ones."""
    for name, judge in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if cut := timed.cuts.get(judge):
            late = {e.id for e in timed.splits[name] if e.time and e.time > cut}
            timed.splits[name] = _drop(timed.splits[name], late, tally, f"dated after the {judge} split's cut")


def _drop(examples: Sequence[Example], ids: set[str], tally: Tally, reason: str) -> list[Example]:
    """Return the examples without those ids; the report counts them if there are any."""
    kept = [e for e in examples if e.id not in ids]
    if len(kept) < len(examples):
        tally.dropped[reason] += len(examples) - len(kept)
    return kept
