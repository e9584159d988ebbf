"""The verb `feedback` gives, shows, confirms and withdraws what was said about answers."""

import json
from dataclasses import replace
from typing import Any

import pytest

from driftwheel.cli.main import main
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic import feedback
from driftwheel.traffic.feedback import Author, give_feedback
from tests.support.said import words_of
from tests.unit.driftwheel.traffic.test_doubtful_labels import HONEST
from tests.unit.driftwheel.traffic.test_log import ROW

WEB = Author(id="support/web", trust=Trust.LABEL)


def run(settings: Settings, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["feedback", *arguments, "--config", str(settings.path), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_person_gives_shows_and_withdraws(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.add(ROW)
    run(settings, capsys, "give", ROW.id, "--label", "\x1b[2Jrefund", "--thumb", "-1")
    words = run(settings, capsys, "show", ROW.id)
    assert {(word["kind"], word["trust"], word["author"][:7]) for word in words} == {
        ("label", "trusted", "person:"),
        ("thumb", "trusted", "person:"),
    }
    assert main(["feedback", "show", ROW.id, "--config", str(settings.path)]) == 0
    assert "\x1b" not in capsys.readouterr().out, "what somebody wrote says nothing to the terminal"
    run(settings, capsys, "withdraw", ROW.id)
    row = ledger.get(Traffic, ROW.id)
    assert (row.label, row.thumb) == (None, None)
    assert all(word["withdrawn_at"] for word in run(settings, capsys, "show", ROW.id))


def test_a_person_vouches_for_another_author_and_takes_everything_of_one_back(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.add(ROW, Traffic(**vars(ROW) | {"id": "req_2"}))
    give_feedback(settings.traffic, ledger, settings.project, ROW.id, author=WEB, label="card")
    give_feedback(settings.traffic, ledger, settings.project, "req_2", author=WEB, thumb=1)
    assert run(settings, capsys, "confirm", "--author", WEB.id) == [{"author": WEB.id, "requests": 2}]
    trusts = {word["trust"] for id in (ROW.id, "req_2") for word in run(settings, capsys, "show", id)}
    assert trusts == {"label", "trusted"}
    assert run(settings, capsys, "withdraw", "--author", WEB.id) == [{"author": WEB.id, "requests": 2}]
    assert ledger.get(Traffic, ROW.id).label == "card", "the person's own word stays"


def test_what_cannot_be_confirmed_is_left_out_and_the_others_are_confirmed(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, correction in enumerate(['{"intent":"card"}', "card please", '{"intent":"refund"}']):
        row = Traffic(**vars(ROW) | {"id": f"req_{number}"})
        ledger.add(row)
        give_feedback(settings.traffic, ledger, settings.project, row.id, author=WEB, correction=correction)
    monkeypatch.setattr(feedback, "answer_form", lambda *_: "object")
    (found,) = run(settings, capsys, "confirm", "--author", WEB.id)
    assert (found["requests"], found["left_out"]) == (2, 1)
    assert found["reason"].startswith("req_1: the correction must be")
    assert main(["feedback", "confirm", "--author", WEB.id, "--config", str(settings.path)]) == 0
    assert "2 answers; 1 were left out" in capsys.readouterr().out


def test_a_withdrawal_needs_a_request_or_an_author(settings: Settings, ledger: Ledger) -> None:
    assert main(["feedback", "withdraw", "--config", str(settings.path)]) == 1
    assert main(["feedback", "withdraw", "req_none", "--config", str(settings.path)]) == 1


def test_labels_in_doubt_are_listed_with_what_speaks_against_them(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [replace(row, project=settings.project, alias=settings.serve.alias) for row in HONEST]
    wrong = replace(
        rows[7], id="req_\x1b[2J", label="nonsense", mean_logprob=0.0, prompt=f"für {rows[7].prompt} \x1b[2J"
    )
    ledger.add(*rows, wrong, *words_of(rows), *words_of([wrong], author="support/web", trust=Trust.NONE))
    (first, *_) = run(settings, capsys, "review", "--last", "1")
    assert (first["request_id"], first["label"], first["author"]) == (wrong.id, "nonsense", "support/web")
    assert first["model_says"] == rows[7].label
    assert main(["feedback", "review", "--config", str(settings.path)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert ': "für ' in printed, "an umlaut was written as \\u00fc"
    assert 'support/web (trust: none) says "nonsense", the model was sure of' in printed
    assert "labels are in doubt; the newest were compared, 2000 at most" in printed, (
        "it said 'of the newest 2000' of 60"
    )
