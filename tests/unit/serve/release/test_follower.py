"""A gateway that follows serves what the leader serves, gives a canary the same share, and never goes first."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftwheel.control import controls
from driftwheel.files.artifacts import read_manifest
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import observe_alias
from driftwheel.store.ledger import Ledger
from serve.engines.engine import Engine
from serve.release.reconciler import Reconciler
from serve.routing.choice import Split
from serve.routing.table import RoutingTable
from tests.support.versions import add_with_parents, published_version

PROBE = ProbeAnswer(messages=({"role": "user", "content": "hi"},), tokens=("yes", "."), logprobs=(-0.5, -0.5))


class Gateways:
    """Two rollouts on one ledger; the first one leads."""

    def __init__(self, settings: Settings, ledger: Ledger, start: Callable[..., Engine]) -> None:
        self.settings, self.ledger = settings, ledger
        self.tables = [RoutingTable(), RoutingTable()]
        self.rollouts = [
            Reconciler(
                settings.model_copy(update={"serve": settings.serve.model_copy(update={"port": 8001 + number})}),
                ledger,
                table,
                start,
            )
            for number, table in enumerate(self.tables)
        ]

    def served(self) -> list[str | None]:
        return [table.aliases.get("support") for table in self.tables]

    def splits(self) -> list[Split | None]:
        return [table.splits.get("support") for table in self.tables]

    def promote(self, version_id: str, *shares: float) -> None:
        controls.promote(self.ledger, self.settings.alias_key, version_id, canary_shares=shares)

    async def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"{self.served()} {self.splits()}"
            for rollout in self.rollouts:
                await rollout.reconcile()
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        for rollout in self.rollouts:
            await rollout.stop()


@pytest.fixture
def gateways(
    settings: Settings, ledger: Ledger, start_fake: Callable[..., Engine], make_artifact: Callable[..., Path]
) -> Gateways:
    def publish(id: str, **facts: Any) -> None:
        path = make_artifact(id, **facts)
        add_with_parents(
            ledger,
            published_version(
                id,
                path=str(path),
                manifest_hash=read_manifest(path).content_hash,
                fingerprint=Fingerprint(probes=(PROBE,)),
            ),
        )

    publish("v1")
    publish("v2")
    publish("other", logprob=-3.0)
    return Gateways(settings, ledger, start_fake)


def test_a_canary_has_the_same_share_on_both_and_goes_from_both(gateways: Gateways) -> None:
    async def scene() -> None:
        gateways.promote("v1")
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        gateways.promote("v2", 0.25)
        await gateways.until(lambda: gateways.splits() == [Split("v2", 0.25)] * 2)
        assert gateways.served() == ["v1", "v1"]
        gateways.promote("v1")
        await gateways.until(lambda: gateways.splits() == [None, None])
        assert gateways.served() == ["v1", "v1"]
        await gateways.stop()

    asyncio.run(scene())


def test_the_follower_goes_second_and_there_is_one_row_for_both(gateways: Gateways) -> None:
    async def scene() -> None:
        gateways.promote("v1")
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        gateways.promote("v2")
        await gateways.until(lambda: gateways.served()[0] == "v2" or gateways.served()[1] == "v2")
        assert gateways.served()[0] == "v2"
        await gateways.until(lambda: gateways.served() == ["v2", "v2"])
        assert [row.version_id for row in gateways.ledger.find(Deployment, stage=DeploymentStage.LIVE.value)] == ["v2"]
        await gateways.stop()

    asyncio.run(scene())


def test_what_the_leader_refuses_the_follower_never_serves(gateways: Gateways) -> None:
    async def scene() -> None:
        gateways.promote("v1")
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        gateways.promote("other")
        await gateways.until(lambda: bool(gateways.ledger.find(Alias)[0].observed_error))
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        assert gateways.splits() == [None, None]
        await gateways.stop()

    asyncio.run(scene())


def test_a_follower_that_takes_over_in_a_canary_begins_it_anew(gateways: Gateways) -> None:
    async def scene() -> None:
        gateways.promote("v1")
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        gateways.promote("v2", 0.25)
        await gateways.until(lambda: gateways.splits() == [Split("v2", 0.25)] * 2)
        leader, follower = gateways.rollouts
        await leader.stop()
        follower.election.look()
        gateways.rollouts.remove(leader)

        def canary_rows() -> int:
            rows = gateways.ledger.find(Deployment, version_id="v2")
            return [row.stage for row in rows].count(DeploymentStage.CANARY)

        await gateways.until(lambda: canary_rows() == 1)
        live = gateways.ledger.find(Deployment, stage=DeploymentStage.LIVE.value)
        assert [(row.version_id, row.share) for row in live] == [("v1", 0.75)]
        assert gateways.splits()[1] == Split("v2", 0.25)
        await follower.stop()

    asyncio.run(scene())


def test_a_version_that_was_live_needs_no_second_canary_where_another_gateway_takes_over(gateways: Gateways) -> None:
    async def scene() -> None:
        gateways.promote("v1")
        await gateways.until(lambda: gateways.served() == ["v1", "v1"])
        leader, follower = gateways.rollouts
        gateways.promote("v2", 0.25)
        with gateways.ledger.write() as connection:  # its canary has passed, and then the leader ends
            observe_alias(connection, "support", "support", version_id="v2", fence=2)
        await leader.stop()
        follower.election.look()
        gateways.rollouts.remove(leader)
        await gateways.until(lambda: gateways.served()[1] == "v2")
        assert gateways.ledger.find(Deployment, stage=DeploymentStage.CANARY.value) == []
        await follower.stop()

    asyncio.run(scene())
