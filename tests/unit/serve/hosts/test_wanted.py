"""What a host has is what gateways use or are about to use, the live version first."""

import pytest
import sqlalchemy as sa

from driftwheel.control.controls import SHADOW
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import move_alias, observe_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from serve.hosts.wanted import wanted_versions
from serve.release.canary_run import ROLLED_BACK
from tests.support.versions import add_versions


def deployment(version_id: str, stage: DeploymentStage) -> Deployment:
    return Deployment(
        id=f"d_{version_id}", project="support", alias="support", version_id=version_id, stage=stage, fence=1, reason=""
    )


def observe(ledger: Ledger, version_id: str, fence: int, error: str | None = None) -> None:
    with ledger.write() as connection:
        observe_alias(connection, "support", "support", version_id=version_id, fence=fence, error=error)


@pytest.mark.every_database
def test_the_live_version_comes_first_then_the_desired_then_what_is_beside_them(
    settings: Settings, ledger: Ledger
) -> None:
    add_versions(ledger, "v1", "v2", "v3", "v4", "v5")
    key = settings.alias_key
    assert wanted_versions(ledger, key) == []
    move_alias(ledger, *key, "v1")
    assert wanted_versions(ledger, key) == ["v1"]
    observe(ledger, "v1", 1)
    move_alias(ledger, *key, "v2")
    ledger.add(deployment("v3", DeploymentStage.DRAINING), deployment("v4", DeploymentStage.RETIRED))
    ledger.set_switch("support", SHADOW, "v5")
    assert wanted_versions(ledger, key) == ["v1", "v2", "v5", "v3"]


def test_a_canary_that_was_rolled_back_is_wanted_again_only_by_another_move(settings: Settings, ledger: Ledger) -> None:
    add_versions(ledger, "v1", "v2")
    key = settings.alias_key
    move_alias(ledger, *key, "v1")
    observe(ledger, "v1", 1)
    move_alias(ledger, *key, "v2")
    observe(ledger, "v1", 2, "its engine does not start")
    assert wanted_versions(ledger, key) == ["v1", "v2"]  # the gateway tries that again
    observe(ledger, "v1", 2, f"{ROLLED_BACK} slower")
    assert wanted_versions(ledger, key) == ["v1"]
    with ledger.write() as connection:
        connection.execute(sa.update(TABLES[Alias]).values(fence=3))
    assert wanted_versions(ledger, key) == ["v1", "v2"]
