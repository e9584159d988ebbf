"""A folder and an engine's port become driftwheel's gateway with everything on: durable log, keys, metrics.

    python -m benchmarks.gateways.ours --home DIR --port P --upstream P

It is `python -m serve gateway` without the rollout, whose engines would be vLLM: the routing table names the upstream.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop
import yaml

from driftwheel.command import open_ledger
from driftwheel.config import load_settings
from driftwheel.traffic import TrafficLog
from serve.gateway import Gateway
from serve.keys import ApiKeys
from serve.metrics import GatewayMetrics
from serve.routes import EngineRoute, RoutingTable

VERSION = "version_bench"


async def serve(home: Path, port: int, upstream_port: int) -> None:
    """Answer until killed."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "driftwheel.yaml"
    path.write_text(yaml.safe_dump({
        "project": "bench", "model": {"base": "none"}, "dataset": {"sources": ["none.jsonl"]},
        "serve": {"alias": "bench", "port": port},
    }))  # fmt: skip
    settings = load_settings(path)
    ledger, routes = open_ledger(settings), RoutingTable()
    routes.add(EngineRoute(VERSION, "127.0.0.1", upstream_port, VERSION))
    routes.point("bench", VERSION)
    gateway = Gateway(settings, TrafficLog(ledger), ledger, routes, GatewayMetrics(), ApiKeys.from_environment())
    await gateway.start("127.0.0.1", port)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.home, arguments.port, arguments.upstream))
