"""The gateway's own endpoints: each path of the allow-list has its handler."""

import pytest

from driftwheel.records import Scope
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.access.allow_list import ROUTES, Route
from serve.endpoints import Endpoints
from serve.metrics import GatewayMetrics
from serve.routing.table import RoutingTable


def test_a_path_without_a_handler_is_refused_at_the_start(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROUTES, "/v1/new", Route("GET", Scope.READ))
    with pytest.raises(ValueError, match="/v1/new is on the allow-list without a handler"):
        Endpoints(settings, ledger, RoutingTable(), GatewayMetrics())


def test_a_handler_that_nobody_can_reach_is_refused_at_the_start(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ROUTES, "/metrics")
    with pytest.raises(ValueError, match="/metrics is on"):
        Endpoints(settings, ledger, RoutingTable(), GatewayMetrics())
