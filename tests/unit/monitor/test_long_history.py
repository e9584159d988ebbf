"""A look and a scrape read as much beside a long history as beside a short one; `benchmarks.watching` measures both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest

from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from monitor.check import check, conclude
from monitor.exporter import CheckCounter, LedgerCollector
from monitor.features import FEATURES
from monitor.look import next_look
from monitor.signals import judge_drift
from tests.support import long_history

SHORT, LONG, WINDOW_ROWS = 2_000, 60_000, 100
MOST_STEPS_A_ROW = 0.3
"""A row of history that is looked at costs some ten steps; there is a label every 100 rows, and a decision."""


@contextmanager
def counted(ledger: Ledger) -> Iterator[list[int]]:
    """Count the steps that SQLite's machine takes meanwhile: they say what is read without asking a clock."""
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    def checked_out(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(count, 1)

    sa.event.listen(ledger.engine, "checkout", checked_out)
    yield steps
    sa.event.remove(ledger.engine, "checkout", checked_out)


def steps_of(folder: Path, rows: int) -> dict[str, int]:
    """Return the steps of each kind of look beside a history of so many rows."""
    folder.mkdir()
    path = folder / "driftwheel.yaml"
    path.write_text(
        "project: support\nmodel: {base: base}\ndataset: {sources: [seed.jsonl], label_field: intent}\n"
        f"serve: {{alias: support}}\nmonitor: {{window_rows: {WINDOW_ROWS}, reference_rows: 200}}\n",
        encoding="utf-8",
    )
    settings = load_settings(path, environ={})
    ledger, found = Ledger(settings.database_url), {}
    long_history.fill(settings, ledger, rows, waiting=2 * WINDOW_ROWS - 1)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, CheckCounter()))
    generate_latest(registry)  # the first scrape counts what there is, once
    with counted(ledger) as steps:
        look = next_look(settings, ledger)
        assert look is not None
        conclude(settings, ledger, look, judge_drift(look, FEATURES), {})
    found["full"] = steps[0]
    with counted(ledger) as steps:
        assert check(settings, ledger) is None
    found["idle"] = steps[0]
    with counted(ledger) as steps:
        generate_latest(registry)
    found["scrape"] = steps[0]
    ledger.close()
    return found


def test_what_is_read_does_not_grow_with_the_history(tmp_path: Path) -> None:
    short, long = (steps_of(tmp_path / str(rows), rows) for rows in (SHORT, LONG))
    grown = {name: (long[name] - short[name]) / (LONG - SHORT) for name in short}
    assert all(steps > 100 for steps in short.values()), "nothing was counted"
    assert max(grown.values()) < MOST_STEPS_A_ROW, f"{short} steps became {long}"
    assert long["idle"] < 1.2 * short["idle"]
