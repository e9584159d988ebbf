"""The labelling queue asks for the least sure answers first, with some by chance, and nobody's label is overridden."""

from dataclasses import replace

import pytest

from dashboard import labelling
from driftwheel.by_whom import Feedback
from driftwheel.errors import ConflictError
from driftwheel.records import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import give_feedback, person
from tests.support.drawn_pages import button, texts, view


@pytest.fixture
def rows(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> list[Traffic]:
    """Forty more requests: the later, the surer was the model."""
    like = ledger.find(Traffic, project=settings.project, limit=2)[1]
    added = [replace(like, id=f"req_sure_{n:02}", mean_logprob=-9.0 + 0.1 * n) for n in range(40)]
    ledger.add(*added)
    return added


def test_four_of_five_are_the_least_sure_and_the_fifth_is_drawn_by_chance(
    rows: list[Traffic], settings: Settings, ledger: Ledger
) -> None:
    queue = labelling.draw_queue(ledger, settings.project, seed=1, rows=50)
    assert len(set(queue)) == len(queue) == 50
    by_chance = queue[4::5]
    asked = [id for place, id in enumerate(queue) if place % 5 != 4]
    sure = [row.id for row in rows if row.id not in by_chance]
    assert asked[: len(sure)] == sure
    assert queue == labelling.draw_queue(ledger, settings.project, seed=1, rows=50)
    assert by_chance != labelling.draw_queue(ledger, settings.project, seed=2, rows=50)[4::5]


def test_only_whole_answers_without_a_label_are_asked_for(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    queue = labelling.draw_queue(ledger, settings.project, seed=1, rows=1000)
    found = ledger.find(Traffic, project=settings.project)
    expected = {r.id for r in found if r.label is None and r.status_code == 200 and not r.is_partial}
    assert set(queue) == expected


def test_a_request_that_got_a_label_meanwhile_is_not_asked_for(
    rows: list[Traffic], settings: Settings, ledger: Ledger
) -> None:
    queue = [rows[0].id, rows[1].id]
    give_feedback(settings.traffic, ledger, settings.project, rows[0].id, author=person("Bob"), label="refund")
    shown = labelling.next_of(ledger, settings.project, queue, [], "intent")
    assert shown is not None
    assert (shown.id, shown.suggestion) == (rows[1].id, "card_lost")
    assert labelling.next_of(ledger, settings.project, queue, [rows[1].id], "intent") is None


def test_of_two_who_label_one_request_the_second_is_told(
    rows: list[Traffic], settings: Settings, ledger: Ledger
) -> None:
    given = settings.traffic, ledger, settings.project, rows[0].id
    labelling.give_label(*given, author=person("Bob"), label="refund")
    with pytest.raises(ConflictError, match="person:Bob has labelled req_sure_00 meanwhile"):
        labelling.give_label(*given, author=person("Ada"), label="delivery")
    assert ledger.get(Traffic, rows[0].id).label == "refund"
    assert ledger.count(Feedback, request_id=rows[0].id) == 1


def test_keys_label_skip_and_take_back(
    rows: list[Traffic], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    page = view("label")
    page.text_input(key="judge").input("Ada").run()
    button(page, "accept").click().run()
    assert not page.exception
    first, second = ledger.get(Traffic, rows[0].id), ledger.get(Traffic, rows[1].id)
    assert (first.label, first.label_source) == ("card_lost", "label")
    assert [word.author for word in ledger.find(Feedback, request_id=first.id)] == ["person:Ada"]
    button(page, "label_3").click().run()
    assert ledger.get(Traffic, second.id).label == "delivery"
    button(page, "undo").click().run()
    assert ledger.get(Traffic, second.id).label is None
    assert "is taken back" in texts(page)
    button(page, "skip").click().run()
    button(page, "label_2").click().run()
    assert ledger.get(Traffic, second.id).label is None
    assert ledger.get(Traffic, rows[2].id).label == "refund"
