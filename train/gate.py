"""The gate: judges a candidate against the live version on the same items: PROMOTE, REJECT or INCONCLUSIVE.

Pure: no clock, no chance, no files. One REJECT rejects; one INCONCLUSIVE leaves it open; only otherwise PROMOTE.

* **Target**: the items drawn from fresh traffic (slice `new`), or all items where there are none. There the candidate
  must win, by an exact test at a constant level: `false_promotion` shared by `candidates`. With the defaults that is
  0.01 / 100 = 0.0001 for each candidate. So of 100 candidates in a row that are no better than the live version even
  one is promoted with a chance of at most 100 * 0.0001 = 1 % (the union bound), on one test set or on many. This holds
  as long as whoever trains the next candidate learns only "not promoted" from a verdict; its numbers can be used to fit
  the test set, which is therefore spent after `max_looks` candidates.
* **Kept**: every other part, every slice in `contracts`, what an earlier version won, and the slices with so many items
  that an equal candidate would pass in all of them together. There it must be shown not to lose more than a margin: a
  one-sided question, a one-sided bound at `confidence` (the two-sided interval at 2 * confidence - 1, Schuirmann 1987).
* **Watched**: every smaller slice. There a significant loss rejects; by chance one does so in at most 1 - confidence.

Where answers are good by degrees (`criterion`), the same is asked of the differences of grades, by tests that hold for
any distribution of them (`verdict/graded.py`). Items without a grade count neither way; too many leave it open.
"""

from collections.abc import Sequence
from dataclasses import replace

from driftwheel.errors import GateError
from driftwheel.records.gate_verdict import GateVerdict, SliceVerdict, Verdict, Watched, Won
from driftwheel.settings.artifact import GateSettings
from driftwheel.text.grades import Criterion
from train.verdict.graded import GradedPairs
from train.verdict.paired import Pairs, mcnemar_p, shared_chance, shared_level
from train.verdict.paired_tables import Fixed, Item, Outcomes, Table, count
from train.verdict.verdict_words import amount, in_words, notes, points

KEPT_SHARE = 0.5
"""Share of what a version won that those after it must be shown to keep, as in non-inferiority trials."""
FIXED_CHANCE = 0.999
"""A slice stays fixed where an equal candidate passes with this chance, so that many of them cost little."""
WORST_SHOWN = 5


def decide(
    settings: GateSettings,
    candidate: Sequence[Item],
    live: Sequence[Item] | None,
    *,
    baseline: float | None = None,
    base: Outcomes | None = None,
    earlier_looks: int = 0,
    fixed: Sequence[Fixed] = (),
    live_version_id: str | None = None,
    criterion: Criterion = "right",
    label_odds: float = 1.0,
) -> GateVerdict:
    """Return the verdict on a candidate beside the live version, both asked the same items.

    Without a live version it must beat `baseline`, the best that the untuned base model reaches by the criterion; with
    `base`, that best prompt's answers, on the items that both were asked.
    `earlier_looks` counts the other candidates that were judged on the same target items.
    `label_odds` says how many times as likely an item got its label where the live version is wrong, at most.
    Raises GateError if the two were not asked the same items.
    """
    if not candidate:
        raise GateError("the candidate was scored on no items: there is nothing to judge; evaluate it again")
    if live is None:
        return _first_verdict(settings, candidate, baseline, criterion, base or {})
    if earlier_looks >= settings.max_looks:
        return _spent(settings, candidate, earlier_looks, live_version_id)
    answers = {item.id: item.outcome(criterion) for item in live}
    if len(answers) != len(live) or answers.keys() != {i.id for i in candidate} or len(answers) != len(candidate):
        raise GateError("candidate and live version were not asked the same items; evaluate both again")
    tables = count(candidate, answers, settings.contracts, fixed, criterion)
    found = _ungraded(settings, tables) or decide_counted(settings, tables, criterion, label_odds)
    found = replace(found, looks=earlier_looks + 1, live_version_id=live_version_id)
    return found if found.p_value is None else replace(found, notes=tuple(notes(found)))


def decide_counted(
    settings: GateSettings, tables: Sequence[Table], criterion: Criterion = "right", label_odds: float = 1.0
) -> GateVerdict:
    """Return the verdict on counted tables, the target's first, but for what is known only of the versions."""
    unmeasured = [table for table in tables if table.role == "fixed" and not table.pairs.items]
    target, level = tables[0].pairs, settings.false_promotion / settings.candidates
    p_value = _gain_p(settings, target, level, label_odds)
    margins = _margins(settings, [table for table in tables[1:] if table not in unmeasured])
    watched = _watch(settings, [table for table, margin in margins if margin is None])
    entries = [_decide_target(settings, target, level, p_value)]
    entries += [_decide_kept(settings, table, margin) for table, margin in margins if margin is not None]
    entries += [entry for entry in watched.worst if entry.verdict == "REJECT"]
    verdict = _worst(entries)
    # With a required gain the smallest visible one lies about as far above it as it would above none.
    seen = target.detectable_gain(level)
    needed = [entry.items_needed for entry in entries if entry.items_needed is not None]
    found = GateVerdict(
        verdict=verdict,
        difference=target.difference,
        interval=entries[0].interval,
        p_value=p_value,
        level=level,
        items=target.items,
        items_needed=max(needed) if verdict == "INCONCLUSIVE" and needed else None,
        detectable_gain=None if seen is None else settings.min_gain + seen,
        confidence=settings.confidence,
        slices=tuple(entries),
        watched=watched,
        fixed=_won(settings, tables) if verdict == "PROMOTE" else (),
        unmeasured=tuple(table.pairs.slice for table in unmeasured),
        max_looks=settings.max_looks,
        criterion=None if criterion == "right" else criterion,
        ungraded=tables[0].ungraded or None,
        label_odds=label_odds if label_odds > 1 else None,
    )
    return replace(found, reason=in_words(found))


