"""Builds a retrain's Dataset: fresh rows of labelled traffic and of files, and replayed rows of the live Dataset."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from driftwheel.errors import DataError
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import AnswerForm, form_of
from driftwheel.text.grades import OF_TEXTS
from train.data.examples import Example
from train.data.live.label_odds import most_label_odds
from train.data.live.said_again import without_said_again
from train.data.live.traffic_rows import ACCEPTED, labelled_rows, one_sided_authors, within_cap
from train.data.live.unverified_rows import Admission
from train.data.live.withdrawn_rows import without_withdrawn
from train.data.splitting.clean_rows import clean, split, stop_at_too_few
from train.data.splitting.dataset_files import read_splits, write
from train.data.splitting.leaks import HeldOut, learned_rows, quarantined
from train.data.splitting.preference_files import deal_preferences
from train.data.splitting.shared_frame import measured
from train.data.splitting.source_rows import new_in_sources
from train.data.splitting.splits import Deal, Splits, TimedSplits, group_numbers
from train.data.splitting.tally import Tally
from train.data.splitting.teachable import teachable
from train.data.tokens.learned_tokens import Learn, each_learned


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
    old = without_withdrawn(settings.dataset, ledger, old, form, tally)
    are_texts = live.scorecard.criterion in OF_TEXTS
    given = _fresh(
        settings.dataset, ledger, settings.serve.alias, live_dataset, form, answers, old, tally, are_texts=are_texts
    )
    fresh = [*given.verified, *given.unverified]
    files = new_in_sources(settings.dataset, ledger, settings.project, settings.weighted_paths(), tally)
    # Where somebody labelled the same question in use, that label stands.
    added = _drop(files.fresh, {e.id for e in fresh}, tally, "new in a file, but labelled in the traffic")
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
    judges = given.judges | {e.id for e in added}
    timed = _split_fresh(settings.dataset, fresh, judges, learned, quarantine, tally, settings.train.learn)
    # Template and length may be others than when the live rows were chosen.
    fits = partial(teachable, settings.base, settings.train, tally=tally, what="replayed")
    rows = round(settings.dataset.replay_share * len(fresh))
    replay = Replay(rows=rows, learn=settings.train.learn, judging=judging, fits=fits)
    _add_replay(settings.dataset, timed.splits, _admitted(given.known, given.admission), replay, tally)
    _drop_late(timed, tally)
    _stop_without_judge(timed.splits, given, tally)
    preferences = None
    if settings.train.objective != "sft":
        preferences = deal_preferences(settings.dataset, files.judged, timed.splits, quarantine, tally)
    return write(settings, ledger, timed, quarantine, tally, origin=decision_id, preferences=preferences)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What people said was right since the live Dataset was built."""

    verified: list[Example]
    """By authors who are trusted with labels."""
    unverified: list[Example]
    """By others, as far as these are admitted."""
    judges: frozenset[str]
    """Ids of the rows that may judge."""
    one_sided: tuple[str, ...]
    """Trusted authors whose labels say only where the model was wrong, or only where it was right."""
    admission: Admission
    known: Splits
    """The live dataset's rows, each as trusted as it is now."""


