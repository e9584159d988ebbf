"""Every page runs without a loop and with a full one, and its buttons do what they say."""

import shutil
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import files, promotion
from dashboard.pages import PAGES
from driftwheel.control import controls
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.nouns import DecisionStatus, RetrainDecision, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import VIEWS, button, texts, view

TITLES = {page.name: page.title for page in PAGES}
NEXT_YEAR = f"{utc_now() + timedelta(days=365):%Y-%m-%d}"
MARKUP = ("markdown", "caption", "error", "info", "warning", "success")


pytestmark = pytest.mark.usefixtures("shown")


@pytest.mark.parametrize("name", TITLES)
def test_a_page_of_an_empty_loop_says_what_to_do_next(name: str, ledger: Ledger) -> None:
    page = view(name)
    assert not page.exception
    assert page.title[0].value == TITLES[name]
    assert page.code or name in ("overview", "deployments")


@pytest.mark.parametrize("name", TITLES)
def test_a_page_of_a_full_loop_shows_no_text_from_outside_as_markup(
    name: str, seed: ModuleType, seeded: dict[str, str]
) -> None:
    page = view(name)
    assert not page.exception
    markup: list[Any] = [e for kind in MARKUP for e in getattr(page, kind)]
    assert not [e for e in markup if "hacked" in str(e.value)]


def test_every_page_is_in_the_navigation(seeded: dict[str, str]) -> None:
    app = AppTest.from_file(VIEWS.parent / "app.py", default_timeout=120).run()
    for name, title in TITLES.items():
        app.switch_page(f"views/{name}.py").run()
        assert app.title[0].value == title


