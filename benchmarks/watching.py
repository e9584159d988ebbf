"""Benchmark: what a drift check and a scrape of the metrics cost beside a short and a long history.

    python -m benchmarks.watching [--short 1000] [--long 1000000] [--looks 20]
    python -m benchmarks.watching --rows-per-check 200 [--rows 100000]

CPU seconds of this process (`time.process_time`), the median of so many looks, on SQLite in a temporary folder. An idle
look finds one request too few; a full one checks a window of 200 against 600 reference rows, with 400 permutations, and
leaves out the Evidently report. The second line checks a history that nobody has looked at, window after window.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table

from driftwheel.records.nouns import Traffic
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from monitor.check import check, conclude
from monitor.exporter import CheckCounter, LedgerCollector
from monitor.features import FEATURES
from monitor.look import next_look
from monitor.signals import judge_drift
from monitor.watch import keep_what_stays
from tests.support import long_history


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of one look of each kind, and of one scrape."""

    idle: float
    full: float
    scrape: float


def measure(folder: Path, rows: int, looks: int) -> Cost:
    """Fill a ledger with a history of so many rows, and time looks and scrapes."""
    settings = settings_in(folder)
    ledger = Ledger(settings.database_url)
    window_rows = settings.monitor.window_rows
    long_history.fill(settings, ledger, rows + looks * window_rows, waiting=(looks + 1) * window_rows, is_told=True)
    # Each looks at rows that were never seen before: what was computed of the same ones would be found again.
    full = [cpu_seconds(lambda: check_without_report(settings, ledger)) for _ in range(looks + 1)][1:]
    _wait_again(ledger, window_rows - 1)
    idle = [cpu_seconds(lambda: check(settings, ledger)) for _ in range(looks)]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, CheckCounter()))
    generate_latest(registry)  # the first scrape counts what there is, once
    scrapes = [cpu_seconds(lambda: generate_latest(registry)) for _ in range(looks)]
    ledger.close()
    return Cost(idle=statistics.median(idle), full=statistics.median(full), scrape=statistics.median(scrapes))


def settings_in(folder: Path) -> Settings:
    """Write and read the settings of a loop whose storage lies in a folder."""
    path = folder / "driftwheel.yaml"
    path.write_text(
        "project: support\nmodel: {base: base}\ndataset: {sources: [seed.jsonl], label_field: intent}\n"
        "serve: {alias: support}\n",
        encoding="utf-8",
    )
    return load_settings(path, environ={})


def cpu_seconds(do: Callable[[], Any]) -> float:
    """Return the CPU seconds of this process that one call takes."""
    started = time.process_time()
    do()
    return time.process_time() - started


def check_without_report(settings: Settings, ledger: Ledger) -> None:
    """Do all that `check` does, but draw nothing."""
    look = next_look(settings, ledger)
    assert look is not None
    conclude(settings, ledger, look, judge_drift(look, FEATURES), {})


def _wait_again(ledger: Ledger, count: int) -> None:
    """Let the newest requests wait for a window, and no others."""
    table = TABLES[Traffic]
    newest = sa.select(table.c.id).order_by(table.c.created_at.desc()).limit(count)
    with ledger.write() as connection:
        connection.execute(sa.update(table).where(table.c.check_id.is_(None)).values(check_id="check_0"))
        connection.execute(sa.update(table).where(table.c.id.in_(newest)).values(check_id=None))


@dataclass(frozen=True, kw_only=True)
class CatchUp:
    """What it takes to check a whole history, window after window."""

    windows: int
    seconds: float
    """CPU seconds."""
    peak_mib: float
    """The most memory that the process had, its libraries included."""


def catch_up(folder: Path, rows: int, rows_per_check: int) -> CatchUp:
    """Check every window of a history that nobody has looked at, without reports."""
    path = settings_in(folder).path
    sizes = {"window_rows": rows_per_check, "reference_rows": max(600, rows_per_check)}
    settings = load_settings(path, [f"monitor.{name}={size}" for name, size in sizes.items()], environ={})
    ledger = Ledger(settings.database_url)
    long_history.fill(settings, ledger, rows, waiting=rows, is_told=True)
    windows = 0
    started = time.process_time()
    while (look := next_look(settings, ledger)) is not None:
        conclude(settings, ledger, look, judge_drift(look, FEATURES), {})
        windows += 1
    seconds = time.process_time() - started
    ledger.close()
    return CatchUp(windows=windows, seconds=seconds, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Print both costs and their ratio, or what a whole history takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--short", type=int, default=1_000)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--rows-per-check", type=int, metavar="N", help="check a whole history in windows of so many")
    parser.add_argument("--rows", type=int, default=100_000, help="of that history (100000)")
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the table is what is read
    if arguments.rows_per_check:
        print_catch_up(arguments.rows, arguments.rows_per_check)
        return
    keep_what_stays()  # as the monitor does when it starts
    costs = []
    for rows in (arguments.short, arguments.long):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(measure(Path(folder), rows, arguments.looks))
    table = Table("CPU milliseconds", f"{arguments.short:,} rows", f"{arguments.long:,} rows", "ratio")
    for name in ("idle", "full", "scrape"):
        short, long = (getattr(cost, name) for cost in costs)
        table.add_row(name, f"{short * 1000:.1f}", f"{long * 1000:.1f}", f"{long / short:.2f}")
    Console().print(table)


def print_catch_up(rows: int, rows_per_check: int) -> None:
    """Measure in this process, whose memory is what is told."""
    with tempfile.TemporaryDirectory() as folder:
        found = catch_up(Path(folder), rows, rows_per_check)
    table = Table("rows", "windows", "CPU seconds", "ms a window", "peak MiB")
    each = found.seconds / max(1, found.windows) * 1000
    table.add_row(f"{rows:,}", f"{found.windows:,}", f"{found.seconds:.1f}", f"{each:.1f}", f"{found.peak_mib:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
