"""An alias means one version at a time, and a version is idle when its last request is done."""

import asyncio

import pytest

from driftwheel.errors import NotFoundError
from serve.routing.table import EngineRoute, RoutingTable


def table() -> RoutingTable:
    routes = RoutingTable()
    for version_id in ("v1", "v2"):
        routes.add(EngineRoute(version_id, "127.0.0.1", 1, version_id))
    routes.point("support", "v1")
    return routes


def test_an_alias_flips_and_exact_versions_stay_reachable() -> None:
    routes = table()
    first = routes.pick("support")
    routes.point("support", "v2")
    assert (first, routes.pick("support")) == (routes.replicas("v1")[0], routes.replicas("v2")[0])
    assert routes.pick("v1") is first
    assert routes.served_models() == ["support", "v1", "v2"]


def test_a_version_without_a_ready_engine_is_not_picked() -> None:
    routes = table()
    routes.routes()[0].is_ready = False
    assert routes.pick("support") is None
    assert routes.knows("support")
    routes.drop(routes.replicas("v2")[0])
    assert (routes.pick("v2"), routes.knows("v2")) == (None, False)
    with pytest.raises(NotFoundError):
        routes.point("support", "v2")


def test_draining_waits_for_the_last_request() -> None:
    async def drain() -> tuple[bool, bool]:
        routes = table()
        route = routes.routes()[0]
        route.in_flight = 1
        in_time = await routes.wait_idle("v1", 0.05)
        asyncio.get_running_loop().call_later(0.05, setattr, route, "in_flight", 0)
        return in_time, await routes.wait_idle("v1", 60)

    assert asyncio.run(drain()) == (False, True)
