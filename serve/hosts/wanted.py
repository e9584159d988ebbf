"""Which versions an engine host is to have, by the ledger: the live one first, then what is desired or watched."""

from driftwheel.control.controls import SHADOW
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from serve.release.canary_run import ROLLED_BACK

ENGINE_STAGES = [stage.value for stage in DeploymentStage if stage is not DeploymentStage.RETIRED]


def wanted_versions(ledger: Ledger, key: AliasKey) -> list[str]:
    """Return the ids of the versions that gateways use or are about to, in the order of their need."""
    alias = find_alias(ledger, *key)
    if alias is None:
        return []
    rows = ledger.find(Deployment, project=key.project, alias=key.name, stage=ENGINE_STAGES)
    ids = [
        alias.observed_version_id,
        None if _is_rolled_back(alias) else alias.version_id,
        ledger.switch(key.project, SHADOW) or None,
        *(row.version_id for row in rows),
    ]
    return list(dict.fromkeys(version_id for version_id in ids if version_id))


def _is_rolled_back(alias: Alias) -> bool:
    """Say whether a canary failed for good, so that nobody needs its engine before the alias moves again."""
    is_seen = alias.observed_fence == alias.fence and alias.observed_version_id != alias.version_id
    return is_seen and (alias.observed_error or "").startswith(ROLLED_BACK)
