"""Benchmark: how many of 29 kinds of drift ring an alarm within three windows, and how often steady traffic does.

    python -m benchmarks.drift [--data FOLDER] [--streams 10] [--steady 60] [--only NAME] [--permutations-only]

Each stream has three steady windows of 200 requests and then three of one kind of drift (a ramp has ten). The verdicts
are those of `driftwheel monitor` with its default settings; an alarm is `drifted`, and a kind is found where at least
eight of ten streams ring one. Steady streams have six windows, in which the same intent and key come again with
probability rho; any alarm in them is a false one. The texts are the demo's world, or with FOLDER Banking77's train.csv
and test.csv (`text,category`). The model is a linear classifier that learned the training texts.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.drift_kinds import KINDS, STEADY, Kind, TextSet
from benchmarks.drift_streams import Stream, judged, windows
from benchmarks.drift_texts import banking77, world
from driftwheel.evidence.intervals import share_interval
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Window
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict
from driftwheel.settings.watching import MonitorSettings
from monitor.background import LearnedText, background_of
from monitor.features import FEATURES
from monitor.known_rows import Rows, Standard, Standards, rows_of
from monitor.look import Look
from monitor.observation import Observation, Sample
from monitor.pools import HORIZONS, tallied
from monitor.references import MOST_JUDGED, Reference
from monitor.row_signals import signalled
from monitor.signals import drift_signals, judge_drift, over_in_a_row
from monitor.what_was_said import Evidence
from monitor.windows import Source
from tests.support.versions import published_version

RHOS = (0.0, 0.6, 0.8)
FOUND = 0.8
"""Share of the streams with an alarm from which on a kind counts as found."""
DRIFTS = (DriftKind.INPUT, DriftKind.OUTPUT)
VERSION = published_version("version", project="bench")
SOURCE = Source(project="bench", alias="bench", version_id="version", label_field=None)


@dataclass(frozen=True)
class Watched:
    """A version's reference, as the monitor has it."""

    reference: Reference
    standards: Standards
    monitor: MonitorSettings


def watched(texts: TextSet, random: np.random.Generator, *, has_scan: bool) -> Watched:
    """Prepare what the windows of a stream are held against."""
    monitor, items = MonitorSettings(), tuple(judged(texts, random, MOST_JUDGED))
    standard = None
    if has_scan:
        background = background_of([LearnedText(text, label, label) for text, label in texts.learned])
        found = signalled(items, background)
        standard = Standard(background, found, tallied(found, is_in_time=False), background)
    first = items[: monitor.reference_rows]
    return Watched(Reference(first, first, items), Standards(standard, standard), monitor)


def looks(of: Watched, stream: Iterator[list[Observation]]) -> Iterator[list[DriftSignal]]:
    """Judge the windows of a stream one after another, as the monitor does."""
    before: Window | None = None
    earlier: tuple[Rows, ...] = ()
    for number, rows in enumerate(stream):
        look = Look(
            project="bench",
            monitor=of.monitor,
            version=VERSION,
            source=SOURCE,
            reference=of.reference,
            first=(),
            sample=Sample(tuple(rows)),
            check_id=f"check_{number}",
            evidence=Evidence((), False),
            before=before,
            standards=of.standards,
            earlier=earlier[-max(HORIZONS) + 1 :],
            report_path=Path("none"),
        )
        signals = [s for s in drift_signals(look, judge_drift(look, FEATURES), {}) if s.feature == DECIDING]
        yield signals
        before = Window(
            id=look.check_id,
            project="bench",
            version_id="version",
            number=number + 1,
            rows=len(rows),
            created_at=utc_now(),
            over_in_a_row=over_in_a_row(look, signals),
        )
        earlier = (*earlier, rows_of(rows))


@dataclass(frozen=True, kw_only=True)
class Count:
    """Alarms in the streams of one kind."""

    streams: int
    prompts: int = 0
    answers: int = 0
    any: int = 0
    early: int = 0
    """Streams with an alarm in a steady window before."""

    @property
    def is_found(self) -> bool:
        """Whether enough streams have an alarm."""
        return self.any >= FOUND * self.streams


def count(of: Watched, texts: TextSet, kind: Kind, stream: Stream, seeds: list[list[int]]) -> Count:
    """Watch streams of one kind, and count those with an alarm."""
    found = Count(streams=len(seeds))
    for seed in seeds:
        random = np.random.default_rng(seed)
        alarms = {kind: [False, False] for kind in DRIFTS}
        for number, signals in enumerate(looks(of, windows(texts, kind, stream, random))):
            for signal in signals:
                if signal.verdict is DriftVerdict.DRIFTED:
                    alarms[signal.kind][number >= stream.before] = True
        late = [alarms[kind][True] for kind in DRIFTS]
        found = replace(
            found,
            prompts=found.prompts + late[0],
            answers=found.answers + late[1],
            any=found.any + any(late),
            early=found.early + any(alarms[kind][False] for kind in DRIFTS),
        )
    return found


def grid(of: Watched, texts: TextSet, streams: int, seed: int, only: str) -> Table:
    """Return the table of all kinds."""
    table = Table(f"{texts.name}: kind", "prompts", "answers", "either", "before it", "found")
    kinds = [kind for kind in KINDS if only in kind.name]
    total = early = 0
    for number, kind in enumerate(kinds):
        seeds = [[seed, number, stream] for stream in range(streams)]
        got = count(of, texts, kind, Stream(), seeds)
        total, early = total + got.is_found, early + got.early
        shown = [str(n) for n in (got.prompts, got.answers, f"{got.any} of {streams}", got.early)]
        table.add_row(kind.name, *shown, "yes" if got.is_found else "")
    table.add_row("all", "", "", "", str(early), f"{total} of {len(kinds)}")
    return table


def steady(of: Watched, texts: TextSet, streams: int, seed: int) -> Table:
    """Return the table of false alarms."""
    table = Table(f"{texts.name}: same intent again", "streams with an alarm", "95 %")
    for number, again in enumerate(RHOS):
        seeds = [[seed, 1000 + number, stream] for stream in range(streams)]
        got = count(of, texts, STEADY, Stream(before=0, after=6, again=again), seeds)
        low, high = share_interval(got.any, streams) or (0.0, 1.0)
        table.add_row(f"{again:.0%}", f"{got.any} of {streams}", f"{low:.1%} to {high:.1%}")
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a folder with Banking77")
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--steady", type=int, default=60)
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--permutations-only", action="store_true", help="without the scan, as before it")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    has_scan, console = not arguments.permutations_only, Console(width=120)
    texts = banking77(arguments.data) if arguments.data else world()
    of = watched(texts, np.random.default_rng(arguments.seed), has_scan=has_scan)
    if arguments.streams:
        console.print(grid(of, texts, arguments.streams, arguments.seed, arguments.only))
    if arguments.steady:
        console.print(steady(of, texts, arguments.steady, arguments.seed))


if __name__ == "__main__":
    main()
