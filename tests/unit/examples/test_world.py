"""The example's world: distinct messages, the same from the same seed, with a shift worth the name."""

import json
from collections import Counter

import pytest

from examples.support.demo_tasks import SUPPORT, TEXT
from examples.support.prepare import SEEDS, held_out_requests
from examples.support.task import Task
from examples.support.world import answer, messages, unlabelled_text


def test_a_seed_gives_the_same_messages_and_another_seed_others() -> None:
    first, again, other = messages(500, 1, "steady"), messages(500, 1, "steady"), messages(500, 2, "steady")
    assert first == again
    assert len({m.text for m in first}) == 500
    assert len({m.text for m in first} & {m.text for m in other}) < 50


def test_steady_traffic_has_a_dozen_intents_and_the_shift_brings_new_ones_and_old_ones_in_new_words() -> None:
    steady, shifted = messages(3000, 1, "steady"), messages(3000, 3, "shifted")
    old = Counter(m.intent for m in steady)
    assert len(old) == 12
    assert min(old.values()) > 100
    new = [m for m in shifted if m.intent not in old]
    assert 0.25 < len(new) / len(shifted) < 0.42
    known_words = {word for m in steady for word in m.text.lower().split()}
    reworded = [m for m in shifted if m.intent in old and m.phase == "shifted"]
    assert sum("nestora" in m.text.lower() or "hub" in m.text.lower() for m in reworded) > len(reworded) / 4
    assert "nestora" not in known_words


def test_an_answer_is_a_small_json_object() -> None:
    (message,) = messages(1, 1, "steady")
    assert json.loads(answer(message)) == {"intent": message.intent, "urgency": message.urgency}


@pytest.mark.parametrize("task", [SUPPORT, TEXT], ids=lambda task: task.name)
def test_held_out_requests_are_not_in_the_seed_data(task: Task) -> None:
    held_out = {e.text for e in held_out_requests(task, "steady")}
    assert not held_out & {e.text for e in task.requests(task.sizes.seed_rows, SEEDS["seed"], "steady")}


def test_the_text_for_the_base_says_nothing_about_which_answer_belongs_to_what() -> None:
    documents = unlabelled_text(3000, 0)
    intents = {m.text: m.intent for m in messages(4000, 1, "steady")}
    right = total = 0
    for document in documents:
        asked = [m["content"] for m in document if m["role"] == "user"]
        for message in document:
            if message["role"] == "assistant" and (known := [intents[text] for text in asked if text in intents]):
                total += 1
                right += json.loads(message["content"])["intent"] in known
    assert total > 50
    assert right / total < 0.25, "16 intents dealt out at random are right one time in 16"
