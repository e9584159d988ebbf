"""What a person may press depends on the key that they have shown, and is looked up when they press."""

from collections.abc import Callable, Iterator

import pytest
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

from dashboard.handover import KEY_VARIABLE, hand_over
from dashboard.sign_in import CALLER_HEADER
from driftwheel.callers.api_keys import create_key, disable_key
from driftwheel.control import controls
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Action, Feedback, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import VIEWS, button, view

SignIn = Callable[..., None]


@pytest.fixture
def signed_in(settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignIn]:
    """Let the pages be asked by the holder of a key with some scopes; the door has told them its name."""
    monkeypatch.setenv(KEY_VARIABLE, "")
    hand_over(settings.path, [], needs_key=True)

    def sign_in(*scopes: Scope) -> None:
        create_key(ledger, settings.project, "ann", scopes)
        told = {CALLER_HEADER: "support/ann"}
        monkeypatch.setattr(ContextProxy, "headers", property(lambda _: told))

    yield sign_in
    hand_over(settings.path, [])


def test_who_has_shown_no_key_sees_nothing(seeded: dict[str, str], signed_in: SignIn) -> None:
    page = view("decisions")
    assert [error.value for error in page.error if "sign in again" in error.value]
    assert not page.exception
    assert len(page.button) == 0


def test_who_is_signed_in_sees_as_whom_and_the_way_out(seeded: dict[str, str], signed_in: SignIn) -> None:
    signed_in(Scope.READ)
    app = AppTest.from_file(VIEWS.parent / "app.py", default_timeout=120).run()
    assert [text.value for text in app.sidebar.text] == ["Signed in: support/ann"]
    assert [part.proto.body for part in app.sidebar.get("html")] == ['<a href="/logout">Sign out</a>']


def test_who_may_see_may_not_press(seeded: dict[str, str], signed_in: SignIn) -> None:
    signed_in(Scope.READ)
    assert all(button(view("decisions"), name).disabled for name in ("pause", "approve", "refuse"))
    assert button(view("traffic"), "thumb_up").disabled


def test_who_may_label_steers_nothing_and_their_words_have_their_name(
    seeded: dict[str, str], signed_in: SignIn, ledger: Ledger
) -> None:
    signed_in(Scope.LABEL)
    assert button(view("decisions"), "pause").disabled
    request_id = ledger.newest(Traffic, "support").id
    page = view("traffic", id=request_id)
    button(page, "thumb_up").click().run()
    said = ledger.find(Feedback, request_id=request_id, limit=1)[0]
    assert (said.author, said.trust) == ("support/ann", Trust.LABEL)


def test_who_may_operate_steers_until_the_key_ends(
    seeded: dict[str, str], signed_in: SignIn, ledger: Ledger, settings: Settings
) -> None:
    signed_in(Scope.OPERATE)
    page = view("decisions")
    button(page, "pause").click().run()
    assert controls.is_paused(ledger, settings.project)
    [event] = events_of(ledger, settings.project, actions=[Action.PAUSE])
    assert event.actor == "support/ann"
    page = view("decisions")
    resume = button(page, "pause")
    disable_key(ledger, settings.project, "ann")
    resume.click().run()
    assert controls.is_paused(ledger, settings.project)
