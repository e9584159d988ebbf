"""Fifty messages are labelled with at most sixty key presses, each the one that stood on the page."""

from pathlib import Path

from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import Traffic
from tests.support.dashboard_browser import chromium_path, dashboard_on, tab_of

MESSAGES, MOST_PRESSES = 50, 60
WAIT_MS = 60_000
PROMPT = '[class*="st-key-label-"] [data-testid="stCode"]'
KEYS = '[class*="st-key-accept-"] button, [class*="st-key-label_2-"] button'
ONE_MESSAGE = f"""() => document.querySelectorAll('{PROMPT}').length === 1
  && document.querySelectorAll('{KEYS}').length === 2
  && document.querySelector('[data-test-script-state="notRunning"]') !== null"""
"""While the next one is drawn, both are there for a moment; and a browser may have a message before it has its buttons,
whose code it fetches by itself, so that a key pressed at once would be heard by nobody."""
OTHER_MESSAGE = f"before => [...document.querySelectorAll('{PROMPT}')].every(code => code.innerText !== before)"


def test_fifty_messages_take_at_most_sixty_key_presses(tmp_path: Path) -> None:
    expected: dict[str, str] = {}
    presses = 0
    with dashboard_on(tmp_path) as shown, tab_of(chromium_path()) as tab:
        tab.goto(f"{shown.address}/label")
        for number in range(MESSAGES):
            tab.wait_for_function(ONE_MESSAGE, timeout=WAIT_MS)
            prompt = tab.locator(PROMPT).inner_text()
            # Hostile answers hold no label, so that there is nothing to accept: the second key is another label.
            key, label = ("2", "refund") if "hacked" in prompt or number % 10 == 9 else ("a", "card_lost")
            tab.keyboard.press(key)
            presses += 1
            expected[prompt.strip()] = label
            tab.wait_for_function(OTHER_MESSAGE, arg=prompt, timeout=WAIT_MS)
        given = {shown.ledger.get(Traffic, word.request_id).prompt: word.value for word in shown.ledger.find(Feedback)}
        assert tab.evaluate("window.hacked") is None
    assert given == expected
    assert presses <= MOST_PRESSES
