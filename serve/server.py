"""The gateway's process: gateway, reconciler and health checks on one event loop, engines as its children.

`python -m serve gateway --config driftwheel.yaml` (serve/verbs/gateway.py) runs it.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

import structlog

from driftwheel.callers.api_keys import environment_keys, keys_of
from driftwheel.cli.command import open_ledger
from driftwheel.errors import StorageError
from driftwheel.identity import utc_now
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from driftwheel.traffic.redaction import keeping
from driftwheel.traffic.retention import prune
from serve.access.key_ring import ApiKeys, follow
from serve.access.shared_counts import counting
from serve.access.startup import check_start
from serve.engines.adapters import StartEngine
from serve.engines.engine import start_artifact
from serve.engines.health import Health
from serve.gateway import Gateway
from serve.metrics import GatewayMetrics
from serve.relaying.tracing import Tracing
from serve.release.leader import LeaderElection
from serve.release.reconciler import Reconciler
from serve.routing.table import RoutingTable
from serve.shadow.mirror import Mirror

GRACE_SECONDS = 20.0
"""How long running answers may take to end: later they are cut off, and their rows say partial."""
PRUNE_SECONDS = 600.0
PRUNE_LOOK_SECONDS = 5.0
"""Between two looks of a follower whether it has become the leader, which alone prunes."""
log = structlog.get_logger()


async def serve(settings: Settings, start: StartEngine = start_artifact) -> None:
    """Run gateway, reconciler and health; the gateway listens, answering 503, before the first engine is ready.

    `start` is what makes an artifact an engine. Raises ConflictError if the port is taken.
    """
    open_until_the_end = contextlib.ExitStack()
    counts_of = open_until_the_end.enter_context(counting(settings.serve, settings.root))
    ledger = open_ledger(settings)
    traffic_log, routes = TrafficLog(ledger, keeping(settings.traffic)), RoutingTable()
    mirror = Mirror(settings.serve, settings.project, traffic_log, routes)
    reconciler = Reconciler(settings, ledger, routes, start, mirror)
    health = Health(settings.serve, routes, reconciler.engine_of)
    keys = ApiKeys(environment_keys(), counts_of=counts_of)
    keys.load(keys_of(ledger, settings.project))
    check_start(settings, keys)
    gateway = Gateway(settings, traffic_log, ledger, routes, GatewayMetrics(), keys)
    gateway.on_answered, gateway.tracing = mirror.offer, tracing_of(settings.serve)
    await gateway.start(settings.serve.host, settings.serve.port)
    spare_the_collector()
    sys.stdout.write(f"gateway listening on http://{settings.serve.host}:{settings.serve.port}\n")
    sys.stdout.flush()
    loops = [reconciler.run(), reconciler.election.run(), health.run(), follow(keys, ledger, settings.project)]
    if settings.traffic.keep_days is not None or settings.traffic.keep_mib is not None:
        loops.append(_prune_for_ever(settings, ledger, reconciler.election))
    await until_stopped(loops, partial(gateway.stop, GRACE_SECONDS))
    # From those that write rows to what they write into: the log's thread must have the last word before the ledger.
    await mirror.close()
    await reconciler.stop()
    await asyncio.to_thread(traffic_log.close)
    if gateway.tracing is not None:
        await asyncio.to_thread(gateway.tracing.close)
    ledger.close()
    open_until_the_end.close()


async def until_stopped(
    loops: Sequence[Coroutine[None, None, None]], stop_serving: Callable[[], Awaitable[None]]
) -> None:
    """Run the loops until a signal comes or one of them fails; then stop what serves, and raise what failed."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(loop) for loop in loops]
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    await stop_serving()
    for task in (*tasks, waiter):
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task  # a loop that failed raises here, after the gateway has let its clients finish


def tracing_of(serve: ServeSettings) -> Tracing | None:
    """Return what makes spans, if there is a collector; raises ConfigError where OpenTelemetry is not installed."""
    return Tracing(serve.tracing) if serve.tracing.endpoint is not None else None


def spare_the_collector() -> None:
    """Freeze the objects loaded so far, so that the garbage collector does not scan them while answers wait."""
    gc.collect()
    gc.freeze()


async def _prune_for_ever(settings: Settings, ledger: Ledger, election: LeaderElection) -> None:
    """Delete old traffic, again and again, on one of several gateways; a ledger that refuses is asked again later."""
    while True:
        while not election.is_leader:
            await asyncio.sleep(PRUNE_LOOK_SECONDS)
        try:
            pruned = await asyncio.to_thread(prune, settings, ledger, utc_now())
        except StorageError as error:
            log.error("old traffic was not deleted", error=str(error))
        else:
            log.info("old traffic was deleted", rows=pruned.rows, unchecked_rows=pruned.unchecked_rows)
        await asyncio.sleep(PRUNE_SECONDS)