def _gain_p(settings: GateSettings, target: Pairs | GradedPairs, level: float, label_odds: float) -> float:
    """Return the target's p-value, also for labels that came more readily where the live version was wrong.

    Grades have no such bound: how much worse an answer without a label is, nobody knows.
    """
    p_value = target.gain_p(settings.min_gain, level)
    is_counted = isinstance(target, Pairs)
    return max(p_value, mcnemar_p(target.gained, target.lost, label_odds)) if is_counted else p_value


def _margins(settings: GateSettings, tables: Sequence[Table]) -> list[tuple[Table, float | None]]:
    """Say how much each slice may lose, or None if its items are too few to show that and it is only watched."""
    allowed = [_allowed(settings, table) for table in tables]
    chances = [
        table.pairs.passing_chance(table.noise, margin, 1 - settings.confidence) if table.pairs.items else 0.0
        for table, margin in zip(tables, allowed, strict=True)
    ]
    enough = shared_chance([c for table, c in zip(tables, chances, strict=True) if table.role == "slice"])
    least = {"part": 0.0, "contract": 0.0, "fixed": FIXED_CHANCE, "slice": enough}
    return [
        (table, margin if chance >= least[table.role] else None)
        for table, margin, chance in zip(tables, allowed, chances, strict=True)
    ]


def _allowed(settings: GateSettings, table: Table) -> float:
    if table.role == "fixed":
        return KEPT_SHARE * table.gain
    return max(settings.max_regression, settings.max_slice_regression if table.role == "slice" else 0.0)


def _decide_target(settings: GateSettings, pairs: Pairs | GradedPairs, level: float, p_value: float) -> SliceVerdict:
    low, high = pairs.interval(settings.confidence)
    goal, needed = settings.min_gain, None
    verdict: Verdict = "INCONCLUSIVE"
    if high < 0:
        verdict, reason = "REJECT", "it is worse than the live version"
    elif high <= goal:
        verdict, reason = "REJECT", f"it does not reach the required gain of {points(goal)}"
    elif pairs.items < settings.min_items:
        reason = f"{pairs.items} items are too few"
    elif p_value <= level:
        verdict, reason = "PROMOTE", "it is better than the live version"
    else:
        more = "better" if goal == 0 else f"better by more than {points(goal)}"
        reason = f"it is not shown to be {more} (p = {p_value:.1g}, each candidate needs {level:.1g})"
    if verdict == "INCONCLUSIVE":
        needed = _needed(pairs, goal, level, settings.min_items)
    return _entry(Table(pairs, "target"), goal, (low, high), verdict, reason, needed)


def _decide_kept(settings: GateSettings, table: Table, margin: float) -> SliceVerdict:
    pairs, limit = table.pairs, f"the allowed loss of {points(margin)}"
    if not pairs.items:
        reason = "the test set has no item of it"
        return _entry(table, -margin, (-1.0, 1.0), "INCONCLUSIVE", reason, settings.min_items)
    low, high = pairs.interval(2 * settings.confidence - 1)
    least, needed = settings.min_items if table.role == "part" else 0, None
    verdict: Verdict = "INCONCLUSIVE"
    # With too few items a single lost one could pass the limit: only a significant loss counts there.
    if high < -margin or (pairs.items >= settings.min_items and pairs.difference < -margin):
        verdict, reason = "REJECT", f"it loses more than {limit}"
    elif pairs.items < least:
        reason = f"{pairs.items} items are too few"
    elif low < -margin:
        reason = f"the interval reaches below {limit}"
    else:
        verdict, reason = "PROMOTE", f"it stays within {limit}"
    if verdict == "INCONCLUSIVE":
        needed = _needed(pairs, -margin, 1 - settings.confidence, least)
    return _entry(table, -margin, (low, high), verdict, reason, needed)


def _needed(pairs: Pairs | GradedPairs, margin: float, level: float, least: int) -> int | None:
    """Return how many items are still missing, at least those up to a minimum; None if more would not settle it."""
    missing, found = least - pairs.items, pairs.needed(margin, level)
    return max(missing, found or 0) if missing > 0 else found


