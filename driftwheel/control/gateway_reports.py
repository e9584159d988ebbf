"""What the gateway reports on the alias row, and waiting for it: that it is there, that it serves what is desired."""

import time

from driftwheel.errors import ConflictError, EngineError
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.settings.serving import ServeSettings
from driftwheel.store.ledger import Ledger

STALE_SECONDS = 60.0
"""The gateway reports every 15 s: four reports are missing then."""
POLL_SECONDS = 0.1
LOOK_SECONDS = 6.0
"""The gateway that leads counts a heartbeat on the alias' row every 2 s; three are missing then."""


def has_gateway(ledger: Ledger, alias: Alias, patience_seconds: float = LOOK_SECONDS) -> bool:
    """Say whether a gateway looks after an alias: it has reported on it, or its heartbeat comes within the patience.

    A gateway that waits for its first alias has reported nothing, and may need minutes for its first engine.
    """
    deadline = time.monotonic() + patience_seconds
    while (current := ledger.get(Alias, alias.id)).observed_at is None and current.heartbeats == alias.heartbeats:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait_until_observed(serve: ServeSettings, ledger: Ledger, alias: Alias) -> Alias:
    """Wait until the gateway serves what the alias row asks for; while a canary runs, wait for its end.

    Raises EngineError if the gateway refused it or did not report in time, ConflictError if someone moved on.
    """
    patience_seconds = serve.start_timeout_seconds + serve.drain_timeout_seconds + serve.room_timeout_seconds
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        current = ledger.get(Alias, alias.id)
        if current.fence != alias.fence:
            raise ConflictError(f"alias {alias.name!r} was moved to {current.version_id} meanwhile")
        if current.observed_fence == current.fence:
            if current.observed_error:
                raise EngineError(f"the gateway refused {current.version_id}: {current.observed_error}")
            if current.observed_version_id == current.version_id:
                return current
        # A canary takes as long as its shares do; the patience counts from its end.
        if ledger.count(
            Deployment, project=alias.project, alias=alias.name, fence=alias.fence, stage=DeploymentStage.CANARY.value
        ):
            deadline = time.monotonic() + patience_seconds
        time.sleep(POLL_SECONDS)
    raise EngineError(f"the gateway did not report {alias.version_id} live in time; is `driftwheel serve` running?")
