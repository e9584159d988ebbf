"""Chooses the reference for a version's windows: the items it was judged on, or traffic before its dataset."""

import random
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from driftwheel.errors import ArtifactError, NotFoundError
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import Dataset, ModelVersion, Traffic
from driftwheel.records.predictions import read_predictions
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.grades import Criterion
from driftwheel.traffic.new_normal import NewNormal
from driftwheel.traffic.outcome_query import is_answered
from monitor.observation import Observation, grade_of, observe, without_repeats
from monitor.standard import Baseline, live_criterion
from monitor.windows import UNOBSERVED, Source, answered_in, first_answered

NEW = "new"
"""The slice of a version's test items that came from the traffic it was made for."""
MOST_JUDGED = 3_000
"""More items say hardly more, and computing their signals takes a second in each new process."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What a version's windows are compared with; a kind without rows is not judged yet."""

    input: tuple[Observation, ...]
    output: tuple[Observation, ...]
    judged: tuple[Observation, ...] = ()
    """All items that the version was judged on, up to `MOST_JUDGED`; where they are the reference, a scan uses them."""
    is_accepted: bool = False
    """A person said that these rows are normal, whatever the version learned."""

    @cached_property
    def input_once(self) -> tuple[Observation, ...]:
        """The rows that prompts are compared with, without what one key repeats."""
        return without_repeats(self.input)

    @cached_property
    def output_once(self) -> tuple[Observation, ...]:
        """Those that answers are compared with."""
        return self.input_once if self.output is self.input else without_repeats(self.output)


def reference_of(
    monitor: MonitorSettings,
    ledger: Ledger,
    version: ModelVersion,
    dataset: Dataset,
    source: Source,
    accepted: NewNormal | None = None,
    *,
    seed: int,
) -> Reference:
    """Return what the version's traffic is compared with, given the Dataset that it learned from.

    A version built from files is compared with the test items that it was judged on. A retrained one answers
    traffic that had already changed: its prompts are compared with the last traffic before its dataset was
    built, its answers with its own first window. What a person accepted as normal goes before both.
    """
    if accepted is not None:
        rows = _accepted_rows(ledger, source, tuple(accepted.check_ids))
        return Reference(rows, rows, is_accepted=True)
    count, window_rows = monitor.reference_rows, monitor.window_rows
    if dataset.origin == "files":
        return _drawn(*_predictions_of(version), count, seed)
    before = ledger.find(
        Traffic,
        TABLES[Traffic].c.created_at < dataset.created_at,
        is_answered(),
        project=source.project,
        alias=source.alias,
        limit=count,
        without=UNOBSERVED,
    )
    first = first_answered(ledger, source, window_rows)
    return Reference(
        tuple(observe(row, source.label_field) for row in before), first if len(first) >= window_rows else ()
    )


@lru_cache(maxsize=2)  # closed windows, whose requests do not change any more
def _accepted_rows(ledger: Ledger, source: Source, check_ids: tuple[str, ...]) -> tuple[Observation, ...]:
    """Return the answered requests of windows in their order, the newest of very many."""
    windows = sorted(ledger.find(Window, id=list(check_ids)), key=lambda window: window.number)
    rows = [row for window in windows for row in answered_in(ledger, source, window)]
    return tuple(rows[-MOST_JUDGED:])


def judged_items(version: ModelVersion) -> tuple[Observation, ...]:
    """Read the predictions of the version's evaluation; raises NotFoundError if they are gone."""
    return _items_of(*_predictions_of(version))


def _predictions_of(version: ModelVersion) -> tuple[Path, int]:
    """Return the file of a version's predictions, and when it was changed last."""
    path = Path(version.scorecard.predictions_path or "")
    if not path.is_file():
        raise NotFoundError(f"{version.id} has no predictions at {path}; evaluate and publish it again")
    return path, path.stat().st_mtime_ns


@lru_cache(maxsize=2)  # so that it is the same one at each check, and what is computed of it is found again
def _drawn(path: Path, changed_at: int, count: int, seed: int) -> Reference:
    """Draw the items of an evaluation that a version's windows are compared with."""
    items = _items_of(path, changed_at)
    # The file is ordered by label; its head is no sample of it.
    judged = tuple(random.Random(seed).sample(items, min(max(count, MOST_JUDGED), len(items))))
    return Reference(judged[:count], judged[:count], judged[:MOST_JUDGED])


@lru_cache(maxsize=2)
def _items_of(path: Path, changed_at: int) -> tuple[Observation, ...]:
    """Read an evaluation's items, once for each process; `changed_at` makes another file of it."""
    return tuple(
        Observation(
            id=item.id,
            prompt=item.prompt,
            answer=item.answer,
            label=item.predicted,
            right_label=item.label,
            latency_seconds=item.latency_seconds,
        )
        for item in read_predictions(path.parent)
    )


def baseline_of(version: ModelVersion) -> Baseline:
    """Return what a version's traffic is held against: its new slice where it has one, else all its items.

    Answers that are good by degrees are graded beside one right answer, as they are beside a correction. The
    scorecard's grade is the best of several, and would ring an alarm over traffic that is as it was.
    Raises NotFoundError if answers are good by degrees and those to the test items are gone.
    """
    card = version.scorecard
    criterion = live_criterion(card)
    if criterion is not None:
        grades = judged_grades(version, criterion)
        return Baseline(sum(grades), len(grades), grades)
    facts = card.slices.get(NEW) or card
    # A scorecard keeps shares, and the test needs counts.
    return Baseline(round((facts.accuracy or 0.0) * facts.items), facts.items)


def judged_grades(version: ModelVersion, criterion: Criterion) -> tuple[float, ...]:
    """Return how good the version's answers to test items are, each beside one right answer.

    Of a retrained version those to new items. Raises NotFoundError if they are gone.
    """
    path = Path(version.scorecard.predictions_path or "")
    try:
        return _judged_grades(str(path.parent), criterion)
    except ArtifactError as error:
        raise NotFoundError(f"{version.id} has no predictions at {path}; evaluate and publish it again") from error


# An evaluation never changes, and each look would grade a thousand answers again.
@lru_cache(maxsize=8)
def _judged_grades(folder: str, criterion: Criterion) -> tuple[float, ...]:
    items = read_predictions(Path(folder))
    own = [item for item in items if item.slice == NEW] or items
    found = [0.0 if item.error is not None else grade_of(criterion, item.answer, item.expected) for item in own]
    return tuple(value for value in found if value is not None)
