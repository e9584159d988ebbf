"""Benchmark: what each page of the dashboard costs beside a long log of requests.

    python -m benchmarks.dashboard [--rows 1000000] [--long 100] [--runs 5]

SQLite in a temporary folder, filled in bulk: 100 requests a second, so that the last half hour of a million holds
180,000, and 100 prompts of 2.1 MB on top. Each page runs in this process as Streamlit runs it, without a browser
(AppTest). All in CPU seconds of this process (`time.process_time`), so that a busy machine counts not: `first` until
the page is drawn for the first time, `rerun` of one more run, the median. `shown` are the characters of the texts that
it sends. The overview runs twice: once where it reads, and once within the seconds in which all tabs share what was
read.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from benchmarks.watching import cpu_seconds, settings_in
from dashboard import shared, traffic_search
from dashboard.handover import hand_over
from dashboard.pages import PAGES
from dashboard.traffic_search import TrafficFilter
from driftwheel.identity import utc_now
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from tests.support import long_history

ROWS_A_SECOND = 100
SEEDED_ROWS = 10_000
LONG_CHARACTERS = 2_100_000


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one page cost."""

    name: str
    first_cpu_seconds: float
    rerun_cpu_seconds: float
    shown_characters: int


def fill(settings: Settings, ledger: Ledger, rows: int, long: int) -> None:
    """Write a loop with so many requests, the newest a moment old, and with long prompts above them."""
    seeded = min(rows, SEEDED_ROWS)
    long_history.fill(settings, ledger, seeded, waiting=settings.monitor.window_rows)
    table, step = TABLES[Traffic], 1_000_000 // ROWS_A_SECOND
    newest = round(utc_now().timestamp() * 1_000_000)
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    place = {"id": "id || '_' || k", "created_at": f"{newest} - (k * {seeded} + rowid % {seeded}) * {step}"}
    place["request"] = """'{"model":"support","messages":[{"role":"user","content":' || json_quote(prompt) || '}]}'"""
    values = ", ".join(place.get(column.name, f'"{column.name}"') for column in table.columns)
    copies = max(0, rows // seeded - 1)
    with ledger.write() as connection:
        at = sa.text(f"UPDATE req SET created_at = {newest} - (rowid % {seeded}) * {step}")
        connection.execute(at)
        numbers = f"WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {copies})"
        if copies:
            connection.execute(sa.text(f"INSERT INTO req ({names}) {numbers} SELECT {values} FROM req, n"))
        few = f"WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {long})"
        values = ", ".join(
            {
                "id": "'req_long_' || k",
                "prompt": f"substr(hex(zeroblob({LONG_CHARACTERS // 2})), 1, {LONG_CHARACTERS})",
                "created_at": f"{newest} + k",
            }.get(column.name, f'"{column.name}"')
            for column in table.columns
        )
        one = "(SELECT * FROM req LIMIT 1)"
        connection.execute(sa.text(f"INSERT INTO req ({names}) {few} SELECT {values} FROM {one}, n"))


def measure(runs: int) -> Iterator[Cost]:
    """Run each page so often, and give what it cost."""
    for page in PAGES:
        shared.forget()
        app = AppTest.from_file(page.path, default_timeout=120)
        first = cpu_seconds(app.run)
        assert not app.exception, app.exception
        again = [_rerun(app, is_shared=False) for _ in range(runs)]
        yield _cost(page.name, app, first, again)
        if page is PAGES[0]:
            yield _cost(f"{page.name}, shared", app, 0.0, [_rerun(app, is_shared=True) for _ in range(runs)])


def _rerun(app: AppTest, *, is_shared: bool) -> float:
    if not is_shared:
        shared.forget()
    return cpu_seconds(app.run)


def _cost(name: str, app: AppTest, first: float, again: list[float]) -> Cost:
    texts = [str(element.value) for element in (*app.code, *app.text)]
    cells = [str(cell) for frame in app.dataframe for row in frame.value.to_numpy() for cell in row]
    return Cost(
        name=name,
        first_cpu_seconds=first,
        rerun_cpu_seconds=statistics.median(again),
        shown_characters=sum(map(len, [*texts, *cells])),
    )


def searches(ledger: Ledger, project: str) -> dict[str, float]:
    """Return what a step of each kind of search costs, in CPU seconds."""
    wanted = {
        "newest": TrafficFilter(),
        "a word that many have": TrafficFilter(text="order"),
        "a word that nobody has": TrafficFilter(text="no such word"),
        "failed": TrafficFilter(outcome="failed"),
        "labelled": TrafficFilter(feedback="labelled"),
    }
    return {
        name: cpu_seconds(lambda given=given: traffic_search.search_traffic(ledger, project, given))  # type: ignore[misc]
        for name, given in wanted.items()
    }


def main() -> None:
    """Fill a loop, and print what pages and searches cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--long", type=int, default=100, help="prompts of 2.1 MB")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the table is what is read
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_in(Path(folder))
        ledger = Ledger(settings.database_url)
        filling = cpu_seconds(lambda: fill(settings, ledger, arguments.rows, arguments.long))
        hand_over(settings.path, ())
        pages = Table(f"page, beside {arguments.rows:,} requests", "first, CPU s", "rerun, CPU s", "shown, characters")
        for cost in measure(arguments.runs):
            numbers = f"{cost.first_cpu_seconds:.2f}", f"{cost.rerun_cpu_seconds:.3f}", f"{cost.shown_characters:,}"
            pages.add_row(cost.name, *numbers)
        found = Table("search, one step", "CPU s")
        for name, took in searches(ledger, settings.project).items():
            found.add_row(name, f"{took:.3f}")
        ledger.close()
    Console().print(pages, found)
    print(f"filled in {filling:.0f} CPU s")


if __name__ == "__main__":
    main()
