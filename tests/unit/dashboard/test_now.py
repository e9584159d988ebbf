"""The page of the present says first what is wrong, what to do about it, and how long a retrain still takes."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import shared
from driftwheel.control import approvals
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import DecisionStatus, RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import VIEWS, button, texts, view

pytestmark = pytest.mark.usefixtures("shown")


def test_a_waiting_retrain_is_offered_with_a_button(seeded: dict[str, str]) -> None:
    page = view("overview")
    assert "A retrain waits for you." in texts(page)
    assert button(page, "next").label == "Approve or refuse it"
    assert {m.label: m.value for m in page.metric}["Waiting for you"] == "1"


def test_a_way_that_was_pressed_is_taken_though_the_world_has_moved_on(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    app = AppTest.from_file(VIEWS.parent / "app.py", default_timeout=120).run()
    approvals.refuse(ledger, settings.project, seeded["waiting"])
    shared.forget()
    button(app, "next").click().run()
    assert app.title[0].value == "Retrain decisions"


def test_a_dead_gateway_is_the_first_thing_that_one_sees(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    alias = get_alias(ledger, *settings.alias_key)
    ledger.change(alias, observed_at=utc_now() - timedelta(hours=2))
    page = view("overview")
    assert page.text[0].value.startswith("The gateway has not reported for a minute")
    assert {m.label: m.value for m in page.metric}["Gateway reported"] == "2 h ago"
    assert {m.label: m.value for m in page.metric}["Answered last"] == "v1", "nobody answers now"
    assert "v1 answered last." in texts(page)
    assert texts(page).count("The gateway has not reported for a minute") == 2, "on top, and below where it serves"
    assert [c.value for c in page.code] == ["driftwheel up"]


def test_a_running_retrain_says_how_long_it_still_takes(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    waiting = ledger.get(RetrainDecision, seeded["waiting"])
    running = ledger.change(waiting, status=DecisionStatus.RUNNING)
    now = utc_now()
    step = Step(id=f"{running.id}/dataset", project=settings.project, decision_id=running.id, name="dataset", status="")
    begun = replace(step, status="running", created_at=now - timedelta(seconds=20))
    ledger.put_step(begun)
    page = view("overview")
    left = {m.label: m.value for m in page.metric}["Retrain"]
    # The seeded retrain before it took a minute for the dataset, three to train and one to merge.
    said = re.fullmatch(r"(\d) min (\d\d) s left", left)
    assert said is not None
    spent_seconds = (utc_now() - now).total_seconds()  # drawing the page takes a while where the machine is busy
    assert 0 <= 4 * 60 + 40 - (int(said[1]) * 60 + int(said[2])) <= spent_seconds + 1
    assert any(caption.value == "at dataset; estimated" for caption in page.caption)


def test_every_page_says_of_which_project_it_is(seeded: dict[str, str], settings: Settings) -> None:
    assert view("traffic").caption[0].value.startswith(f"Project **{settings.project}**")