def _watch(settings: GateSettings, tables: Sequence[Table]) -> Watched:
    """Return how many slices are only watched, at which level each, and those that lost most surely."""
    level = shared_level([t.pairs.gained + t.pairs.lost for t in tables], 1 - settings.confidence)
    losing = [(t.pairs.lost_p(), t) for t in tables if t.pairs.items and t.pairs.difference < 0]
    worst = sorted(losing, key=lambda pair: (pair[0], pair[1].pairs.slice))[:WORST_SHOWN]
    return Watched(slices=len(tables), level=level, worst=tuple(_watched(settings, t, p, level) for p, t in worst))


def _watched(settings: GateSettings, table: Table, p_value: float, level: float) -> SliceVerdict:
    pairs = table.pairs
    interval = pairs.interval(settings.confidence)
    if p_value <= level:
        return _entry(table, None, interval, "REJECT", f"it is surely worse than {table.against}", None)
    return _entry(table, None, interval, "PROMOTE", "it has no sure loss", None)


def _won(settings: GateSettings, tables: Sequence[Table]) -> tuple[Won, ...]:
    """Return the target, and the labels that surely gained: what this version fixes and later ones keep fixed."""
    labels = [t for t in tables if t.role == "slice" and "label:" in t.pairs.slice]
    level = shared_level([t.pairs.gained + t.pairs.lost for t in labels], 1 - settings.confidence)
    won = [tables[0], *(t for t in labels if t.pairs.won_p() <= level)]
    return tuple(Won(slice=t.pairs.slice, gain=t.pairs.difference, items=t.pairs.items) for t in won)


def _entry(
    table: Table,
    margin: float | None,
    interval: tuple[float, float],
    verdict: Verdict,
    reason: str,
    needed: int | None,
) -> SliceVerdict:
    pairs = table.pairs
    return SliceVerdict(
        slice=pairs.slice,
        role=table.role if margin is not None else "watched",
        against=table.against,
        items=pairs.items,
        candidate_accuracy=pairs.candidate_mean if pairs.items else None,
        live_accuracy=pairs.other_mean if pairs.items else None,
        difference=pairs.difference if pairs.items else None,
        interval=interval,
        margin=margin,
        gained=pairs.gained,
        lost=pairs.lost,
        items_needed=needed,
        verdict=verdict,
        reason=reason,
    )


def _worst(entries: Sequence[SliceVerdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("REJECT", "INCONCLUSIVE", "PROMOTE")
    return min((entry.verdict for entry in entries), key=order.index)


def _first_verdict(
    settings: GateSettings, candidate: Sequence[Item], baseline: float | None, criterion: Criterion, base: Outcomes
) -> GateVerdict:
    outcomes = [item.outcome(criterion) for item in candidate]
    known = [outcome for outcome in outcomes if outcome is not None]
    missing = len(outcomes) - len(known)
    if not known or missing > settings.max_ungraded * len(outcomes):
        return without_grades(missing, len(outcomes), "all items")
    # The base model is asked a sample, by chance the easier or the harder part of what this one was asked.
    shared = [(own, base.get(item.id)) for item, own in zip(candidate, outcomes, strict=True) if own is not None]
    pairs = [(own, its) for own, its in shared if its is not None]
    if pairs and baseline is not None:
        known, baseline = [own for own, _ in pairs], sum(its for _, its in pairs) / len(pairs)
    mean, floor = sum(known) / len(known), baseline or 0.0
    verdict: Verdict = "PROMOTE" if mean > floor else "REJECT"
    against = f"the base model's {amount(floor, criterion)}"
    against = "nothing (no baseline was measured)" if baseline is None else against
    does = "no version is live and it beats" if verdict == "PROMOTE" else "no version is live, and it does not beat"
    return GateVerdict(
        verdict=verdict,
        reason=f"{does} {against}: {amount(mean, criterion)} on {len(known)} items",
        items=len(known),
        difference=None if baseline is None else mean - baseline,
        criterion=None if criterion == "right" else criterion,
        ungraded=missing or None,
    )


def _ungraded(settings: GateSettings, tables: Sequence[Table]) -> GateVerdict | None:
    """Return the verdict where too many items of the target, a part or a contract have no grade; None otherwise."""
    for table in tables:
        total = table.pairs.items + table.ungraded
        if table.role in ("target", "part", "contract") and table.ungraded > settings.max_ungraded * total:
            return without_grades(table.ungraded, total, f"{table.pairs.slice} items")
    return None


def without_grades(missing: int, total: int, which: str) -> GateVerdict:
    """Return the verdict where the grader left too many answers without a grade."""
    reason = (
        f"{missing} of {total} {which} have no grade, more than gate.max_ungraded allows: the grader was down, slow or "
        "made no sense; see that it answers, and publish again"
    )
    return GateVerdict(verdict="INCONCLUSIVE", reason=reason, items=total - missing, ungraded=missing)


def _spent(settings: GateSettings, candidate: Sequence[Item], looks: int, live: str | None) -> GateVerdict:
    """Return the verdict on a test set that was asked too often; it says nothing more about the items."""
    reason = (
        f"the test set is spent: {looks} candidates were judged on these items and gate.max_looks is "
        f"{settings.max_looks}; build a new dataset from rows that no verdict has spoken of, and judge it there"
    )
    return GateVerdict(verdict="INCONCLUSIVE", reason=reason, items=len(candidate), looks=looks, live_version_id=live)
