"""What training never showed is named; what it showed is not."""

import json
from typing import Any

import pytest

from driftwheel.records.predictions import Prediction
from driftwheel.text.conversations import said
from train.data.examples import Example
from train.evaluation.hallucination import made_up_flags, prompt_overlap, shown_by


def row(number: int, answer: str, label: str | None = None, prompt: str = "q") -> Example:
    asked = [said("system", "be brief"), said("user", prompt)]
    return Example(str(number), asked, [said("assistant", answer)], label, group=str(number))


def item(answer: str, label: str | None = None, predicted: str | None = None) -> Prediction:
    return Prediction(
        id="0",
        slice="old",
        prompt="q",
        expected="",
        answer=answer,
        label=label,
        predicted=predicted,
        is_correct=False,
        latency_seconds=0.1,
        mean_logprob=None,
    )


TRAINED = [row(n, json.dumps({"intent": ("card", "login")[n % 2], "order": 1000 + n})) for n in range(8)]


@pytest.mark.parametrize(
    ("answer", "outside"),
    [
        pytest.param({"intent": "card", "order": 7}, [False], id="an open field may hold anything"),
        pytest.param({"intent": "refund", "order": 1000}, [True], id="a value that a closed field never had"),
        pytest.param({"intent": "card", "team": "a"}, [True], id="a field that training never had"),
        pytest.param({"intent": "card"}, [False], id="a missing field is wrong, but not made up"),
        pytest.param("no object", [], id="what is no object is counted by the validity"),
    ],
)
def test_an_object_may_hold_what_training_showed(answer: Any, outside: list[bool]) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    flags = made_up_flags([row(0, "{}")], [item(text)], "json", shown_by(TRAINED))
    assert flags["outside_schema"] == outside


def test_labels_come_from_the_training_labels_and_not_from_the_test_items() -> None:
    shown = shown_by([row(0, "card", "card"), row(1, "login", "login")])
    items = [item("x", "card", predicted) for predicted in ("login", "card", "refund", None)]
    flags = made_up_flags([row(0, "x")] * 4, items, "labels", shown)
    assert flags["outside_label_set"] == [False, False, True, True]
    assert (flags["outside_schema"], flags["outside_prompt"]) == ([], [])


@pytest.mark.parametrize(
    ("answer", "overlap"),
    [
        pytest.param("the parcel left Berlin", 1, id="a quotation in other case and marks"),
        pytest.param("the parcel left Paris", 0.5, id="one of two trigrams"),
        pytest.param("Berlin", 1, id="shorter than a trigram"),
        pytest.param("left parcel", 0, id="known words in an order that the prompt has not"),
        pytest.param("", 1, id="nothing is said"),
    ],
)
def test_an_extractive_answer_stands_in_the_prompt(answer: str, overlap: float) -> None:
    rows = [row(0, "x", prompt="The parcel, left BERLIN on Monday.")]
    assert prompt_overlap(rows, [item(answer)]) == overlap
    flags = made_up_flags(rows, [item(answer)], "extractive", shown_by(rows))
    assert flags["outside_prompt"] == [overlap < 1]
    assert made_up_flags(rows, [item(answer)], "text", shown_by(rows))["outside_prompt"] == []


FACTS = (("Ann", "Ulm", 3), ("Bo", "Rome", 5), ("Cy", "Ulm", 4), ("Dee", "Rome", 2))
TOLD = [
    row(n, f"{name} lives in {town} with {cats} cats.", prompt=f"name: {name}; town: {town}; cats: {cats}")
    for n, (name, town, cats) in enumerate(FACTS)
]


@pytest.mark.parametrize(
    ("answer", "is_invented"),
    [
        pytest.param("With 3 cats Ann lives in Ulm.", False, id="other words around the same facts"),
        pytest.param("Ann lives there.", False, id="what is left out is wrong, but not made up"),
        pytest.param("Ann lives in Rome with 3 cats.", True, id="a town of another row"),
        pytest.param("Ann lives in Ulm with 7 cats.", True, id="a number that no row has"),
        pytest.param("", False, id="nothing is said"),
    ],
)
def test_a_text_states_the_facts_of_its_prompt(answer: str, is_invented: bool) -> None:
    shown = shown_by(TOLD)
    assert shown.facts >= {"ann", "rome", "3"}
    assert shown.facts.isdisjoint({"lives", "in", "with"})
    assert made_up_flags(TOLD[:1], [item(answer)], "text", shown)["invented"] == [is_invented]
    assert made_up_flags(TOLD[:1], [item(answer)], "labels", shown)["invented"] == []
