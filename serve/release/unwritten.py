"""Writes down a way back that users have had already, as soon as the database lets it."""

import asyncio

import structlog

from driftwheel.control.controls import rollback
from driftwheel.errors import ConflictError, GateError, NotFoundError, StorageError
from driftwheel.records.alias_key import AliasKey
from driftwheel.store.ledger import Ledger
from serve.routing.table import RoutingTable

log = structlog.get_logger()


async def is_written_down(ledger: Ledger, key: AliasKey, routes: RoutingTable) -> bool:
    """Say whether no rollback waits for its record; one that does is recorded if the ledger takes it.

    Until then nothing else may move the alias: what its row desires is what somebody has just turned away from.
    """
    order = routes.order
    if order is None:
        return True
    try:
        await asyncio.to_thread(rollback, ledger, key, fence=order.fence, by=order.by)
    except StorageError as error:
        log.error("a rollback is not written down yet", version=order.version_id, error=str(error))
        return False
    except (ConflictError, GateError, NotFoundError) as error:
        log.error("a rollback was overtaken: the alias' row rules", version=order.version_id, error=str(error))
    routes.order = None
    return True
