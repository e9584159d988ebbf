"""Metrics are for this machine, or for a key with the scope `read`."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge

from driftwheel.callers.api_keys import KEYS_VARIABLE, create_key
from driftwheel.errors import ConfigError
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger
from monitor.guarded_metrics import serve_metrics


@contextmanager
def served(settings: MonitorSettings, ledger: Ledger, project: str) -> Iterator[int]:
    registry = CollectorRegistry()
    Gauge("secret", "A number.", registry=registry).set(7)
    server = serve_metrics(settings, ledger, project, registry)
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def scrape(port: int, key: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics", headers={"authorization": f"Bearer {key}"} if key else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_exporter_that_others_reach_needs_a_key(ledger: Ledger, settings: Settings, host: str) -> None:
    with pytest.raises(ConfigError, match=r"monitor\.host .* reachable .* monitor\.require_key"):
        serve_metrics(MonitorSettings(host=host, port=0), ledger, settings.project, CollectorRegistry())
    with pytest.raises(ConfigError, match=r"monitor\.require_key is on and there is no key"):
        serve_metrics(
            MonitorSettings(host=host, port=0, require_key=True), ledger, settings.project, CollectorRegistry()
        )


def test_on_this_machine_nobody_is_asked(ledger: Ledger, settings: Settings) -> None:
    with served(MonitorSettings(port=0), ledger, settings.project) as port:
        status, text = scrape(port)
    assert (status, "secret 7.0" in text) == (200, True)


def test_a_key_that_may_read_does(ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "correct horse battery staple")
    _, reading = create_key(ledger, settings.project, "prometheus", [Scope.READ])
    _, asking = create_key(ledger, settings.project, "shop", [Scope.ASK])
    with served(MonitorSettings(host="0.0.0.0", port=0, require_key=True), ledger, settings.project) as port:
        found = {key: scrape(port, key) for key in (reading, "correct horse battery staple", asking, "dwk_x", None)}
    assert [status for status, _ in found.values()] == [200, 200, 403, 401, 401]
    assert ["secret 7.0" in text for _, text in found.values()] == [True, True, False, False, False]
