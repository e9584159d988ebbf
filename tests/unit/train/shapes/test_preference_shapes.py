"""Better and worse answers are told apart in every form, and a worse one is never what is learned."""

import json
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import DataError
from driftwheel.settings.data import DatasetSettings
from train.data.sources.formats import Reading, read_sources

SETTINGS = DatasetSettings(sources=["x"])
QUESTION, GOOD, BAD = "Capital of Italy?", "Rome", "Madrid, I guess"


def read(folder: Path, *rows: Any, settings: DatasetSettings = SETTINGS) -> Reading:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_sources(settings, [path])[0]


def asked(text: str = QUESTION) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PAIRS = {
    "TRL, texts": {"prompt": QUESTION, "chosen": GOOD, "rejected": BAD},
    "TRL, messages": {"prompt": [asked()], "chosen": [said(GOOD)], "rejected": [said(BAD)]},
    "TRL, prompt within": {"chosen": [asked(), said(GOOD)], "rejected": [asked(), said(BAD)]},
    "prompt beside and within": {"prompt": QUESTION, "chosen": [asked(), said(GOOD)], "rejected": [asked(), said(BAD)]},
    "HH-RLHF": {
        "chosen": f"\n\nHuman: {QUESTION}\n\nAssistant: {GOOD}",
        "rejected": f"\n\nHuman: {QUESTION}\n\nAssistant: {BAD}",
    },
    "LLaMA-Factory, ShareGPT": {
        "conversations": [{"from": "human", "value": QUESTION}],
        "chosen": {"from": "gpt", "value": GOOD},
        "rejected": {"from": "gpt", "value": BAD},
    },
    "LLaMA-Factory, Alpaca": {"instruction": QUESTION, "input": "", "chosen": GOOD, "rejected": BAD},
    "OpenAI": {
        "input": {"messages": [asked()]},
        "preferred_output": [said(GOOD)],
        "non_preferred_output": [said(BAD)],
    },
    "JSON as text": {"prompt": QUESTION, "chosen": json.dumps([said(GOOD)]), "rejected": json.dumps([said(BAD)])},
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_every_form_of_a_pair_is_the_same_row(tmp_path: Path, row: dict[str, Any]) -> None:
    reading = read(tmp_path, row)
    (found,) = reading.rows
    assert reading.format == "preference"
    assert (found.prompt, found.completion, found.rejected) == ([asked()], [said(GOOD)], [said(BAD)])
    assert reading.unused == set()


def test_a_pair_after_several_turns_keeps_them(tmp_path: Path) -> None:
    before = [asked("Hi"), said("Hello"), asked()]
    (found,) = read(tmp_path, {"chosen": [*before, said(GOOD)], "rejected": [*before, said(BAD)], "system": "S"}).rows
    assert found.prompt == [{"role": "system", "content": "S"}, *before]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": QUESTION, "chosen": GOOD, "rejected": GOOD}, "say the same"),
        ({"chosen": GOOD, "rejected": BAD}, "has no prompt, and chosen and rejected do not begin alike"),
        (
            {"prompt": QUESTION, "chosen": [said("a"), asked(), said("b")], "rejected": [said("c")]},
            "3 turns of its own",
        ),
        ({"prompt": QUESTION, "chosen": [asked("x")], "rejected": [said("c")]}, "not of the assistant"),
        ({"prompt": QUESTION, "chosen": "", "rejected": BAD}, "chosen is empty"),
        ({"prompt": QUESTION, "chosen": GOOD}, "has no column 'rejected'"),
    ],
)
def test_a_broken_pair_is_named(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    (broken,) = read(tmp_path, PAIRS["TRL, texts"], row).broken
    assert reason in broken.reason


JUDGED = {
    "texts": {"prompt": QUESTION, "completion": BAD, "label": False},
    "messages": {"prompt": [asked()], "completion": [said(BAD)], "label": False},
    "whole conversation": {"messages": [asked(), said(BAD)], "label": False},
    "LLaMA-Factory, Alpaca": {"instruction": QUESTION, "output": BAD, "kto_tag": False},
    "LLaMA-Factory, ShareGPT": {
        "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": BAD}],
        "kto_tag": False,
    },
    "words": {"prompt": QUESTION, "completion": BAD, "label": "False"},
}


@pytest.mark.parametrize("row", JUDGED.values(), ids=JUDGED.keys())
@pytest.mark.parametrize("is_first", [True, False])
def test_an_answer_that_is_marked_as_bad_is_read_as_that(tmp_path: Path, row: dict[str, Any], is_first: bool) -> None:
    plain = {name: value for name, value in row.items() if name not in ("label", "kto_tag")}
    reading = read(tmp_path, row, {**row, "label": True, "kto_tag": True}) if is_first else read(tmp_path, plain, row)
    found = reading.rows[0 if is_first else 1]
    assert (found.is_good, found.answer, found.prompt) == (False, BAD, [asked()])
    assert reading.rows[1 if is_first else 0].is_good is (True if is_first else None)


def test_a_row_without_a_judgement_in_a_judged_file_is_named(tmp_path: Path) -> None:
    (broken,) = read(tmp_path, JUDGED["texts"], {"prompt": "a", "completion": "b"}).broken
    assert "label" in broken.reason


def test_numbers_beside_answers_may_be_judgements_and_are_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "completion": "c", "label": n % 2} for n in range(4)]
    with pytest.raises(DataError, match=r"set dataset\.format to kto if they do, else to prompt_completion"):
        read(tmp_path, *rows)
    judged = read(tmp_path, *rows, settings=DatasetSettings(sources=["x"], format="kto"))
    assert [row.is_good for row in judged.rows] == [False, True, False, True]
    plain = read(tmp_path, *rows, settings=DatasetSettings(sources=["x"], format="prompt_completion"))
    assert [row.is_good for row in plain.rows] == [None] * 4
    assert plain.unused == {"label"}


def test_a_class_beside_an_answer_is_a_column_that_is_not_used(tmp_path: Path) -> None:
    reading = read(tmp_path, *({"prompt": f"p{n}", "completion": "c", "label": n} for n in range(3)))
    assert (len(reading.rows), reading.unused) == (3, {"label"})


def test_a_truth_value_beside_a_text_alone_is_its_label(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"text": "is it open?", "label": True}).rows
    assert (found.answer, found.is_good) == ("true", None)


def test_what_stands_before_a_pair_stays_before_it_where_both_answers_repeat_its_end(tmp_path: Path) -> None:
    before = [{"role": "system", "content": "You triage."}, asked("Hello"), said("Yes?"), asked()]
    row = {"prompt": before, "chosen": [asked(), said(GOOD)], "rejected": [asked(), said(BAD)]}
    (found,) = read(tmp_path, row).rows
    assert (found.prompt, found.answer) == (before, GOOD)


def test_a_truth_value_that_is_the_answer_is_no_judgement(tmp_path: Path) -> None:
    settings = DatasetSettings(sources=["x"], prompt_column="text", completion_column="label")
    rows = [{"text": "buy now", "label": True}, {"text": "hello mum", "label": False}]
    found = read(tmp_path, *rows, settings=settings).rows
    assert [(row.answer, row.is_good) for row in found] == [("true", None), ("false", None)]


def test_tools_beside_a_pair_are_refused_by_name(tmp_path: Path) -> None:
    given = {"messages": [asked()], "tools": [{"type": "function", "function": {"name": "look"}}]}
    row = {"input": given, "preferred_output": [said(GOOD)], "non_preferred_output": [said(BAD)]}
    reading = read(tmp_path, row)
    assert not reading.rows
    assert "tools" in reading.broken[0].reason
