"""Suite: a person clicks on the dashboard while others write; each click does what was seen, or nothing.

    python -m tests.suites.dashboard_races [--tries 200]

In Chromium, with a writer that logs requests as fast as a busy gateway. One half chooses lines of the traffic table and
presses Right; the oracle is the ledger: the thumb is on the request whose prompt stood on the page. The other half
presses Promote while a colleague promotes another version at about the same moment: whoever of the two is first, the
colleague, who looked last, has the say.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from dashboard.queries import short
from driftwheel.control import controls
from driftwheel.identity import new_id, utc_now
from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import ModelVersion, Traffic
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.dashboard_browser import Dashboard, chromium_path, dashboard_on, tab_of

ROWS_A_SECOND = 100
BATCH = 10
WAIT_MS = 60_000
FIRST_LINE, LINE = 52, 35
"""In pixels from the top of the table: the middle of its first line, and the height of one."""
CHOICE = 20
"""Where a line of the table is chosen, in pixels from the left."""
LINES = 7
READ_AND_PRESS = """() => {
    for (const request of document.querySelectorAll('[class*="st-key-request-"]')) {
        const right = [...request.querySelectorAll('button')].find(button => button.innerText.includes('Right'));
        const prompt = request.querySelector('[data-testid="stCode"]');
        if (right && prompt) { right.click(); return prompt.innerText; }
    }
}"""
"""At one moment, as the page may be drawn anew between two."""
SEEN_MS = 100
"""The colleague promotes up to so long before or after the click."""


@dataclass
class Result:
    """How often which kind of click was tried, and what went wrong."""

    thumbs: int = 0
    promotions: int = 0
    rows: int = 0
    stored: int = 0
    """Of the thumbs; the others were pressed again on the same request, or on a page that was just being drawn anew."""
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def writing(ledger: Ledger, like: Traffic, result: Result) -> Iterator[None]:
    """Log requests until the block ends, each with a prompt of its own."""
    stopped = threading.Event()

    def write() -> None:
        while not stopped.wait(BATCH / ROWS_A_SECOND):
            at = utc_now()
            for number in range(result.rows, result.rows + BATCH):
                id = new_id("req", number, at)
                ledger.add(replace(like, id=id, created_at=at, prompt=f"live question {number}"))
            result.rows += BATCH

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stopped.set()
        writer.join()


def press_thumbs(tab: Any, shown: Dashboard, tries: int, result: Result) -> None:
    """Choose a line, read its prompt from the page, press Right, and ask the ledger whose thumb that was."""
    rng, ledger = random.Random(1), shown.ledger
    tab.goto(f"{shown.address}/traffic")
    tab.get_by_role("button", name="Right").wait_for(timeout=WAIT_MS)
    line, known = -1, {row.id for row in ledger.find(Feedback)}
    for number in range(tries):
        if number % 4 == 0:
            tab.get_by_role("button", name="Show the newest").click(timeout=WAIT_MS)
        line = (line + rng.randrange(1, LINES)) % LINES
        table = tab.locator('[data-testid="stDataFrame"]').first
        table.click(position={"x": CHOICE, "y": FIRST_LINE + LINE * line})
        tab.wait_for_timeout(rng.randrange(0, 400))  # a person may click before the page has come
        prompt = tab.evaluate(READ_AND_PRESS)
        _settle(tab)
        new = [row.request_id for row in ledger.find(Feedback) if row.id not in known]
        given = {ledger.get(Traffic, id).prompt.strip() for id in new}
        known = {row.id for row in ledger.find(Feedback)}
        result.thumbs, result.stored = result.thumbs + 1, result.stored + len(new)
        if not given <= {prompt.strip()}:
            result.wrong.append(f"thumb {number}: on {sorted(given)}, seen was {prompt!r}")


def _settle(tab: Any) -> None:
    """Wait until the page has nothing left to do: it runs, or waits for a server that is busy, for a second at most."""
    tab.wait_for_timeout(150)
    tab.wait_for_function("!document.querySelector('[data-test-script-state=\"running\"]')", timeout=WAIT_MS)
    tab.wait_for_timeout(100)


def press_promote(tab: Any, shown: Dashboard, tries: int, result: Result) -> None:
    """Press Promote while a colleague promotes another version, a moment before or after the click."""
    rng, ledger, key = random.Random(2), shown.ledger, shown.settings.alias_key
    colleagues = [shown.ids["v1"], _another_version(ledger, shown.ids["v2"])]
    chosen = urlencode({"version": f"v2  {short(shown.ids['v2'])}"})
    for number in range(tries):
        tab.goto(f"{shown.address}/model_versions?{chosen}")
        tab.get_by_role("button", name="Promote", exact=True).click(timeout=WAIT_MS)
        yes = tab.get_by_role("button", name="Yes, promote")
        yes.wait_for(timeout=WAIT_MS)
        theirs, delay = colleagues[(number + 1) % 2], rng.randrange(-SEEN_MS, SEEN_MS)
        move = threading.Timer(max(0, delay) / 1000, controls.promote, (ledger, key, theirs))
        move.start()
        tab.wait_for_timeout(max(0, -delay))
        yes.click()
        tab.get_by_text("promoted meanwhile").or_(tab.get_by_text("is the desired version")).wait_for(timeout=WAIT_MS)
        move.join()
        result.promotions += 1
        result.refused += tab.get_by_text("promoted meanwhile").count()
        alias = get_alias(ledger, *key)
        if alias.version_id != theirs:
            result.wrong.append(f"promotion {number}: fence {alias.fence} overrode a colleague, {delay} ms")


def _another_version(ledger: Ledger, like_id: str) -> str:
    version = replace(ledger.get(ModelVersion, like_id), id="version_4", number=4, manifest_hash="4" * 64)
    ledger.add(version)
    return version.id


def run(tries: int) -> Result:
    """Race so many times each way on a dashboard of its own."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder, dashboard_on(Path(folder)) as shown:
        like = shown.ledger.find(Traffic, limit=2)[1]  # not the first of the seed, which has hostile texts and a label
        with tab_of(chromium_path()) as tab:
            with writing(shown.ledger, like, result):
                press_thumbs(tab, shown, tries, result)
            press_promote(tab, shown, tries, result)
    return result


def main() -> int:
    """Race, and print what was tried and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tries", type=int, default=200, help="clicks of each kind")
    started_at, result = time.monotonic(), run(parser.parse_args().tries)
    seconds = time.monotonic() - started_at
    print(f"{result.thumbs} thumbs ({result.stored} stored) while {result.rows:,} requests came")
    print(f"{result.promotions} promotions against a colleague ({result.refused} refused)")
    print(f"{seconds:.0f} s: {len(result.wrong)} wrong")
    print("\n".join(result.wrong))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
