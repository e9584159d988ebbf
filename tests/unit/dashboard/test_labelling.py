"""The labelling queue asks for the least sure answers first, with some by chance, and nobody's label is overridden."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dashboard import labelling
from driftwheel.errors import ConflictError
from driftwheel.records.by_whom import Feedback, Trust
from driftwheel.records.nouns import Dataset, ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import give_feedback, person, withdraw_feedback, words_about
from driftwheel.traffic.fresh_labels import fresh_for_retrain
from tests.support.drawn_pages import button, texts, view
from tests.support.said import words_of
from tests.unit.driftwheel.traffic.test_doubtful_labels import HONEST


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


@pytest.mark.parametrize(
    ("labels", "distinct", "in_train", "offered"),
    [
        ({f"A summary, number {n}.": 1 for n in range(50)}, 600, [], []),
        ({"a": 700, "(none)": 400, "b": 120}, 3, [], ["a", "b"]),
        ({"a": 900, "b": 200}, 4, [*"aaabbcd", None], ["a", "b", "c", "d"]),
        ({"a": 900, "b": 200}, 4, [], ["a", "b"]),
    ],
    ids=["free texts", "rows without one", "more than a report names", "no file any more"],
)
def test_what_is_offered_is_every_label_and_no_free_text(
    seeded: dict[str, str],
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    labels: dict[str, int],
    distinct: int,
    in_train: list[str | None],
    offered: list[str],
) -> None:
    if in_train:
        lines = "".join(json.dumps({"label": label}) + "\n" for label in in_train)
        (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    version = ledger.get(ModelVersion, seeded["v1"])
    dataset = ledger.get(Dataset, version.dataset_id)
    report = replace(dataset.report, labels=labels, distinct_labels=distinct)
    ledger.add(replace(dataset, id="dataset_other", path=str(tmp_path), report=report))
    ledger.change(version, dataset_id="dataset_other")
    assert labelling.labels_of(ledger, settings.project, version.id) == offered


def test_what_is_taken_back_is_the_word_that_was_given(rows: list[Traffic], settings: Settings, ledger: Ledger) -> None:
    """Undo took an earlier comment and thumb, too."""
    ada, of = person("Ada"), (ledger, settings.project, rows[0].id)
    give_feedback(settings.traffic, *of, author=ada, thumb=-1, comment="too short")
    words = labelling.give_label(settings.traffic, *of, author=ada, label=None)
    assert len(words) == 1
    withdraw_feedback(*of, author=ada, ids=words)
    row = ledger.get(Traffic, rows[0].id)
    assert (row.label, row.thumb) == (None, -1)
    kept = [word for word in ledger.find(Feedback, request_id=row.id) if word.withdrawn_at is None]
    assert {word.value for word in kept} == {"-1", "too short"}


def test_the_progress_counts_as_the_retrain_does(rows: list[Traffic], settings: Settings, ledger: Ledger) -> None:
    """A Dataset that nobody serves hid labels, and a row that came with its label was none."""
    version = live_version(ledger, *settings.alias_key)
    assert version is not None
    dataset = ledger.get(Dataset, version.dataset_id)
    after = dataset.created_at + timedelta(days=1)
    ledger.add(replace(dataset, id="dataset_newer", created_at=after + timedelta(days=1)))
    before = fresh_for_retrain(ledger, settings.alias_key, caps=settings.dataset)
    ledger.add(replace(rows[0], id="req_with_label", label="refund", created_at=after))
    assert fresh_for_retrain(ledger, settings.alias_key, caps=settings.dataset) == before + 1


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
    give_feedback(settings.traffic, ledger, settings.project, second.id, author=person("Ada"), comment="odd")
    button(page, "label_3").click().run()
    assert ledger.get(Traffic, second.id).label == "delivery"
    button(page, "undo").click().run()
    assert ledger.get(Traffic, second.id).label is None
    assert "is taken back" in texts(page)
    (comment,) = ledger.find(Feedback, request_id=second.id, kind="comment")
    assert comment.withdrawn_at is None
    button(page, "skip").click().run()
    button(page, "label_2").click().run()
    assert ledger.get(Traffic, second.id).label is None
    assert ledger.get(Traffic, rows[2].id).label == "refund"


def test_a_label_in_doubt_is_kept_by_a_second_person_or_taken_back(
    seeded: dict[str, str], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    rows = [replace(row, project=settings.project, alias=settings.serve.alias) for row in HONEST]
    wrong = [replace(rows[n], id=f"req_wrong_{n}", label="nonsense", mean_logprob=0.0) for n in (7, 13)]
    web = words_of(wrong, author="support/web", trust=Trust.NONE)
    ledger.add(*(replace(row, id=f"{row.id}_said") for row in rows), *wrong, *web)
    page = view("label")
    button(page, "look_for_doubtful").click().run()
    assert "support/web (trust: none) says nonsense; the model was sure of" in texts(page)
    button(page, "keep_doubtful").click().run()
    button(page, "take_back_doubtful").click().run()
    kept, gone = sorted(ledger.get(Traffic, row.id).label is None for row in wrong)
    assert (kept, gone) == (False, True)
    assert {"nonsense", None} == {ledger.get(Traffic, row.id).label for row in wrong}
    of = words_about(ledger, [row.id for row in wrong])
    assert sorted(len({word.author for word in words}) for words in of.values()) == [1, 2]
    with pytest.raises(ConflictError, match="another's meanwhile"):
        args = settings.traffic, ledger, settings.project, wrong[0].id
        labelling.keep_label(*args, author=person("Ada"), seen="support/other")
