"""Labels of a file come in whole or not at all, once each, and nobody's label is overwritten unseen."""

import csv
import io
import json
from datetime import UTC, datetime
from types import ModuleType

import pytest

from dashboard import label_files, labelling
from dashboard.label_files import LabelLine
from driftwheel.errors import ConflictError, DataError
from driftwheel.inert_text import inert_cell
from driftwheel.records.by_whom import Feedback, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import Author, give_feedback, person
from tests.support.drawn_pages import button, texts, view

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)
LABELS = ["card_lost", "refund"]
ADA, BOB, NOBODY = person("Ada"), person("Bob"), person("dashboard")


@pytest.fixture
def ids(seed: ModuleType, settings: Settings, ledger: Ledger) -> list[str]:
    seed.fill(settings, ledger, NOW)
    return [row.id for row in ledger.find(Traffic, label=None, status_code=200, is_partial=False, limit=6)]


def taken_in(settings: Settings, ledger: Ledger, text: str, author: object = ADA, name: str = "l.csv") -> str:
    lines = label_files.read_labels(name, text.encode())
    label_files.check_labels(ledger, settings.project, lines, LABELS)
    of = settings.traffic, ledger, settings.project, lines
    return label_files.store_labels(*of, author=author).text  # type: ignore[arg-type]  # an author


def test_a_file_is_taken_in_once(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    text = f"label,id\nrefund,{ids[0]}\ncard_lost,{ids[1]}\n,{ids[2]}\n"
    assert taken_in(settings, ledger, text) == "2 labels are stored, 0 were known already."
    assert taken_in(settings, ledger, text) == "0 labels are stored, 2 were known already."
    assert ledger.count(Feedback) == 2
    assert ledger.get(Traffic, ids[0]).label == "refund"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_comes_back_as_a_spreadsheet_saves_it(separator: str, encoding: str) -> None:
    """A file that went out with commas and came back with semicolons had "no columns id and label"."""
    text = 'id;prompt;label\nreq_1;"Straße; 5, ""Hof""";refund\nreq_2;a,b,c,d;Rückgabe\n'.replace(";", separator)
    lines = label_files.read_labels("l.csv", text.encode(encoding))
    assert [(x.line, x.id, x.label) for x in lines] == [(2, "req_1", "refund"), (3, "req_2", "Rückgabe")]


def test_what_is_wrong_is_said_at_once_and_nothing_is_stored(
    ids: list[str], settings: Settings, ledger: Ledger
) -> None:
    text = f"id,label\n{ids[0]},refund\nreq_gone,refund\n{ids[1]},Refund\n{ids[0]},card_lost\n"
    with pytest.raises(DataError) as error:
        taken_in(settings, ledger, text)
    assert str(error.value) == (
        "nothing was stored, because the file has 1 ids that no request of support has: 'req_gone' (line 3); "
        "1 labels outside the set: 'Refund' (line 4); "
        f"1 requests with two labels: {ids[0]!r} (lines 2 and 5)"
    )
    assert ledger.count(Feedback) == 0


def test_an_id_of_another_project_is_not_there(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    lines = [LabelLine(line=2, id=ids[0], label="refund")]
    with pytest.raises(DataError, match="no request of elsewhere"):
        label_files.check_labels(ledger, "elsewhere", lines, LABELS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"text,label\nx,refund\n", "a.csv:1 has no columns id and label; it has text, label"),
        ("a.csv", b"", "a.csv:1 has no columns id and label; it has nothing"),
        ("a.csv", b'id,label\nreq_1,"refund\nreq_2,refund\n', "a.csv:2 is no CSV"),
        ("a.csv", b"id,label\nreq_1\n", "a.csv:2 has 1 columns, and the first line has 2"),
        ("a.csv", b"id,label\nreq_1,\n", "a.csv holds no labels"),
        ("a.csv", b"id,label\nreq_1,caf\xe9\n", "a.csv is not UTF-8 text (byte 18)"),
        ("a.jsonl", b'{"id": "req_1", "label": "refund"}\n{"id": 3}\n', "a.jsonl:2 is no object with an id"),
        ("a.jsonl", b'{"id": "req_1"\n', "a.jsonl:1 is no JSON"),
        ("a.jsonl", b"[" * 200_000, "a.jsonl:1 is no JSON"),
    ],
)
def test_a_broken_file_names_its_line(name: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError) as error:
        label_files.read_labels(name, content)
    assert str(error.value).startswith(said)


def test_what_excel_saves_is_read(ids: list[str]) -> None:
    found = label_files.read_labels("a.CSV", f"\ufeffID,Label\r\n{ids[0]},refund\r\n\r\n".encode())
    assert found == [LabelLine(line=2, id=ids[0], label="refund")]


