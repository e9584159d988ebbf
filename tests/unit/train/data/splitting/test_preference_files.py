"""Files of better and worse answers teach the better ones, train DPO and KTO, and leak no test row."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import DataError
from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.checking.data_check import check_files
from train.data.sources.preferences import read_preferences
from train.data.splitting.dataset_files import read_splits
from train.dataset import build_dataset
from train.finetune import finetune
from train.preference.prefer import given_preferences

GOOD, BAD = '{"intent": "lake"}', '{"intent": "evening"}'


def question(number: int) -> str:
    return f"where is number {number * 7919} of {number}"


def built(settings: Settings, ledger: Ledger, rows: Sequence[dict[str, Any]]) -> Dataset:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    settings.resolve("seed.jsonl").write_text(text, encoding="utf-8")
    return build_dataset(settings, ledger)


def texts(messages: Sequence[dict[str, str]]) -> str:
    return " ".join(message["content"] for message in messages)


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": question(n), "chosen": GOOD, "rejected": BAD} for n in range(count)]


def thumbs(count: int) -> list[dict[str, Any]]:
    """Each third answer is bad, and to each sixth question there are both."""
    rows = [
        {"prompt": question(n), "completion": BAD if n % 3 == 0 else GOOD, "label": n % 3 != 0} for n in range(count)
    ]
    return [*rows, *({"prompt": question(n), "completion": GOOD, "label": True} for n in range(0, count, 6))]


def test_of_a_pair_the_worse_answer_is_never_learned(settings: Settings, ledger: Ledger) -> None:
    dataset = built(settings, ledger, pairs(120))
    splits = read_splits(dataset)
    assert {e.answer for rows in splits.values() for e in rows} == {GOOD}
    for split in ("train", "validation"):
        rows = read_preferences(Path(dataset.path), "dpo", split)
        assert {texts(row["prompt"]) for row in rows} == {e.text for e in splits[split]}
        assert {(texts(row["chosen"]), texts(row["rejected"])) for row in rows} == {(GOOD, BAD)}
        judged = read_preferences(Path(dataset.path), "kto", split)
        assert {(texts(row["completion"]), row["label"]) for row in judged} == {(GOOD, True), (BAD, False)}
    assert dataset.report.preferences["dpo_train"] == len(splits["train"])


def test_of_judged_answers_the_bad_are_never_learned_and_are_counted(settings: Settings, ledger: Ledger) -> None:
    dataset = built(settings, ledger, thumbs(180))
    splits = read_splits(dataset)
    assert {e.answer for rows in splits.values() for e in rows} == {GOOD}
    assert dataset.report.dropped["marked as bad: no answer to learn"] == 60
    folder = Path(dataset.path)
    tested = {e.text for e in splits["test"]}
    rows = {split: read_preferences(folder, "kto", split) for split in ("train", "validation")}
    for split, others in (("train", "validation"), ("validation", "train")):
        asked = {texts(row["prompt"]) for row in rows[split]}
        assert not asked & {*tested, *(texts(row["prompt"]) for row in rows[others])}
        assert {row["label"] for row in rows[split]} == {True, False}
    # The questions with a good and a bad answer make pairs.
    both = {question(n) for n in range(0, 180, 6)} - tested
    found = [row for split in rows for row in read_preferences(folder, "dpo", split)]
    assert {texts(row["prompt"]) for row in found} == both


def test_a_bad_answer_to_a_question_like_a_test_row_is_left_out(settings: Settings, ledger: Ledger) -> None:
    bad = [{"prompt": question(n).upper() + "!", "completion": BAD, "label": False} for n in range(120)]
    settings.resolve("bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad), encoding="utf-8")
    settings.resolve("seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs(120)), encoding="utf-8")
    dataset = build_dataset(settings, ledger, [settings.resolve("seed.jsonl"), settings.resolve("bad.jsonl")])
    splits = {name: {e.text for e in rows} for name, rows in read_splits(dataset).items()}
    for split in ("train", "validation"):
        asked = {texts(row["prompt"]) for row in read_preferences(Path(dataset.path), "kto", split)}
        assert any(text.isupper() for text in asked)
        assert not asked & {text.upper() + "!" for text in splits["test"]}
    assert dataset.report.dropped["a preference whose prompt is a test row, or like one"] >= 2 * len(splits["test"])


def test_a_preference_with_tools_is_counted_and_not_half_learned(settings: Settings, ledger: Ledger) -> None:
    tools = [{"type": "function", "function": {"name": "lake"}}]
    dataset = built(settings, ledger, [*pairs(120), {**pairs(121)[-1], "tools": tools}])
    assert dataset.report.dropped["a preference with tools, which dpo and kto cannot learn"] == 1


def test_files_without_preferences_make_no_preference_files(settings: Settings, ledger: Ledger) -> None:
    dataset = built(settings, ledger, [{"prompt": question(n), "completion": GOOD, "who": "x"} for n in range(120)])
    assert not [path.name for path in Path(dataset.path).iterdir() if path.name.startswith(("dpo", "kto"))]
    assert dataset.report.preferences == {}
    assert dataset.report.unused_columns == {"seed.jsonl": ["who"]}
    assert given_preferences(ledger, "support", "dpo") is None


def test_plain_text_is_refused_by_name(settings: Settings, ledger: Ledger) -> None:
    path = settings.resolve("book.txt")
    path.write_text("Once.\n\nUpon a time.\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"book\.txt is plain text without questions"):
        build_dataset(settings, ledger, [path])
    found = check_files(settings.dataset, settings.base, 64, [path])
    assert (found.files[0].format, found.files[0].rows) == ("plain_text", 2)
    assert "Plain text has no answers" in found.suggestions[0]


def test_a_check_says_what_is_not_learned(settings: Settings) -> None:
    path = settings.resolve("seed.jsonl")
    path.write_text("".join(json.dumps({**row, "who": "x"}) + "\n" for row in thumbs(60)), encoding="utf-8")
    found = check_files(settings.dataset, settings.base, 64, [path])
    assert (found.files[0].unused, found.files[0].bad, found.labels) == (["who"], 20, {"lake": 50})
    said = " ".join(found.suggestions)
    assert "Nothing is learned from who" in said
    assert "20 answers are marked as bad" in said
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(60)), encoding="utf-8")
    assert "Of 60 pairs the better answer is learned" in " ".join(
        check_files(settings.dataset, settings.base, 64, [path]).suggestions
    )


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_file_of_preferences_trains_the_base_model(train_settings: Settings, ledger: Ledger, objective: str) -> None:
    built(train_settings, ledger, pairs(60))
    given = given_preferences(ledger, "support", objective)
    assert given is not None
    train = train_settings.train.model_copy(
        update={"objective": objective, "max_steps": 6, "eval_steps": 3, "learning_rate": 5e-3, "bf16": False}
    )
    run = finetune(train_settings.model_copy(update={"train": train}), ledger, given.id)
    assert run.metrics.reward_margin is not None
    assert run.metrics.reward_margin > 0


def test_each_preference_that_is_not_learned_is_counted(settings: Settings, ledger: Ledger) -> None:
    rows = [*pairs(120), {"prompt": " ", "chosen": GOOD, "rejected": BAD}, pairs(1)[0]]
    dropped = built(settings, ledger, rows).report.dropped
    assert dropped["a preference of which a text is empty after cleaning"] == 1
    assert dropped["a preference that repeats another"] == 1
    few = built(
        settings, ledger, [*[{"prompt": question(n), "completion": GOOD} for n in range(119)], *pairs(120)[-1:]]
    )
    assert sum(count for reason, count in few.report.dropped.items() if "to hold some of them out" in reason) in (0, 3)
    assert few.report.preferences == {}
