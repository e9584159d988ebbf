"""A shadow answers copies that nobody is sent, and its flips are counted: live, and over logged traffic."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from driftwheel.control.controls import SHADOW
from driftwheel.errors import ConflictError, EngineError, NotFoundError
from driftwheel.records.nouns import DeploymentStage, Traffic
from serve.shadow import shadow
from serve.shadow.flips import AnswerPair, as_text, count_flips
from serve.verbs.shadow import add_arguments
from tests.support import fake_gateway
from tests.support.fake_world import World

MakeWorld = Callable[..., World]
CARD, LOST = '{"intent": "card"}', '{"intent": "lost"}'


def pair(first: str, second: str | None, id: str = "r") -> AnswerPair:
    return AnswerPair(id, "where is it", first, second)


@pytest.mark.parametrize(
    ("first", "second", "label_field", "flips", "changed"),
    [
        (CARD, LOST, "intent", 1, 1),
        (CARD, '{"intent":  "card", "urgency": 1}', "intent", 0, 1),
        (CARD, "no JSON", "intent", 1, 1),
        ("no JSON", "no JSON", "intent", 0, 0),
        ("no JSON", "another", "intent", 1, 1),
        ("a b", "a  b", None, 1, 0),
        ("same", "same", None, 0, 0),
    ],
)
def test_a_flip_is_another_label(first: str, second: str, label_field: str | None, flips: int, changed: int) -> None:
    found = count_flips([pair(first, second)], label_field)
    assert (found.flipped, len(found.most_changed)) == (flips, changed)


def test_the_report_has_the_rate_its_interval_and_the_twenty_most_changed() -> None:
    pairs = [pair(CARD, LOST if n < 30 else CARD, f"r{n:03d}") for n in range(100)] + [pair(CARD, None, "failed")]
    flips = count_flips(pairs, "intent")
    assert (flips.asked, flips.failed, flips.flipped, len(flips.most_changed)) == (101, 1, 30, 20)
    assert flips.interval == pytest.approx((0.2189, 0.3958), abs=1e-3)  # Wilson's for 30 of 100
    assert as_text(flips).startswith("30 of 100 answers flip: 30.0% [21.9%, 39.6%]\n1 of 101 requests got no answer")


def test_live_requests_are_copied_and_replayed_and_only_the_live_answer_is_sent(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which is not for the loop's own engines
    world = make_world()
    version = world.publish("v2", answer=LOST, seconds=0.5)  # eight at a time: a slow machine asks for more, too
    asyncio.run(world.load(20, 60, lambda: world.ledger.count(Traffic) >= 7))
    replayed = shadow.replay(world.settings, world.ledger, version, 7, fake_gateway.start)
    assert (replayed.asked, replayed.failed, replayed.flipped) == (7, 0, 7)
    with pytest.raises(NotFoundError, match="no copied requests"):
        shadow.report(world.ledger, world.settings.alias_key, "v2", label_field=world.settings.dataset.label_field)
    shadow.begin(world.settings.serve, world.ledger, world.settings.project, version)

    def copies() -> list[Traffic]:
        return world.ledger.find(Traffic, alias="support@shadow")

    answers = asyncio.run(world.load(100, 60, lambda: len(copies()) >= 20))
    assert {(answer.status, answer.version_id) for answer in answers} == {(200, "v1")}
    assert world.stages() == {"v1": DeploymentStage.LIVE, "v2": DeploymentStage.SHADOW}
    before = len(copies())
    flips = shadow.report(world.ledger, world.settings.alias_key, "v2", label_field=world.settings.dataset.label_field)
    assert before <= flips.asked == flips.flipped <= len(copies())
    assert len(copies()) < len(answers), "a slow shadow is left out, not waited for"
    assert {row.answer for row in copies()} == {LOST}


def test_a_shadow_that_is_not_the_model_it_claims_is_refused(make_world: MakeWorld) -> None:
    world = make_world()
    version: Any = world.publish("v2", logprob=-0.9)
    with pytest.raises(EngineError, match="does not shadow v2"):
        shadow.begin(world.settings.serve, world.ledger, world.settings.project, version)


def test_another_version_than_the_one_that_is_shadowed_is_not_stopped(make_world: MakeWorld) -> None:
    world = make_world()
    first, second = world.publish("v2", answer=LOST), world.publish("v3", answer=LOST)
    project, ledger = world.settings.project, world.ledger
    ledger.set_switch(project, SHADOW, first.id)
    with pytest.raises(ConflictError, match="copied to v2, not to v3"):
        shadow.stop(ledger, second)
    assert ledger.switch(project, SHADOW) == first.id
    shadow.stop(ledger, first)
    assert ledger.switch(project, SHADOW) == ""
    shadow.stop(ledger, first)  # again: there is nothing left to stop


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_only_a_positive_number_of_requests_is_replayed(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["v2", "--replay", "1"]).replay == 1
    with pytest.raises(SystemExit):
        parser.parse_args(["v2", "--replay", count])
    assert "argument --replay" in capsys.readouterr().err
