"""The shadow switch: proves the version that an operator names, and mirrors requests to it.

A shadow may be a candidate or a rejected version, since no user gets its answers. One that cannot be had is taken from
the switch, and so is one that goes live.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from driftwheel.control.controls import SHADOW
from driftwheel.errors import DriftwheelError, GateError
from driftwheel.records.by_whom import Action, process
from driftwheel.records.nouns import Alias, DeploymentStage
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from serve.engines.fleet import Fleet
from serve.release.deployments import Deployments
from serve.release.standby import Standby
from serve.shadow.mirror import Mirror

log = structlog.get_logger()


class ShadowSwitch:
    """Has the mirror copy to the version that the switch names; without a mirror it does nothing."""

    def __init__(
        self,
        project: str,
        ledger: Ledger,
        fleet: Fleet,
        deployments: Deployments,
        mirror: Mirror | None,
        prove: Callable[[str], Awaitable[None]],
    ) -> None:
        self._project, self._ledger, self._fleet, self._deployments = project, ledger, fleet, deployments
        self._mirror, self._prove = mirror, prove

    async def follow(self, alias: Alias, live_id: str | None, standby: Standby) -> None:
        """Take one look at the switch, and do what it says if that is new."""
        if self._mirror is None:
            return
        wanted = await asyncio.to_thread(self._ledger.switch, self._project, SHADOW) or None
        if wanted == self._mirror.version_id:
            return
        if self._mirror.version_id is not None:
            # It may be promoted next, and would then be up already.
            standby.keep(self._mirror.version_id)
            self._mirror.version_id = None
        if wanted is None:
            return
        try:
            if wanted == live_id:
                raise GateError(f"{wanted} is live; shadow another version")
            if self._fleet.is_only_engine(live_id):
                raise GateError(f"a shadow needs a second engine, and there is one only; replay {wanted} elsewhere")
            await self._prove(wanted)
        except DriftwheelError as error:
            log.error("shadow refused", version=wanted, error=str(error))
            await asyncio.to_thread(self._unset, wanted, str(error))
            return
        self._fleet.admit(wanted)
        standby.forget(wanted)
        await asyncio.to_thread(
            self._deployments.open, alias, wanted, DeploymentStage.SHADOW, 0.0, f"{SHADOW} of live requests"
        )
        self._mirror.version_id = wanted
        log.info("shadow begins", version=wanted)

    def end(self, version_id: str) -> None:
        """Copy to a version no more: it goes live, or away; blocks."""
        if self._mirror is not None and self._mirror.version_id == version_id:
            self._mirror.version_id = None
            self._unset(version_id, "it goes live, or away")

    def _unset(self, version_id: str, reason: str) -> None:
        by, changed = process("gateway", reason), {"before": {SHADOW: version_id}, "after": {SHADOW: ""}}
        with self._ledger.write() as connection:
            self._ledger.set_switch_with(connection, self._project, SHADOW, "")
            note_with(self._ledger, connection, by, Action.END_SHADOW, self._project, version_id, **changed)
