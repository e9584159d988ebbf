"""Between the drawing of a page and the click on it the world moves on: nothing is done but what the person saw."""

from dataclasses import replace
from datetime import timedelta

import pytest

from driftwheel.control import approvals, controls
from driftwheel.evidence.judgements import record_judgement
from driftwheel.identity import new_id, utc_now
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.nouns import Alias, DecisionStatus, ModelVersion, RetrainDecision, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import button, texts, view
from tests.support.retrains import ask_for_retrain

pytestmark = pytest.mark.usefixtures("shown")


def alias_of(settings: Settings, ledger: Ledger) -> Alias:
    return get_alias(ledger, *settings.alias_key)


def arrive(ledger: Ledger, like: Traffic) -> Traffic:
    """Write a newer request."""
    at = utc_now() + timedelta(seconds=1)
    row = replace(
        like,
        id=new_id("req", ["newer", at], at),
        created_at=at,
        prompt="another question",
        label=None,
        label_source=None,
        thumb=None,
        feedback_at=None,
    )
    ledger.add(row)
    return row


@pytest.mark.parametrize(("key", "thumb"), [("thumb_up", 1), ("thumb_down", -1)])
def test_a_thumb_is_of_the_request_that_was_drawn(
    key: str, thumb: int, seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    drawn = ledger.find(Traffic, project=settings.project, limit=1)[0]
    page = view("traffic")
    newer = arrive(ledger, drawn)
    button(page, key).click().run()
    assert ledger.get(Traffic, newer.id).feedback_at is None
    assert ledger.get(Traffic, drawn.id).thumb == thumb
    assert drawn.id in texts(page), "the page says of which request"


def test_a_correction_is_of_the_request_that_was_drawn(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    drawn = ledger.find(Traffic, project=settings.project, limit=1)[0]
    page = view("traffic")
    newer = arrive(ledger, drawn)
    page.text_area[0].input('{"intent": "refund"}')
    button(page, "correct").click().run()
    assert ledger.get(Traffic, newer.id).label is None
    assert ledger.get(Traffic, drawn.id).label == '{"intent": "refund"}'


def test_the_table_stays_while_it_is_read_and_says_what_is_newer(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    page = view("traffic")
    before = page.dataframe[0].value
    arrive(ledger, ledger.find(Traffic, project=settings.project, limit=1)[0])
    page.run()
    assert page.dataframe[0].value.equals(before)
    assert any(c.value == "1 newer" for c in page.caption)
    button(page, "show_newest").click().run()
    assert page.dataframe[0].value["prompt"][0] == "another question"


def test_an_old_page_does_not_override_a_promotion(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    other = replace(ledger.get(ModelVersion, seeded["v2"]), id="version_other", number=4, manifest_hash="4" * 64)
    ledger.add(other)
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    controls.promote(ledger, settings.alias_key, other.id)
    button(page, "promote").click().run()
    assert alias_of(settings, ledger).version_id == other.id
    assert "v4 was promoted meanwhile" in texts(page)
    assert "look again" in texts(page)


def test_an_old_page_does_not_override_the_first_promotion(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    text = settings.path.read_text(encoding="utf-8").replace("alias: support", "alias: fresh")
    settings.path.write_text(text, encoding="utf-8")
    key = settings.alias_key._replace(name="fresh")
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    controls.promote(ledger, key, seeded["v1"])
    button(page, "promote").click().run()
    assert get_alias(ledger, *key).version_id == seeded["v1"]
    assert "v1 was promoted meanwhile" in texts(page)


def test_an_old_page_does_not_roll_back_a_roll_back(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    controls.promote(ledger, settings.alias_key, seeded["v2"])
    page = view("model_versions")
    controls.rollback(ledger, settings.alias_key)
    button(page, "rollback").click().run()
    assert alias_of(settings, ledger).version_id == seeded["v1"], "both wanted v1"
    assert "v1 was promoted meanwhile" in texts(page)


@pytest.mark.parametrize("key", ["approve", "refuse"])
def test_a_decision_that_was_settled_meanwhile_stays_settled(
    key: str, seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    page = view("decisions")
    settle, status = (
        (approvals.refuse, DecisionStatus.REFUSED) if key == "approve" else (approvals.approve, DecisionStatus.OPEN)
    )
    settle(ledger, settings.project, seeded["waiting"])
    button(page, key).click().run()
    assert ledger.get(RetrainDecision, seeded["waiting"]).status is status
    assert f"This retrain was {'refused' if key == 'approve' else 'approved'} meanwhile" in texts(page)


def test_pause_on_an_old_page_does_not_resume(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    page = view("decisions")
    controls.set_paused(ledger, settings.project, True)
    button(page, "pause").click().run()
    assert controls.is_paused(ledger, settings.project)
    assert "Somebody paused retraining meanwhile" in texts(page)


def test_resume_on_an_old_page_does_not_end_a_later_pause(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    controls.set_paused(ledger, settings.project, True)
    page = view("decisions")
    controls.set_paused(ledger, settings.project, False)
    controls.set_paused(ledger, settings.project, True)
    button(page, "pause").click().run()
    assert controls.is_paused(ledger, settings.project)


def test_retrain_now_on_an_old_page_makes_no_second_retrain(settings: Settings, ledger: Ledger) -> None:
    page = view("decisions")
    first = ask_for_retrain(settings, ledger, "a colleague asked")
    ledger.change(first, status=DecisionStatus.REFUSED)
    button(page, "retrain_now").click().run()
    assert ledger.count(RetrainDecision) == 1
    assert "A retrain was decided meanwhile" in texts(page)


def test_a_judgement_is_of_the_answers_that_were_drawn(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    page = view("comparison")
    page.selectbox(key="one").select(seeded["v2"]).run()
    page.selectbox(key="two").select(seeded["v1"]).run()
    page.radio(key="shown").set_value("Judge the answers").run()
    page.text_input(key="judge").input("Ada").run()
    questions = page.code[0].value
    button(page, "judge_left").click().run()
    (first,) = ledger.find(Judgement)
    page.run()
    shown = page.code[0].value
    assert shown != questions
    versions = [ledger.get(ModelVersion, seeded[name]) for name in ("v1", "v2")]
    item_id = next(i for i in (f"row-{n:02}" for n in range(60)) if f"question {int(i[4:])} " in f"{shown} ")
    record_judgement(
        ledger,
        *versions,
        dataset_id=first.dataset_id,
        item_id=item_id,
        judge="Ada",
        preference=Preference.NEITHER,
        first_was_left=True,
    )
    button(page, "judge_left").click().run()
    assert {j.item_id for j in ledger.find(Judgement)} == {first.item_id, item_id}
    assert ledger.find(Judgement, item_id=item_id)[0].preference is Preference.NEITHER
    assert "You had judged this one before" in texts(page)