def test_what_another_has_said_stays_and_is_told(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    taken_in(settings, ledger, f"id,label\n{ids[0]},refund\n", BOB)
    said = taken_in(settings, ledger, f"id,label\n{ids[0]},card_lost\n{ids[1]},refund\n", ADA)
    assert said.startswith(f"1 labels are stored, 0 were known already, 1 left out: person:Bob has labelled {ids[0]}")
    assert ledger.get(Traffic, ids[0]).label == "refund"


def test_the_same_person_may_think_again_and_nobody_may_not(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    taken_in(settings, ledger, f"id,label\n{ids[0]},refund\n{ids[1]},refund\n", ADA)
    taken_in(settings, ledger, f"id,label\n{ids[0]},card_lost\n", ADA)
    assert ledger.get(Traffic, ids[0]).label == "card_lost"
    taken_in(settings, ledger, f"id,label\n{ids[2]},refund\n", NOBODY)
    said = taken_in(settings, ledger, f"id,label\n{ids[2]},card_lost\n", NOBODY)
    assert "somebody without a name has labelled" in said
    assert ledger.get(Traffic, ids[2]).label == "refund"


def test_of_two_without_a_name_the_second_is_told(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    """Both are the same author by id: only the words that each tab has said tell them apart."""
    given = settings.traffic, ledger, settings.project, ids[0]
    first = labelling.give_label(*given, author=NOBODY, label="refund")
    with pytest.raises(ConflictError, match="somebody without a name has labelled"):
        labelling.give_label(*given, author=NOBODY, label="card_lost")
    assert ledger.get(Traffic, ids[0]).label == "refund"
    labelling.give_label(*given, author=NOBODY, label="card_lost", own=first)
    assert ledger.get(Traffic, ids[0]).label == "card_lost", "the same tab may think again"


def test_who_accepted_an_answer_is_not_overruled_unseen(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    given = settings.traffic, ledger, settings.project, ids[0]
    labelling.give_label(*given, author=BOB, label=None)
    with pytest.raises(ConflictError, match="person:Bob has labelled"):
        labelling.give_label(*given, author=ADA, label="refund")


def test_what_goes_out_can_come_back(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    content = label_files.requests_as("csv", ledger, settings.project, ids=ids[:2])
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert {row["id"] for row in rows} == set(ids[:2])
    back = io.StringIO()
    writer = csv.DictWriter(back, rows[0])
    writer.writeheader()
    writer.writerows(row | {"label": "refund"} for row in rows)
    assert taken_in(settings, ledger, back.getvalue()).startswith("2 labels are stored")
    out = label_files.requests_as("jsonl", ledger, settings.project, ids=ids[:2], only_open=False)
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["refund"] * 2


def test_a_spreadsheet_runs_no_prompt(ids: list[str], settings: Settings, ledger: Ledger) -> None:
    ledger.change(ledger.get(Traffic, ids[0]), prompt="=HYPERLINK(0)")
    content = label_files.requests_as("csv", ledger, settings.project, ids=ids[:1])
    assert ",'=HYPERLINK(0)," in content.decode()


@pytest.mark.parametrize("label", ["=HYPERLINK(0)", "'=HYPERLINK(0)", "@SUM(1)", "-1", "'tis"])
def test_a_label_is_no_formula_and_comes_back_as_it_was(
    ids: list[str], settings: Settings, ledger: Ledger, label: str
) -> None:
    eve = Author(id="support/eve", trust=Trust.LABEL)
    give_feedback(settings.traffic, ledger, settings.project, ids[0], author=eve, label=label)
    content = label_files.requests_as("csv", ledger, settings.project, ids=ids[:1], only_open=False)
    [row] = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert row["label"] == inert_cell(row["label"])
    assert [line.label for line in label_files.read_labels("l.csv", content)] == [label]


def test_no_key_that_is_trusted_less_stands_in_the_way_of_a_person(
    ids: list[str], settings: Settings, ledger: Ledger
) -> None:
    eve, of = Author(id="support/eve", trust=Trust.LABEL), (settings.traffic, ledger, settings.project)
    give_feedback(*of, ids[0], author=eve, label="card_lost")
    give_feedback(*of, ids[1], author=eve, label="refund")
    said = taken_in(settings, ledger, f"id,label\n{ids[0]},refund\n{ids[1]},refund\n")
    assert said == "2 labels are stored, 0 were known already."
    assert [ledger.get(Traffic, id).label for id in ids[:2]] == ["refund", "refund"]
    assert ledger.count(Feedback, trust=Trust.TRUSTED) == 2, "what a key guessed right is vouched for"
    labelling.give_label(*of, ids[0], author=ADA, label="card_lost", own=[w.id for w in ledger.find(Feedback)])


def test_a_group_gets_one_label(
    ids: list[str], settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    page = view("label", ids=",".join(ids[:3]))
    assert "These are the 3 requests" in texts(page)
    next(box for box in page.selectbox if box.label == "One label for all 3").select("refund")
    button(page, "all").click().run()
    assert [ledger.get(Traffic, id).label for id in ids[:4]] == ["refund"] * 3 + [None]
    assert "3 requests have the label refund." in texts(page)