def test_promote_moves_the_alias(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    button(page, "promote").click().run()
    assert get_alias(ledger, settings.project, settings.serve.alias).version_id == seeded["v2"]
    button(page, "rollback").click().run()
    assert get_alias(ledger, settings.project, settings.serve.alias).version_id == seeded["v1"]


def test_a_canary_gets_the_shares_that_were_chosen(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    page.radio[0].set_value(promotion.CANARY).run()
    assert page.button_group[0].value == [10.0, 50.0], "the settings' shares are the default"
    page.button_group[0].set_value([50.0, 5.0]).run()
    button(page, "promote").click().run()
    alias = get_alias(ledger, *settings.alias_key)
    assert alias.version_id == seeded["v2"]
    assert controls.canary_plan(settings.serve, ledger, alias) == [0.05, 0.5]
    assert "5 %, then 50 %, then all requests" in texts(page)


def test_a_canary_without_a_share_is_not_begun(seeded: dict[str, str]) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    page.radio[0].set_value(promotion.CANARY).run()
    page.button_group[0].set_value([]).run()
    assert button(page, "promote").disabled


def test_all_at_once_is_so_whatever_the_settings_would_do(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    button(page, "promote").click().run()
    canary = settings.serve.model_copy(update={"rollout": "canary"})
    assert controls.canary_plan(canary, ledger, get_alias(ledger, *settings.alias_key)) == []


def test_a_shadow_begins_and_ends_and_moves_no_alias(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    page.radio[0].set_value(promotion.SHADOW).run()
    button(page, "shadow").click().run()
    assert ledger.switch(settings.project, controls.SHADOW) == seeded["v2"]
    assert get_alias(ledger, *settings.alias_key).version_id == seeded["v1"]
    button(page, "end_shadow").click().run()
    assert ledger.switch(settings.project, controls.SHADOW) == ""


def test_an_old_page_does_not_take_a_shadow_from_somebody_else(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["v2"]).run()
    page.radio[0].set_value(promotion.SHADOW).run()
    controls.set_shadow(ledger, settings.project, seeded["rejected"])
    button(page, "shadow").click().run()
    assert ledger.switch(settings.project, controls.SHADOW) == seeded["rejected"]
    assert "Somebody changed the shadow meanwhile" in texts(page)


def test_with_one_engine_there_is_no_canary_and_no_shadow(seeded: dict[str, str], settings: Settings) -> None:
    one = settings.serve.model_copy(update={"swap": "in_place"})
    assert promotion.ways(one) == [promotion.DIRECT]


def test_a_version_in_several_stages_is_told_by_the_one_that_counts_most(seeded: dict[str, str]) -> None:
    table = view("model_versions").dataframe[0].value
    assert table[table["version"] == "v1"]["now"].tolist() == ["live, 100% of the requests"]


def test_a_rejected_version_cannot_be_promoted(seeded: dict[str, str]) -> None:
    page = view("model_versions")
    page.selectbox(key="version").select(seeded["rejected"]).run()
    assert button(page, "promote").disabled


def test_pause_sets_the_switch_and_resume_clears_it(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    page = view("decisions")
    button(page, "pause").click().run()
    assert controls.is_paused(ledger, settings.project)
    button(page, "pause").click().run()
    assert not controls.is_paused(ledger, settings.project)


@pytest.mark.parametrize(("key", "status"), [("approve", DecisionStatus.OPEN), ("refuse", DecisionStatus.REFUSED)])
def test_a_waiting_decision_is_settled(
    key: str, status: DecisionStatus, seeded: dict[str, str], ledger: Ledger
) -> None:
    button(view("decisions"), key).click().run()
    assert ledger.get(RetrainDecision, seeded["waiting"]).status is status


def test_retrain_now_records_a_decision(ledger: Ledger, settings: Settings) -> None:
    page = view("decisions")
    button(page, "retrain_now").click().run()
    assert ledger.count(RetrainDecision) == 0, "too few labels stand against it"
    page.text_input(key="why_now").input("the new shop opens tomorrow").run()
    button(page, "retrain_now").click().run()
    (found,) = ledger.find(RetrainDecision, project=settings.project)
    assert (found.trigger, found.status) == ("button", DecisionStatus.OPEN)
    assert found.reasons == [
        "the new shop opens tomorrow",
        "overridden: 0 fresh labelled rows, 200 needed: label more",
    ]


def test_a_second_retrain_is_refused_in_words(seeded: dict[str, str], ledger: Ledger) -> None:
    before = ledger.count(RetrainDecision)
    page = view("decisions")
    page.text_input(key="why_now").input("now").run()
    button(page, "retrain_now").click().run()
    assert ledger.count(RetrainDecision) == before
    assert any("one retrain at a time" in t.value for t in page.text)


def test_a_thumb_and_a_correction_reach_the_request(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    newest = ledger.find(Traffic, project=settings.project, limit=1)[0]
    page = view("traffic")
    button(page, "thumb_up").click().run()
    assert ledger.get(Traffic, newest.id).thumb == 1
    page.text_area[0].input('{"intent": "refund"}')
    button(page, "correct").click().run()
    found = ledger.get(Traffic, newest.id)
    assert (found.label, found.label_source) == ('{"intent": "refund"}', "correction")


def test_the_playground_says_that_the_gateway_is_down(seeded: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL__SERVE__PORT", "1")
    page = view("playground")
    page.text_area(key="question").input("hello")
    button(page, "ask_both").click().run()
    assert not page.exception
    assert sum("No gateway answers" in t.value for t in page.text) == 2


def test_a_blind_judgement_is_stored_once_and_counted(seeded: dict[str, str], ledger: Ledger) -> None:
    page = view("comparison")
    page.selectbox(key="one").select(seeded["v2"]).run()
    page.selectbox(key="two").select(seeded["v1"]).run()
    page.radio(key="shown").set_value("Judge the answers").run()
    assert button(page, "judge_left").disabled, "a judgement needs a name"
    page.text_input(key="judge").input("Ada").run()
    left = page.code[1].value
    button(page, "judge_left").click().run()
    assert not page.exception
    (found,) = ledger.find(Judgement)
    assert (found.judge, found.first_version_id, found.second_version_id) == ("Ada", seeded["v1"], seeded["v2"])
    assert found.preference is (Preference.FIRST if found.first_was_left else Preference.SECOND)
    rows = page.dataframe[0].value
    better = "v1" if found.first_was_left else "v2"
    assert rows[better][0] == left, "what she saw on the left is uncovered as that version's answer"
    assert page.dataframe[1].value[f"{better} better"][0] == 1
    assert page.code[0].value != rows["question"][0], "the next item is shown"


def test_versions_that_were_not_asked_the_same_are_not_compared(seeded: dict[str, str], settings: Settings) -> None:
    shutil.rmtree(settings.root / "evaluations" / "evaluation-3")
    page = view("comparison")
    assert any("were not asked the same items" in t.value for t in page.text)


def test_a_running_retrain_shows_its_steps_and_the_end_of_the_log(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    decision = ledger.find(RetrainDecision, status=DecisionStatus.FAILED)[0]
    ledger.change(decision, status=DecisionStatus.RUNNING)
    settings.logs.mkdir(parents=True, exist_ok=True)
    (settings.logs / f"{decision.id}-evaluate.log").write_text("x" * 9_000 + "\nitem 7 of 120\n", encoding="utf-8")
    page = view("decisions")
    page.selectbox(key="decision").select(decision.id).run()
    assert not page.exception
    steps = next(frame.value for frame in page.dataframe if "took" in frame.value)
    assert list(steps["took"]) == ["1 min 00 s", "3 min 00 s", "1 min 00 s", "2 min 00 s"]
    (log,) = [box for box in page.expander if box.label == "Log of evaluate"]
    assert not log.code
    assert files.tail_of(settings.logs / f"{decision.id}-evaluate.log") == "item 7 of 120\n"


def test_a_page_that_cannot_read_says_so_and_names_a_command(
    seeded: dict[str, str], ledger: Ledger, settings: Settings
) -> None:
    with ledger.write() as connection:
        connection.execute(sa.text("DROP TABLE judgement"))
        connection.execute(sa.text("ALTER TABLE decision RENAME TO gone"))
    app = AppTest.from_file(VIEWS.parent / "app.py", default_timeout=120).run()
    app.switch_page("views/decisions.py").run()
    assert not app.exception
    assert "refused a read" in texts(app)
    assert app.code[0].value == "driftwheel doctor"


def test_a_link_opens_one_request_whole(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    oldest = ledger.find(Traffic, project=settings.project)[-1]
    prompt = "word " * 420_000
    ledger.add(replace(oldest, id="req_linked", prompt=prompt))
    page = view("traffic", id="req_linked")
    assert "req_linked" in list(page.dataframe[-1].value["value"])
    assert [len(code.value) for code in page.code if code.value.startswith("word")] == [10_000]
    page.toggle[0].set_value(True).run()
    assert [code.value for code in page.code if code.value.startswith("word")] == [prompt]


def test_a_link_to_a_request_that_is_gone_says_so(seeded: dict[str, str]) -> None:
    page = view("traffic", id="req_gone")
    assert not page.exception
    assert "There is no request 'req_gone' in support" in texts(page)


@pytest.mark.parametrize("query", [{"outcome": "nonsense"}, {"of": "v99"}, {"search": "nobody wrote this"}])
def test_a_filter_in_the_address_is_obeyed_or_told(query: dict[str, str], seeded: dict[str, str]) -> None:
    page = view("traffic", **query)
    assert not page.exception
    if "search" in query:
        assert page.text_input(key="search").value == "nobody wrote this"
        assert "No request matches." in texts(page)
    else:
        assert len(page.dataframe[0].value) == 100


@pytest.mark.parametrize(
    ("name", "value", "rows"),
    [("by_key", "0a1b2c3d", 100), ("by_key", "nobody", 0), ("from", NEXT_YEAR, 0), ("from", "nonsense", 100)],
)
def test_a_link_narrows_by_key_and_time_and_nonsense_narrows_nothing(
    name: str, value: str, rows: int, seeded: dict[str, str]
) -> None:
    page = view("traffic", **{name: value})
    assert not page.exception
    assert ("No request matches." in texts(page)) is (rows == 0)
    assert rows == 0 or len(page.dataframe[0].value) == rows
