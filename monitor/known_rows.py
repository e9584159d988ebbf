"""What a version's windows are held against: training texts and reference rows, with their signals computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import Dataset
from driftwheel.store.ledger import Ledger
from monitor.background import Background, LearnedText, background_of, nothing_of
from monitor.bursts import design_effects
from monitor.observation import Observation, without_repeats
from monitor.pools import HORIZONS, Tallied, tallied
from monitor.references import Reference
from monitor.row_signals import Signalled, signalled
from monitor.training_texts import learned_by
from monitor.windows import Source, answered_in, earlier_windows

FEWEST_JUDGED = 50
"""Reference rows, with fewer of which nothing can be told by a scan."""


@dataclass(frozen=True)
class Rows:
    """Observations that are the same if they say the same, so that what was computed of them can be kept."""

    said: tuple[tuple[str, str, str | None], ...]
    observations: tuple[Observation, ...] = field(compare=False)


@dataclass(frozen=True)
class Closed:
    """A closed window, whose rows do not change any more."""

    url: str
    window_id: str
    ledger: Ledger = field(compare=False)
    source: Source = field(compare=False)
    window: Window = field(compare=False)
    rows: Rows | None = field(default=None, compare=False)
    """Its answered requests, where they are in memory still."""


@dataclass(frozen=True, eq=False)
class Standard:
    """Training texts and reference rows of one kind of drift."""

    background: Background
    """What the signals of rows are looked up in."""
    signalled: Signalled
    reference: Tallied
    learned: Background
    """What is normal beside the reference; nothing where a person accepted the reference as the new normal."""


@dataclass(frozen=True)
class Standards:
    """Those of prompts and of answers; None where there are too few rows to judge by."""

    input: Standard | None
    output: Standard | None


def standards_of(dataset: Dataset, reference: Reference) -> Standards:
    """Return what prompts and answers of a version that learned from a Dataset are held against."""
    return _standards_of(learned_by(dataset), reference)


@lru_cache(maxsize=2)  # a reference of judged items is the same one at each check, and has a thousand rows
def _standards_of(background: Background | None, reference: Reference) -> Standards:
    if reference.judged:
        both = standard_of(rows_of(reference.judged), background)
        return Standards(both, both)
    if reference.is_accepted:
        both = standard_of(rows_of(reference.input), background, is_accepted=True)
        return Standards(both, both)
    return Standards(
        standard_of(rows_of(reference.input), background), standard_of(rows_of(reference.output), background)
    )


def rows_of(observations: Sequence[Observation]) -> Rows:
    """Return observations without what one key repeats word for word."""
    kept = without_repeats(observations)
    return Rows(tuple((row.prompt, row.answer, row.label) for row in kept), kept)


@lru_cache(maxsize=4)
def standard_of(rows: Rows, background: Background | None, *, is_accepted: bool = False) -> Standard | None:
    """Return what prompts or answers are held against; None where there are too few rows, or half of too few."""
    observations = rows.observations
    if background is None:
        # Half of the reference stands for what was learned; it must not be among the rows that are compared with it.
        half = [LearnedText(row.prompt, row.answer, row.label) for row in observations[::2]]
        background, observations = background_of(half), observations[1::2]
    if len(observations) < FEWEST_JUDGED:
        return None
    found = signalled(observations, background)
    reference = tallied(found, is_in_time=all(row.at is not None for row in observations))
    if not is_accepted:
        return Standard(background, found, reference, background)
    # The training texts say how often a word was normal, and no more how often it is. Without them the reference stands
    # alone, and it is traffic: its bursts count against it as those of a window do.
    effect = max(1.0, design_effects(reference.bursts)[0])
    return Standard(background, found, replace(reference, effect=effect), nothing_of(background))


@lru_cache(maxsize=2 * max(HORIZONS) + 2)
def window_of(rows: Rows, standard: Standard) -> Tallied:
    """Return a window's rows with their signals and counts."""
    return tallied(signalled(rows.observations, standard.background, standard.signalled))


def windows_before(ledger: Ledger, source: Source, before: Window | None, *, after: int = 0) -> tuple[Rows, ...]:
    """Return the rows of the windows before this one, as many as are pooled with it, the oldest first.

    Those up to the number `after` are left out: they are what is compared with, or of a time before it.
    """
    found = [w for w in earlier_windows(ledger, source, before, max(HORIZONS) - 1) if w.number > after]
    return tuple(_answered(Closed(ledger.url, window.id, ledger, source, window)) for window in found)


@lru_cache(maxsize=2 * max(HORIZONS))
def _answered(closed: Closed) -> Rows:
    return closed.rows or rows_of(answered_in(closed.ledger, closed.source, closed.window))


def keep_answered(ledger: Ledger, source: Source, window: Window, answered: Sequence[Observation]) -> None:
    """Remember the answered requests of a window that was just closed: the next looks compare with them, too."""
    _answered(Closed(ledger.url, window.id, ledger, source, window, rows_of(answered)))
