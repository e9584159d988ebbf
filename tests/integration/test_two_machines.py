"""A swap over two engine hosts in network namespaces of their own: PostgreSQL and S3 between them, no shared disk.

Each host sees neither the gateway's folder nor its loopback; what they have in common is the program. One agent is
killed in the middle of the swap, one loses its store in the middle of a fetch, and users notice nothing.
"""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftwheel.control import controls
from driftwheel.control.engine_hosts import EngineState
from tests.support.absent import absent
from tests.support.engine_hosts import Host, HostedWorld
from tests.support.postgres_server import PostgresServer
from tests.support.s3_server import BUCKET, ENVIRONMENT, Door, S3Server

PER_SECOND = 10
WITHOUT = 'mount -t tmpfs none "$0" && exec "$@"'
"""Covers a folder with an empty one, for the command after it alone."""


class Machine:
    """A network namespace with one wire to this one."""

    def __init__(self, number: int) -> None:
        self.name = f"driftwheel{os.getpid()}-{number}"
        self.outside, self.address = f"10.213.{number}.1", f"10.213.{number}.2"
        wire = f"dw{os.getpid() % 10**6}-{number}"
        ip("netns", "add", self.name)
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("address", "add", f"{self.outside}/24", "dev", wire)
        ip("link", "set", wire, "up")
        for words in (("address", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            ip("-n", self.name, *words)
        ip("-n", self.name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Take it away, and the wire with it."""
        ip("netns", "delete", self.name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """Two of them; a laptop where they are not allowed skips, CI fails."""
    made: list[Machine] = []
    try:
        made += [Machine(1), Machine(2)]
    except (OSError, subprocess.CalledProcessError):
        absent("network namespaces", install="Debian's package iproute2, and root")
    yield made
    for machine in made:
        machine.remove()


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path / "moto.log")
    yield server
    server.stop()


def test_two_machines_swap_without_a_shared_disk_while_an_agent_and_a_store_fail(
    machines: list[Machine],
    postgres_server: PostgresServer,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": s3_server.url}.items():
        monkeypatch.setenv(name, value)
    url = postgres_server.new_database()
    world = HostedWorld(tmp_path / "gateway", database_url=url, artifacts=f"s3://{BUCKET}/support")
    hosts, stores = [], []
    for machine in machines:
        database = Door(("127.0.0.1", postgres_server.port), machine.outside)
        store = Door(s3_server.address, machine.outside)
        address = f"{machine.outside}:{database.port}"
        host = Host(
            world,
            tmp_path / machine.name,
            f"gpu{machine.address.split('.')[2]}",
            machine.address,
            ["ip", "netns", "exec", machine.name, "unshare", "--mount", "sh", "-c", WITHOUT, str(world.folder)],
            {"database_url": url.replace(f"127.0.0.1:{postgres_server.port}", address), "artifacts_timeout_seconds": 4},
            {"AWS_ENDPOINT_URL": store.url},
        )
        hosts.append(host)
        stores.append(store)
    world.publish("v1", seconds=0.05)
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    try:
        for host in hosts:
            host.start()
        world.start()
        world.until(lambda: world.is_settled() and all(_has(host, "v1") for host in hosts))
        answers = asyncio.run(_swap(world, hosts, stores, tmp_path / "loaded"))
    finally:
        for host in hosts:
            host.stop()
        world.stop()
    assert {status for status, _ in answers} == {200}, answers
    assert {version for _, version in answers} == {"v1", "v2"}
    assert all((host.root / "artifacts" / "v2" / "manifest.json").is_file() for host in hosts)
    assert "a version is refused here" in hosts[1].log_path.read_text()


async def _swap(world: HostedWorld, hosts: list[Host], stores: list[Door], loaded: Path) -> "Counter[tuple[int, str]]":
    """Swap under load; the first agent is killed while it starts the new version, the second one's store is cut off."""
    world.publish("v2", seconds=0.05, starts_when_exists=str(loaded))
    shutil.rmtree(world.settings.root / "artifacts")  # nobody reads the builder's files any more
    is_served: list[bool] = []

    def is_over() -> bool:
        return bool(is_served) and all(_has(host, "v2") for host in hosts)

    load = asyncio.create_task(world.load(PER_SECOND, 240, is_over))
    stores[1].fault = "slow"
    controls.promote(world.ledger, world.settings.alias_key, "v2")
    await _until(lambda: hosts[0].states().get("v2") is EngineState.STARTING)
    hosts[0].kill()
    hosts[0].start()
    loaded.touch()
    await _until(lambda: hosts[1].states().get("v2") is EngineState.REFUSED)
    stores[1].fault = ""
    await _until(lambda: world.is_settled() and world.alias().observed_version_id == "v2")
    await asyncio.sleep(0.5)
    is_served.append(True)
    return Counter((answer.status, answer.version_id) for answer in await load)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


def _has(host: Host, version_id: str) -> bool:
    return host.states().get(version_id) is EngineState.PROVED