def _fresh(
    settings: DatasetSettings,
    ledger: Ledger,
    alias: str,
    live_dataset: Dataset,
    form: AnswerForm | None,
    answers: Sequence[str],
    old: Splits,
    tally: Tally,
    *,
    are_texts: bool,
) -> Given:
    """Return the traffic that was labelled since the live dataset was built.

    Where many texts are right, an answer that somebody liked teaches and judges nobody: beside itself the live version
    is without fault, and any other right text is worse.
    """
    since, project = live_dataset.created_at, live_dataset.project
    rows = labelled_rows(settings, ledger, project, alias, since=since, tally=tally, form=form, are_texts=are_texts)
    one_sided = one_sided_authors(settings, rows)  # of all that they said, and not of what a cap leaves
    judging = [row for row in rows if row.is_verified and row.author not in one_sided]
    tally.label_odds = most_label_odds(settings, ledger, AliasKey(project, alias), judging)
    rows, old = without_said_again(settings, rows, old, tally)
    rows = within_cap(settings, rows, tally)
    by_place = {r.row.place: r for r in rows}

    def cleaned(*, is_verified: bool) -> list[Example]:
        taken = [r.row for r in rows if r.is_verified is is_verified]
        return [
            replace(
                e,
                slice="new",
                source=by_place[tally.places[e.id]].source,
                author=None if is_verified else by_place[tally.places[e.id]].author,
            )
            for e in clean(settings, taken, tally, answers)
        ]

    # Apart: where several labelled one question, a trusted label stands, and no other is a further right answer to it.
    verified = cleaned(is_verified=True)
    known = {e.id for e in verified}
    source_of = {id: by_place[tally.places[id]] for id in known}
    judges = frozenset(
        id
        for id, row in source_of.items()
        if row.author not in one_sided and not (are_texts and row.source == ACCEPTED)
    )
    others = _drop(cleaned(is_verified=False), known, tally, "unverified, but a trusted author labelled it too")
    learned = [e for name in ("train", "validation") for e in old[name]]
    proven = [*verified, *(e for e in learned if e.author is None)]
    admission = Admission(settings, proven, [*others, *(e for e in learned if e.author is not None)], tally)
    admitted = admission.admit(others)
    return Given(
        verified=verified,
        unverified=admitted,
        judges=judges,
        one_sided=tuple(one_sided),
        admission=admission,
        known=old,
    )


def _admitted(old: Splits, admission: Admission) -> Splits:
    """Return the live dataset's rows, those without trust only as far as this Dataset's caps let them."""
    without = {name: [e for e in rows if e.author is None] for name, rows in old.items()}
    unverified = {e.id: e for e in old["train"] if e.author is not None}
    return without | {"train": [*without["train"], *admission.admit(unverified.values())]}


def _stop_without_judge(splits: Splits, given: Given, tally: Tally) -> None:
    """Raise DataError if people said what is right, and nobody whose word may judge a candidate.

    What judges must not be what taught it: before anything is trained, because the gate could decide nothing.
    """
    if any(e.slice == "new" for e in splits["test"]):
        return
    dropped = ", ".join(f"{n} {why}" for why, n in tally.dropped.items() if n) or "none dropped"
    needed = (
        "label answers as they come, the right ones too, by a key with the scope `label:trusted` or at the dashboard, "
        "or take labels of others over as yours by `driftwheel feedback confirm`"
    )
    if given.one_sided:
        needed = (
            f"{', '.join(given.one_sided)} only told where the model was wrong, or only where it was right, and such "
            f"items let a candidate win that is no better; {needed}. Where the model never is right, or never wrong, "
            "dataset.trusted_labels: sampled says that nobody chose by the answer"
        )
    raise DataError(f"no fresh row may judge the candidate ({dropped}): {needed}")


def _split_fresh(
    settings: DatasetSettings,
    fresh: list[Example],
    judges: Collection[str],
    learned: Sequence[Example],
    quarantine: Sequence[Example],
    tally: Tally,
    learn: Learn,
) -> TimedSplits:
    """Split fresh rows by whole groups: those like learned rows are learned, those of held-out users stay held out.

    Only rows of `judges` are held out; a group without any of them is learned.
    """
    similarity = settings.near_duplicate_similarity
    groups, tested_groups = group_numbers(fresh, similarity, learn, tally.shared), {e.group for e in quarantine}
    like_learned = {leak.row.id for leak in HeldOut(learned, similarity, shared=tally.shared).leaks(fresh)}
    by_row = list(zip(fresh, groups, strict=True))
    judging = {group for e, group in by_row if e.id in judges}
    seen = {group for e, group in by_row if e.id in like_learned}
    pinned = {group for e, group in by_row if e.group in tested_groups}
    taught = seen | {group for group in groups if group not in judging}
    dealt = [(e, group) for e, group in by_row if group not in taught]
    shares = {"test": settings.fresh_test_share, "validation": settings.validation_share}
    timed = split(settings, Deal([e for e, _ in dealt], [group for _, group in dealt], shares, pinned))
    for name in ("test", "validation"):
        mixed = {e.id for e in timed.splits[name] if e.id not in judges}
        timed.splits[name] = _drop(timed.splits[name], mixed, tally, "may not judge, but belongs to rows that do")
    timed.splits["train"] += [e for e, group in by_row if group in taught - pinned]
    tally.dropped["like both a test row and a training row"] += sum(group in taught & pinned for group in groups)
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
