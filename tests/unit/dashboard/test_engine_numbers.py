"""The engines' own metrics become a queue, a cache share and percentiles; what is down says so in a sentence."""

import json
import math
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dashboard import spending
from dashboard.engine_numbers import LATENCY, parsed, quantile, read_engines
from driftwheel.identity import utc_now
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import DashboardSettings
from driftwheel.store.ledger import Ledger
from tests.support.drawn_pages import texts, view

METRICS = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="v1"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="v1"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="v1"} 0.25
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0",model_name="v1"} 500.0
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.1",model_name="v1"} 50.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="v1"} 90.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="v1"} 100.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="v1"} 100.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="v1"} 12.0
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A gateway that names itself as its only engine, and one that does not answer."""

    class Both(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            at = str(self.headers["host"])
            body = METRICS
            if self.path == "/metrics/engines":
                named = [(at, "version_1"), (f"127.0.0.1:{closed}", "version_2")]
                body = json.dumps([{"targets": [to], "labels": {"version": of}} for to, of in named])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Both)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_engine_says_its_queue_cache_and_latency(port: int) -> None:
    found = read_engines(ServeSettings(alias="a", port=port))
    assert isinstance(found, list)
    up, down = found
    assert (up.version_ids, up.running, up.waiting, up.cache_share) == ("version_1", 3.0, 2.0, 0.25)
    assert (up.written_tokens, up.read_tokens) == (500.0, None)
    assert up.percentile(LATENCY, 0.5) == pytest.approx(0.1)
    assert up.percentile(LATENCY, 0.7) == pytest.approx(0.2), "half way through its bucket"
    assert down.problem is not None
    assert down.problem.startswith("It does not answer")


def test_a_percentile_can_be_of_what_came_since_the_last_look() -> None:
    before = parsed("a", "v", METRICS)
    later = parsed("a", "v", METRICS.replace("} 90.0", "} 190.0").replace("} 100.0", "} 200.0"))
    assert later.percentile(LATENCY, 0.5) == pytest.approx(0.1 + 0.2 * 50 / 140)
    assert later.percentile(LATENCY, 0.5, since=before) == pytest.approx(0.2)
    assert before.percentile(LATENCY, 0.5, since=later) == before.percentile(LATENCY, 0.5), "it was started anew"


def test_a_quantile_needs_observations_and_ends_at_the_last_bound() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0), (math.inf, 0.0)], 0.5) is None
    assert quantile([(0.1, 1.0), (math.inf, 10.0)], 0.95) == 0.1


def test_a_gateway_that_is_down_is_said_in_a_sentence() -> None:
    assert str(read_engines(ServeSettings(alias="a", port=1))).startswith("No gateway answers at http://127.0.0.1:1")


def test_tokens_are_summed_by_version_and_key_with_their_cost(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    (free,) = spending.spending(settings.dashboard, ledger, settings.project)
    assert (free.version_id, free.key_id, free.requests) == (seeded["v1"], "0a1b2c3d", 150)
    assert (free.read_tokens, free.written_tokens, free.cost) == (150 * 12, 150 * 9, None)
    prices = settings.dashboard.model_copy(update={"price_of_read_tokens": 2.0, "price_of_written_tokens": 10.0})
    (paid,) = spending.spending(prices, ledger, settings.project)
    assert paid.cost == pytest.approx((1800 * 2 + 1350 * 10) / 1_000_000)


def test_the_operate_page_shows_deployments_though_the_gateway_is_down(
    seeded: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_CONFIG", str(settings.path))
    monkeypatch.setenv("DRIFTWHEEL__SERVE__PORT", "1")
    page = view("operate")
    assert not page.exception
    assert "No gateway answers" in texts(page)
    assert page.dataframe[0].value["stage"].tolist() == ["shadow", "live", "canary"]


def test_the_total_is_the_sum_over_keys_beside_the_trainings_of_the_last_day(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    run = ledger.find(TrainingRun, status=TrainingRunStatus.SUCCEEDED)[0]
    for days in (0, 2):
        ended = utc_now() - timedelta(days=days)
        ledger.add(replace(run, id=f"run_{days}", finished_at=ended, metrics=RunMetrics(train_seconds=50.0)))
    prices = DashboardSettings(price_of_read_tokens=2.0, price_of_written_tokens=10.0)
    found = spending.total(prices, ledger, settings.project)
    assert found.cost == pytest.approx((1800 * 2 + 1350 * 10) / 1_000_000)
    # The seeded run of the day has no measured time.
    assert (found.read_tokens, found.written_tokens, found.training_seconds, found.runs) == (1800, 1350, 50.0, 2)
