"""The demo's guests ask and give thumbs by their own keys, and somebody who is trusted mends some answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftwheel.callers.api_keys import create_key
from driftwheel.control import controls
from driftwheel.records.bookkeeping import Scope
from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Traffic
from examples.support.demo_tasks import TEXT
from examples.support.load import Client, Reply, mean_grade
from examples.support.task import Speaking
from examples.support.world_cottages import listings
from tests.support.fake_world import ALIAS, KEY, World

ANSWER = "Gullwing is a cottage in Averley. It sleeps 4."
SPEAKING = Speaking(corrected_share=0.5, thumbed_share=1.0, guests=2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def guests(world: World) -> list[str]:
    """Return the keys of the guests, made before the gateway starts: it may take a moment to know a new one."""
    scopes = [Scope.ASK, Scope.FEEDBACK]
    return [create_key(world.ledger, world.settings.project, f"guest-{n}", scopes)[1] for n in range(SPEAKING.guests)]


@pytest.fixture
def gateway(world: World, guests: list[str]) -> Iterator[World]:
    """A version that always says the same, behind the gateway."""
    world.publish("v1", answer=ANSWER)
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start()
    world.until(world.is_settled)
    yield world
    world.stop()


async def asked(client: Client) -> list[Reply]:
    replies = await client.send(listings(20, 1, "steady"), speaking=SPEAKING)
    await client.close()
    return replies


def test_guests_have_keys_of_their_own_and_are_not_trusted_with_right_answers(
    gateway: World, guests: list[str]
) -> None:
    """All had asked by the key of who corrects, whose thumbs up would have judged the retrain."""
    replies = asyncio.run(asked(Client(gateway.url, KEY, ALIAS, TEXT, guests)))
    assert [reply.error for reply in replies if reply.error] == []
    assert 0.1 < mean_grade(replies) < 0.5
    rows, project = gateway.ledger.find(Traffic), gateway.settings.project
    assert {row.key_id for row in rows} == {f"{project}/guest-0", f"{project}/guest-1"}
    assert [row.thumb for row in rows] == [1 if TEXT.likes(r.grade) else -1 for r in _as_logged(replies, rows)]
    words = gateway.ledger.find(Feedback)
    trust = {(word.kind, word.trust) for word in words}
    assert trust == {(FeedbackKind.THUMB, Trust.NONE), (FeedbackKind.CORRECTION, Trust.TRUSTED)}
    assert 3 < sum(word.kind is FeedbackKind.CORRECTION for word in words) < 17


def _as_logged(replies: list[Reply], rows: list[Traffic]) -> list[Reply]:
    by_id = {reply.request_id: reply for reply in replies}
    return [by_id[row.id] for row in rows]
