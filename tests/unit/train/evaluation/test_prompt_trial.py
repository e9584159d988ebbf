"""Prompts are tried on an endpoint that speaks the chat completions protocol; vLLM itself is in tests/integration."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from driftwheel.errors import DataError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.records.predictions import Prediction
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import Message, said
from tests.support.versions import add_versions
from train.asking.client import Endpoint
from train.data.examples import Example
from train.evaluation.prompt_trial import NO_PROMPT, Trial, asked_rows, compare, try_prompts
from train.prompts.prompt_file import Prompt, Shot

LABELS = ("card", "refund", "login")
HELPS = Prompt(examples=(Shot(prompt="an example about something else", completion="card"),))
"""The stand-in's model knows the answer only after an example."""


def example(number: int, split: str) -> Example:
    label = LABELS[number % 3]
    asked: list[Message] = [said("user", f"{split} question {number} about my {label}, please")]
    return Example(f"{split}-{number}", asked, [said("assistant", label)], label, f"{split}-{number}")


@pytest.fixture
def dataset(settings: Settings, ledger: Ledger) -> Dataset:
    add_versions(ledger, "v1")
    record = ledger.get(Dataset, ledger.get(ModelVersion, "v1").dataset_id)
    path = settings.root / "datasets" / record.id
    with artifacts.writing(path, {}) as folder:
        for split in ("train", "validation", "test"):
            lines = [json.dumps(example(number, split).as_line()) + "\n" for number in range(30)]
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return replace(record, path=str(path))


@pytest.fixture
def endpoint(serve_json: Callable[[Callable[[str, Any, Any], tuple[int, Any]]], str]) -> Endpoint:
    def reply(path: str, headers: Any, body: Any) -> tuple[int, Any]:
        messages = body["messages"]
        if len(json.dumps(messages)) > 2000:
            return 400, {"error": {"message": "longer than the model's context", "code": 400}}
        known = next(label for label in LABELS if label in messages[-1]["content"])
        content = known if len(messages) > 1 else "card"
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
        usage = {"prompt_tokens": 10 * len(messages), "completion_tokens": 1, "total_tokens": 10 * len(messages) + 1}
        facts = {"id": "1", "object": "chat.completion", "created": 0, "model": "tuned"}
        return 200, {**facts, "choices": [choice], "usage": usage}

    return Endpoint(url=serve_json(reply), model="tuned", api_key="secret")


def test_each_prompt_is_scored_on_the_validation_rows_beside_none(
    settings: Settings, ledger: Ledger, dataset: Dataset, endpoint: Endpoint
) -> None:
    version = ledger.get(ModelVersion, "v1")
    tried = {"helps": HELPS, "too long": Prompt(instructions="long " * 1000)}
    none, helps, too_long = try_prompts(settings, dataset, version, tried, endpoint)
    assert (none.prompt, none.difference) == (NO_PROMPT, None)
    assert none.outcome == pytest.approx(1 / 3)
    assert helps.outcome == 1
    assert helps.difference == pytest.approx(2 / 3)
    assert helps.interval is not None
    assert 0.4 < helps.interval[0] < 2 / 3 < helps.interval[1]
    assert (none.scores.prompt_tokens_mean, helps.scores.prompt_tokens_mean) == (10, 30)
    assert too_long == Trial(prompt="too long", criterion="right", note=too_long.note)
    assert "longer than the model's context" in str(too_long.note)


def test_replayed_rows_do_not_outvote_new_ones_in_a_trial() -> None:
    old, new = (
        [replace(example(n, name), slice=name) for n in range(count)] for name, count in (("old", 30), ("new", 4))
    )
    asked = asked_rows([*old, *new], 500, 0)
    assert [row.slice for row in asked] == ["old"] * 4 + ["new"] * 4
    assert len(asked_rows([*old, *new], 6, 0)) == 6
    assert asked_rows(old, 500, 0) == old, "a first Dataset has one kind of rows"


def test_a_file_called_no_prompt_takes_the_place_of_nothing(
    settings: Settings, ledger: Ledger, dataset: Dataset, endpoint: Endpoint
) -> None:
    """It was what every other prompt was compared with."""
    version = ledger.get(ModelVersion, "v1")
    none, named = try_prompts(settings, dataset, version, {NO_PROMPT: HELPS}, endpoint)
    assert none.outcome == pytest.approx(1 / 3)
    assert none.difference is None
    assert named.outcome == 1
    assert named.difference == pytest.approx(2 / 3)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_prompt_that_shows_a_row_that_judges_is_refused(
    settings: Settings, ledger: Ledger, dataset: Dataset, endpoint: Endpoint, split: str
) -> None:
    version, judging = ledger.get(ModelVersion, "v1"), example(7, split)
    shows = Prompt(examples=(*HELPS.examples, Shot(prompt=judging.text.upper(), completion="card")))
    with pytest.raises(DataError, match=r"p, example 2.* which is to judge it"):
        try_prompts(settings, dataset, version, {"p": shows}, endpoint)
    says = Prompt(instructions=f"To {judging.text} say card.")
    with pytest.raises(DataError, match="the instructions of p hold"):
        try_prompts(settings, dataset, version, {"p": says}, endpoint)


def test_grades_are_compared_item_by_item_and_those_that_lack_are_left_out() -> None:
    def items(*grades: float | None) -> list[Prediction]:
        return [
            Prediction(
                id=str(number),
                slice="old",
                prompt="q",
                expected="a",
                answer="a",
                label=None,
                predicted=None,
                is_correct=True,
                latency_seconds=0.1,
                mean_logprob=None,
                grade=grade,
            )
            for number, grade in enumerate(grades)
        ]

    difference, interval = compare(items(0.9, 0.5, None), items(0.5, 0.5, 0.0), "chrf")
    assert difference == pytest.approx(0.2)
    assert interval is not None
    assert interval[0] < 0 < 0.2 < interval[1]
    assert compare(items(None), items(0.5), "chrf") == (None, None)
