"""What people come for, each with its clicks counted: in one browser, on one loop, one job after the other."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftwheel.records.nouns import DecisionStatus, RetrainDecision, Traffic
from tests.support.dashboard_browser import Dashboard, chromium_path, dashboard_on, tab_of

WAIT_MS = 30_000
NARROW = ("", "drift_signals", "operate", "label")
SIDEWAYS = "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth; }"


class Person:
    """Somebody with a mouse, whose clicks are counted."""

    def __init__(self, shown: Dashboard, tab: Any) -> None:
        self.shown, self.tab, self.clicks = shown, tab, 0

    def opens(self, page: str, title: str) -> None:
        """Begin a job on a page."""
        self.tab.goto(f"{self.shown.address}/{page}")
        self.sees_title(title)
        self.clicks = 0

    def sees_title(self, title: str) -> None:
        self.tab.get_by_role("heading", name=title, exact=True).wait_for(timeout=WAIT_MS)

    def sees(self, text: str) -> None:
        self.tab.get_by_text(text).first.wait_for(timeout=WAIT_MS)

    def presses(self, name: str) -> None:
        self.clicks += 1
        self.tab.get_by_role("button", name=name, exact=True).first.click(timeout=WAIT_MS)

    def unfolds(self, text: str) -> None:
        self.clicks += 1
        self.tab.get_by_text(text, exact=True).first.click(timeout=WAIT_MS)

    def types(self, label: str, text: str) -> None:
        field = self.tab.get_by_label(label)
        field.fill(text)
        field.press("Enter")


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What arrives where people are told of alarms."""
    came: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("DRIFTWHEEL_NOTIFY", f"json://127.0.0.1:{server.server_port}/hook")
    yield came
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_job_takes_few_clicks(tmp_path: Path, inbox: list[dict[str, str]]) -> None:
    with dashboard_on(tmp_path) as shown, tab_of(chromium_path()) as tab:
        ada = Person(shown, tab)
        settles_what_waits(ada)
        starts_a_retrain(ada)
        labels_what_a_search_finds(ada)
        brings_labels_in(ada, tmp_path)
        tries_the_notifications(ada, inbox)
        reads_on_a_phone(ada)
        assert tab.evaluate("window.hacked") is None


def settles_what_waits(ada: Person) -> None:
    ada.opens("", "Now")
    ada.sees("A retrain waits for you.")
    ada.presses("Approve or refuse it")
    ada.sees_title("Retrain decisions")
    ada.presses("Refuse")
    ada.sees("Refused; nothing follows.")
    assert ada.clicks == 2
    decision = ada.shown.ledger.get(RetrainDecision, ada.shown.ids["waiting"])
    assert decision.status is DecisionStatus.REFUSED


def starts_a_retrain(ada: Person) -> None:
    ada.opens("training_runs", "Train and retrain")
    if not ada.tab.get_by_role("button", name="Start a retrain").first.is_visible():
        ada.unfolds("Start a retrain")  # folded where something stands against it
    ada.types("Why it is needed all the same", "the shop opens tomorrow")
    ada.sees("It waits for the worker")
    assert ada.clicks <= 1
    (open_one,) = ada.shown.ledger.find(RetrainDecision, status=DecisionStatus.OPEN)
    assert open_one.reasons[0] == "the shop opens tomorrow"


def labels_what_a_search_finds(ada: Person) -> None:
    ada.opens("label", "Label")
    ada.types("Only requests with this text", "my card number 14")
    ada.sees("One label for all")
    field = ada.tab.get_by_role("combobox", name="One label for all").or_(ada.tab.get_by_label("One label for all"))
    field.first.click()
    ada.clicks += 1
    ada.tab.get_by_role("option", name="refund", exact=True).click()
    ada.clicks += 1
    ada.presses("Label all")
    ada.sees("requests have the label refund.")
    assert ada.clicks == 3
    labelled = ada.shown.ledger.find(Traffic, label="refund")
    assert labelled
    assert {row.prompt[:17] for row in labelled} == {"my card number 14"}


def brings_labels_in(ada: Person, folder: Path) -> None:
    rows = [row for row in ada.shown.ledger.find(Traffic, label=None, status_code=200) if not row.is_partial][:2]
    good, bad = folder / "good.csv", folder / "bad.csv"
    good.write_text("id,label\n" + "".join(f"{row.id},delivery\n" for row in rows), encoding="utf-8")
    bad.write_text("id,label\nreq_nobody,delivery\n", encoding="utf-8")
    ada.opens("label", "Label")
    ada.unfolds("Labels as files")
    for file, said in ((bad, "nothing was stored, because the file has 1 ids"), (good, "2 labels are stored")):
        ada.tab.locator('input[type="file"]').set_input_files(str(file))
        ada.sees(file.name)
        ada.presses("Take the labels in")
        ada.sees(said)
    assert ada.clicks <= 3
    assert [ada.shown.ledger.get(Traffic, row.id).label for row in rows] == ["delivery"] * 2


def tries_the_notifications(ada: Person, inbox: list[dict[str, str]]) -> None:
    ada.opens("operate", "Operate")
    ada.presses("Send a test")
    ada.sees("it arrived")
    assert ada.clicks == 1
    assert [message["title"] for message in inbox] == ["support: a test"]


def reads_on_a_phone(ada: Person) -> None:
    ada.tab.set_viewport_size({"width": 390, "height": 844})
    for page in NARROW:
        ada.tab.goto(f"{ada.shown.address}/{page}")
        ada.tab.locator("h1").first.wait_for(timeout=WAIT_MS)
        ada.tab.wait_for_timeout(300)
        assert ada.tab.evaluate(SIDEWAYS) == 0, f"{page} is wider than a phone"
