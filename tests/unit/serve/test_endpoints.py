"""The gateway's own endpoints: each path of the allow-list has its handler."""

import pytest

from driftwheel.errors import (
    ConflictError,
    DataError,
    DriftwheelError,
    EngineError,
    NotFoundError,
    RecordError,
    StorageError,
)
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.access.allow_list import ROUTES, Route
from serve.endpoints import Endpoints, refusal_of
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


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("no request"), 404),
        (ConflictError("moved first"), 409),
        (RecordError("traffic.label holds a NUL"), 422),
        (DataError("nothing was said"), 422),
        (StorageError("the disk is full"), 503),
        (EngineError("a bug"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_client_can_put_right_is_no_error_of_the_servers(error: DriftwheelError, status: int) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, str(error) in refusal.body().decode()) == (status, True)
