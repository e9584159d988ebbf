"""What was done is shown in plain words with who did it, and can be filtered by an address."""

from datetime import timedelta

import pytest

from dashboard import event_rows
from driftwheel.records.by_whom import Action, Cause
from driftwheel.settings.settings import Settings
from driftwheel.store.events import note
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import texts, view

HOSTILE = "<script>window.hacked = 1</script> **bold**"


@pytest.fixture
def done(seeded: dict[str, str], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    project, ada = settings.project, Cause(actor="person:Ada", reason=HOSTILE)
    moved = {"version_id": seeded["v1"]}, {"version_id": seeded["v2"]}
    note(ledger, ada, Action.PROMOTE, project, "support/support", before=moved[0], after=moved[1])
    note(
        ledger,
        Cause(actor="process:monitor"),
        Action.ALARM,
        project,
        "check_5",
        after={"kind": "input", "score": 4.3154551},
    )
    return seeded


def test_every_action_has_its_words_and_its_group() -> None:
    assert set(event_rows.WORDS) == set(Action)
    groups = [*event_rows.GROUPS, event_rows.OTHER]
    grouped = [action for group in groups for action in event_rows.actions_of(group)]
    assert sorted(grouped) == sorted(Action), "each is found under exactly one"


def test_events_are_shown_newest_first_in_plain_words(done: dict[str, str]) -> None:
    page = view("history")
    assert not page.exception
    rows = page.dataframe[0].value.to_dict("records")
    assert [(row["who"], row["what"]) for row in rows] == [
        ("the monitor", "an alarm rang"),
        ("Ada", "made a version the desired one"),
    ]
    assert [row["change"] for row in rows] == ["kind input, score 4.32", "version id v1 to v2"]
    assert rows[1]["why"] == HOSTILE, "in a table, where it is text"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"what": "alarms and who was told"}, 1),
        ({"who": "person:Ada"}, 1),
        ({"when": "the last hour"}, 2),
        ({"to": "check_5"}, 1),
    ],
)
def test_a_filter_in_the_address_is_obeyed(query: dict[str, str], count: int, done: dict[str, str]) -> None:
    assert len(view("history", **query).dataframe[0].value) == count


def test_a_filter_that_matches_nothing_says_so(done: dict[str, str]) -> None:
    assert "Nothing of that kind was done." in texts(view("history", to="nobody"))


def test_a_span_reaches_back_from_now(settings: Settings, ledger: Ledger) -> None:
    event = note(ledger, Cause(actor="a"), Action.PAUSE, settings.project, "paused")
    at = event_rows.since_of("the last day", event.created_at)
    assert at == event.created_at - timedelta(days=1)
    assert event_rows.since_of(None, event.created_at) is None
