"""A real browser opens every page of a running dashboard once; hostile text stays text.

Skipped without Chromium, except where the environment says CI.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from dashboard.pages import PAGES
from tests.support.dashboard_browser import FLAGS, chromium_path, dashboard_on

TITLES = {"" if page is PAGES[0] else page.name: page.title for page in PAGES}
QUIET_MS = 1500
NOT_OURS = (
    "/_stcore/",  # Streamlit looks for its base path below a page's own path first
    "/reports/",  # what the sandbox refuses to the hostile report
    "about:srcdoc",
)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard that shows a loop with every noun."""
    with dashboard_on(tmp_path) as shown:
        yield shown.address


def test_every_page_works_in_a_browser_and_runs_no_text_from_outside(address: str) -> None:
    chromium = chromium_path()
    from playwright.sync_api import sync_playwright

    with urlopen(f"{address}/_stcore/health", timeout=60) as answer:
        assert answer.status == 200
    shots = os.environ.get("DRIFTWHEEL_SCREENSHOTS")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 1100})
        errors: list[str] = []
        tab.on("console", lambda m: errors.append(f"{m.location.get('url')} {m.text}") if m.type == "error" else None)
        tab.on("pageerror", lambda e: errors.append(f"{tab.url} {e}"))
        for name, title in TITLES.items():
            tab.goto(f"{address}/{name}")
            tab.get_by_role("heading", name=title, exact=True).wait_for(timeout=60_000)
            tab.wait_for_timeout(QUIET_MS)
            assert tab.locator('[data-testid="stException"]').count() == 0, name
            assert tab.evaluate("window.hacked") is None, name
            assert tab.locator("strong", has_text="bold").count() == 0, f"{name} shows text from outside as Markdown"
            if shots:
                tab.screenshot(path=f"{shots}/{name or 'overview'}.png", full_page=True)
        _check_report(tab, address)
        _check_judging(tab, address, shots)
        browser.close()
    ours = [e for e in errors if not any(word in e for word in NOT_OURS)]
    assert not ours, ours


def _check_report(tab: Any, address: str) -> None:
    tab.goto(f"{address}/drift_signals")
    tab.get_by_text("Evidently's report (uncalibrated)").click()
    frame = tab.frame_locator("iframe[src*='/reports/']")
    frame.get_by_role("heading", name="Evidently says").wait_for(timeout=60_000)
    assert tab.evaluate("window.hacked") is None


def _check_judging(tab: Any, address: str, shots: str | None) -> None:
    """Judge one pair of answers blind; the count and the uncovered row appear."""
    tab.goto(f"{address}/comparison")
    tab.get_by_text("Judge the answers").click()
    name = tab.get_by_label("Your name")
    name.fill("Ada")
    name.press("Enter")
    tab.get_by_role("button", name="Left is better").and_(tab.locator(":not([disabled])")).click()
    tab.get_by_text("Recorded. Left was v").wait_for(timeout=60_000)
    tab.get_by_text("What was said").wait_for(timeout=60_000)
    tab.wait_for_timeout(QUIET_MS)
    assert tab.get_by_role("button", name="Left is better").is_visible(), "the next pair waits on the same page"
    assert tab.locator('[data-testid="stException"]').count() == 0
    assert tab.evaluate("window.hacked") is None
    if shots:
        tab.screenshot(path=f"{shots}/judging.png", full_page=True)
