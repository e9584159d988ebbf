"""People are told of each event once, who was told is written down, and a password is shown to nobody."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from driftwheel.control.notifying import addresses, message, send, send_test, shown, tell_new
from driftwheel.errors import ConfigError
from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Action, Cause
from driftwheel.settings.settings import Settings
from driftwheel.store.events import events_of, note
from driftwheel.store.ledger import Ledger

ADA = Cause(actor="person:Ada", reason="the shop opens")
CLOSED = "json://user:hunter2@127.0.0.1:1/hook"


class Inbox:
    """Where messages arrive, and at which address."""

    def __init__(self, port: int) -> None:
        self.address, self.came = f"json://127.0.0.1:{port}/hook", list[dict[str, str]]()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            box.came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    box = Inbox(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield box
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_new_event_is_told_once_and_it_is_written_down_to_whom(
    inbox: Inbox, settings: Settings, ledger: Ledger
) -> None:
    project = settings.project
    note(ledger, Cause(actor="process:monitor"), Action.ALARM, project, "check_old", after={"kind": "input"})
    assert tell_new(ledger, project, [inbox.address], utc_now() + timedelta(seconds=1)) == []
    later = utc_now() + timedelta(seconds=1)
    note(ledger, Cause(actor="process:monitor"), Action.ALARM, project, "check_1", after={"kind": "quality"})
    ledger.set_switch(project, "notified", json.dumps({"at": (later - timedelta(seconds=9)).isoformat(), "told": []}))
    first = tell_new(ledger, project, [inbox.address], later)
    assert "check_1" in {event.object_id for event in first}
    assert tell_new(ledger, project, [inbox.address], later) == []
    assert len(inbox.came) == len(first)
    assert inbox.came[-1]["title"] == f"{project}: Drift alarm"
    assert "kind: quality" in inbox.came[-1]["message"]
    told = events_of(ledger, project, actions=[Action.NOTIFY])
    assert told[0].after["told"] == [inbox.address]
    assert told[0].object_id == first[-1].id


def test_what_happened_before_anybody_asked_is_not_told(inbox: Inbox, settings: Settings, ledger: Ledger) -> None:
    note(ledger, ADA, Action.ASK_RETRAIN, settings.project, "decision_1")
    assert tell_new(ledger, settings.project, [inbox.address], utc_now() + timedelta(seconds=1)) == []
    assert inbox.came == []


def test_an_event_of_a_slow_transaction_is_told_though_a_later_one_was(
    inbox: Inbox, settings: Settings, ledger: Ledger
) -> None:
    project = settings.project
    tell_new(ledger, project, [inbox.address], utc_now() - timedelta(minutes=30))
    note(ledger, ADA, Action.ALARM, project, "check_late")
    assert len(tell_new(ledger, project, [inbox.address], utc_now())) == 1
    (event,) = events_of(ledger, project, actions=[Action.ALARM])
    earlier = event.created_at - timedelta(minutes=2)
    with ledger.write() as connection:
        ledger.add_with(connection, [type(event)(**{**vars(event), "id": "event_slow", "created_at": earlier})])
    assert [e.id for e in tell_new(ledger, project, [inbox.address], utc_now())] == ["event_slow"]


def test_what_happens_after_the_clock_was_set_back_is_told_and_nothing_twice(
    inbox: Inbox, settings: Settings, ledger: Ledger
) -> None:
    project, ahead = settings.project, utc_now() + timedelta(hours=1)
    tell_new(ledger, project, [inbox.address], ahead - timedelta(minutes=1))
    before = note(ledger, ADA, Action.ALARM, project, "check_before")
    with ledger.write() as connection:
        facts = {**vars(before), "id": "event_ahead", "object_id": "check_ahead", "created_at": ahead}
        ledger.add_with(connection, [type(before)(**facts)])
    assert "event_ahead" in [e.id for e in tell_new(ledger, project, [inbox.address], ahead)]
    after = note(ledger, ADA, Action.ALARM, project, "check_after")
    told = [e.id for e in tell_new(ledger, project, [inbox.address], utc_now())]
    assert after.id in told
    assert "event_ahead" not in told
    assert tell_new(ledger, project, [inbox.address], utc_now()) == []


def test_an_address_that_is_down_is_said_and_the_others_are_reached(
    inbox: Inbox, settings: Settings, ledger: Ledger
) -> None:
    up, down, wrong = send([inbox.address, CLOSED, "nonsense"], "t", "x", tries=1)
    assert up.problem is None
    assert down.problem == "it was not taken, in 1 tries"
    assert wrong.problem == "this is no address that Apprise knows"
    assert "hunter2" not in repr([up, down, wrong, shown(CLOSED)])


def test_a_message_holds_what_was_done_and_by_whom(settings: Settings, ledger: Ledger) -> None:
    event = note(ledger, ADA, Action.ASK_RETRAIN, settings.project, "decision_1", after={"trigger": "button"})
    said = message(event)
    assert said.startswith("decision_1\ntrigger: button\nthe shop opens\n")
    assert "by person:Ada" in said


def test_a_test_without_addresses_says_where_they_belong() -> None:
    assert addresses({"DRIFTWHEEL_NOTIFY": " a://x\n b://y "}) == ("a://x", "b://y")
    with pytest.raises(ConfigError, match="put addresses into DRIFTWHEEL_NOTIFY"):
        send_test("support", addresses({}))
