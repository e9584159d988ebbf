"""Run the engines of this machine for the gateways of others, as the ledger wants them.

    driftwheel engine-host --name gpu1 --address 10.0.0.5

Versions come from `storage.artifacts`. The engines answer whoever reaches the address: it belongs into a private
network, in which only the gateways may ask it.
"""

import argparse
import re
from contextlib import closing
from pathlib import Path

import uvloop

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.errors import ConfigError
from driftwheel.machine.system import only_process, why_not_listen
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import StorageSettings
from driftwheel.store.ledger import Ledger
from serve.engines.adapters import StartEngine
from serve.engines.engine import start_artifact
from serve.engines.fleet import Fleet
from serve.engines.health import Health
from serve.hosts.agent import Agent
from serve.hosts.name_claim import NameClaim
from serve.hosts.wanted import wanted_versions
from serve.routing.table import RoutingTable
from serve.server import until_stopped

LOGS = "logs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)
    parser.add_argument("--name", required=True, type=_name, help="name of this host, which no other has")
    parser.add_argument("--address", default="127.0.0.1", help="address where the gateways reach it (127.0.0.1)")


def main(arguments: argparse.Namespace) -> None:
    """Keep engines until SIGINT or SIGTERM; then let the gateways let go of them, and stop them."""
    settings = settings_from(arguments)
    with closing(open_ledger(settings)) as ledger:
        claim = NameClaim(ledger, settings.alias_key, arguments.name, settings.root, arguments.address)
        uvloop.run(host_engines(settings.serve, settings.storage, ledger, claim, settings.root))


async def host_engines(
    serve: ServeSettings,
    storage: StorageSettings,
    ledger: Ledger,
    claim: NameClaim,
    root: Path,
    start: StartEngine = start_artifact,
) -> None:
    """Run the agent on a storage folder; `start` is what makes an artifact an engine.

    Raises ConflictError if another agent has the name or the folder, ConfigError for an address of another machine.
    """
    if reason := why_not_listen(claim.address, 0):
        raise ConfigError(f"--address {claim.address} is no address of this machine: {reason}")
    changes = {"engines": [], "engine_hosts": False, "engine_address": claim.address, "swap": "blue_green"}
    serve, routes = serve.model_copy(update=changes), RoutingTable()
    conflict = f"another agent keeps the engines of {root}; give this one another storage.root"
    with only_process(root / "engine-host.lock", conflict):
        await claim.take()
        fleet = Fleet(serve, root / LOGS, routes, start, storage=storage)
        agent = Agent(serve, ledger, fleet, routes, claim, lambda: wanted_versions(ledger, claim.key))
        health = Health(serve, routes, fleet.engine_of)
        await until_stopped([agent.run(), health.run()], agent.stop)


def _name(text: str) -> str:
    """Read a host's name; argparse says what is wrong with another."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of small letters, digits and -_.")
    return text
