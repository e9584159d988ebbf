"""Gateways of one port share what a key has used; what a dead one held is given back."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftwheel.callers.api_keys import create_key
from driftwheel.control import controls
from driftwheel.errors import ConfigError, ConflictError
from driftwheel.machine.system import free_port, only_process
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.access.rate_limit import RateLimit
from serve.access.shared_counts import SharedCounts, counting, lock_path
from serve.refusals import RequestRefused
from tests.support.crashing_gateway import free_ports
from tests.support.fake_world import ALIAS, KEY, PROBE, World

PER_MINUTE = 12


def is_let_in(limit: RateLimit, now: float) -> bool:
    try:
        limit.enter(now)
    except RequestRefused:
        return False
    return True


def test_two_processes_spend_one_minute(tmp_path: Path) -> None:
    one, two = (RateLimit(10, 1000, None, SharedCounts(tmp_path, "key", n)) for n in (1, 2))
    assert [is_let_in(limit, 5.0) for limit in (one, two) * 6] == [True] * 10 + [False] * 2
    assert dict(one.headers(5.0)) == dict(two.headers(5.0))
    one.leave(1500, 5.0)
    assert dict(two.headers(5.0))["x-ratelimit-remaining-tokens"] == "0"
    assert is_let_in(RateLimit(10, 1000, None, SharedCounts(tmp_path, "other", 1)), 5.0)


def test_what_a_dead_process_had_in_flight_is_given_back(tmp_path: Path) -> None:
    one, two = (RateLimit(None, None, 2, SharedCounts(tmp_path, "key", n)) for n in (1, 2))
    with only_process(lock_path(tmp_path, 1), ""):
        assert [is_let_in(one, 1.0), is_let_in(one, 1.0), is_let_in(two, 1.0)] == [True, True, False]
    assert [is_let_in(two, 1.0), is_let_in(two, 1.0), is_let_in(two, 1.0)] == [True, True, False]


def test_a_process_that_starts_again_begins_with_nothing_in_flight(tmp_path: Path) -> None:
    assert is_let_in(RateLimit(2, None, 1, SharedCounts(tmp_path, "key", 1)), 1.0)
    again = RateLimit(2, None, 1, SharedCounts(tmp_path, "key", 1))
    assert is_let_in(again, 1.0)
    assert not is_let_in(again, 1.0)
    again.leave(0, 1.0)
    assert not is_let_in(again, 1.0)  # the minute's two are spent


def test_a_limit_that_changes_while_requests_run_is_left_by_them(tmp_path: Path) -> None:
    serve = ServeSettings(port=8001, shared_port=8000, engine_hosts=True)
    with counting(serve, tmp_path) as counts_of:
        before = RateLimit(None, None, 2, counts_of("key"))
        before.enter(1.0)
        after = RateLimit(None, None, 1, counts_of("key"))
        assert not is_let_in(after, 1.0)
        before.leave(0, 1.0)
        assert is_let_in(after, 1.0)
        assert not is_let_in(after, 1.0)
        with pytest.raises(ConflictError, match="another gateway has port 8001"), counting(serve, tmp_path):
            pass


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["serve.port=8000"], "none of the 63 above shared_port 8000"),
        (["serve.port=8064"], "none of the 63 above shared_port 8000"),
        (["serve.port=8001", "serve.engine_hosts=false"], "share engines: set engine_hosts"),
    ],
)
def test_gateways_that_share_a_port_have_places_and_no_engines(
    settings: Settings, overrides: list[str], reason: str
) -> None:
    both = ["serve.shared_port=8000", "serve.engine_hosts=true", *overrides]
    with pytest.raises(ConfigError, match=reason):
        load_settings(settings.path, both, environ={})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A loop with one engine, which no gateway has started."""
    (shared, port, _), engine = free_ports(3), free_port()
    made = World(tmp_path, {"shared_port": shared, "port": port, "engines": [f"http://127.0.0.1:{engine}"]})
    version = made.publish("v1")
    controls.promote(made.ledger, made.settings.alias_key, "v1")
    assert version.fingerprint.probes == (PROBE,)
    argv = [sys.executable, "-m", "tests.support.fake_engine", version.path, "v1", str(engine)]
    process = subprocess.Popen(argv)
    yield made
    made.stop()
    process.terminate()
    process.wait(60)


def test_two_gateways_on_one_port_answer_together_within_one_limit(world: World) -> None:
    shared, port = int(world.settings.serve.shared_port or 0), world.settings.serve.port
    _, key = create_key(world.ledger, "support", "app", [Scope.ASK], requests_per_minute=PER_MINUTE)
    world.start()
    environment = {**os.environ, "DRIFTWHEEL_API_KEYS": KEY, "DRIFTWHEEL__SERVE__PORT": str(port + 1)}
    argv = [sys.executable, "-m", "tests.support.fake_gateway", str(world.config_path)]
    with world.log_path.open("ab") as log:
        second = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
    try:
        world.until(lambda: _get(port, "/readyz")[0] == _get(port + 1, "/readyz")[0] == 200)
        began_at = time.monotonic()
        statuses = Counter(_ask(shared, key) for _ in range(3 * PER_MINUTE))
        refilled = (time.monotonic() - began_at) * PER_MINUTE / 60 + 1
        assert set(statuses) == {200, 429}
        assert PER_MINUTE <= statuses[200] <= PER_MINUTE + refilled
        pages = [_get(own, "/metrics")[1] for own in (port, port + 1)]
        assert all('driftwheel_requests_total{code="429"' in page for page in pages)  # both had a part
        status, text = _get(shared, "/metrics")
        assert status == 404
        assert "each one's own serve.port" in text
        second.send_signal(signal.SIGKILL)
        second.wait(60)
        assert {answer.status for answer in asyncio.run(world.load(20, 0.5))} == {200}
        assert {_ask(shared, KEY) for _ in range(5)} == {200}
    finally:
        second.kill()
        second.wait(60)


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def _ask(port: int, key: str) -> int:
    """Ask over a connection of its own, and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": ALIAS, "messages": [{"role": "user", "content": "hi"}]})
    try:
        connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})
        return connection.getresponse().status
    finally:
        connection.close()
