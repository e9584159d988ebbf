"""Tool calls are scored by name and by argument, worked out by hand."""

import pytest

from driftwheel.records.predictions import Prediction
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.text.conversations import Message, calls_in, said
from train.data.examples import Example
from train.evaluation.scores import grade_answer, score
from train.evaluation.scoring import task_of
from train.evaluation.tool_scores import argument_scores, tool_flags

ULM = '[{"arguments": {"city": "Ulm", "days": 3}, "name": "weather"}]'
BONN = '[{"name": "weather", "arguments": {"city": "Bonn", "days": 3}}]'
TIME = '[{"name": "time", "arguments": {"city": "Ulm"}}]'
EXPECTED = [ULM, ULM, ULM, "Sunny."]
ANSWERS = ["I look it up.\n" + ULM, BONN, TIME, "Sunny."]


def test_the_right_tools_and_the_right_calls_are_told_apart() -> None:
    assert tool_flags(EXPECTED, ANSWERS) == {
        "tool_names": [True, True, False, True],
        "tool_calls": [True, False, False, True],
    }
    assert tool_flags(["Sunny."], [ULM]) == {"tool_names": [False], "tool_calls": [False]}


def test_each_argument_has_a_score() -> None:
    found = argument_scores(EXPECTED, ANSWERS)
    assert {name: (one.items, round(one.accuracy, 4)) for name, one in found.items()} == {
        "weather.city": (3, 0.3333),
        "weather.days": (3, 0.6667),
    }


def test_an_item_is_right_by_its_calls_and_not_by_the_words_beside_them() -> None:
    graded = [grade_answer(e, a, None, "intent")[1] for e, a in zip(EXPECTED, ANSWERS, strict=True)]
    assert graded == [True, False, False, True]
    assert not grade_answer("Sunny.", ULM, None, None)[1]


def test_the_scorecard_of_calls_has_their_shares_and_intervals() -> None:
    items = [
        Prediction(
            id=str(n),
            slice="new",
            prompt="q",
            expected=e,
            answer=a,
            label=None,
            predicted=None,
            is_correct=e == a,
            latency_seconds=0.1,
            mean_logprob=None,
        )
        for n, (e, a) in enumerate(zip(EXPECTED, ANSWERS, strict=True))
    ]
    card = score(items, "tools")
    assert (card.task, card.tool_names, card.tool_calls) == ("tools", 0.75, 0.5)
    assert {"tool_names", "tool_calls"} <= card.intervals.keys()
    assert (card.fields or {}).keys() == {"weather.city", "weather.days"}
    assert score(items, "text").tool_calls is None


def test_rows_with_calls_are_a_task_of_their_own() -> None:
    call: Message = {"role": "assistant", "content": None, "tool_calls": []}
    rows = [
        Example(str(n), [said("user", "q")], [answer], None, "")
        for n, answer in enumerate([said("assistant", "x"), call])
    ]
    assert task_of(EvaluateSettings(), rows) == "tools"
    assert task_of(EvaluateSettings(), rows[:1]) != "tools"


@pytest.mark.parametrize("text", ["", "[]", "[1]", '[{"name": "f"}]', "Sunny.", "[[[", "{}"])
def test_other_texts_are_no_calls(text: str) -> None:
    assert calls_in(text) == []
