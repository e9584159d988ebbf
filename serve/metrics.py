"""Prometheus metrics of the gateway; every label has a closed set of values, so that no client can fill the memory."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from driftwheel.records.nouns import Traffic

# Each bound is twice the one before it: from a refusal, which takes milliseconds, to the longest answers.
SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER_ROUTE = "other"
"""Label of every path that is not on the allow-list; paths are the clients' to choose."""


class GatewayMetrics:
    """The gateway's own registry; nothing else of the process is in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "driftwheel_requests_total", "Answered requests", ["route", "version", "code"], registry=self.registry
        )
        self.duration = Histogram(
            "driftwheel_request_duration_seconds",
            "Request read to answer sent",
            ["route", "version"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "driftwheel_time_to_first_token_seconds",
            "Request read to first streamed token",
            ["version"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter("driftwheel_tokens_total", "Tokens by direction", ["type"], registry=self.registry)
        self.in_flight = Gauge("driftwheel_requests_in_flight", "Requests being answered", registry=self.registry)
        self.partial = Counter("driftwheel_partial_answers_total", "Answers that broke off", registry=self.registry)
        self.log_failures = Counter(
            "driftwheel_log_failures_total",
            "Answers withheld because their row was not durable",
            registry=self.registry,
        )
        self.unlogged = Counter(
            "driftwheel_unlogged_answers_total",
            "Answers given although their row could not be written",
            registry=self.registry,
        )
        self.unwatched = Counter(
            "driftwheel_unwatched_requests_total",
            "Requests that are neither watched nor learned, because their sender or a rule says so",
            registry=self.registry,
        )
        self.feedback = Counter("driftwheel_feedback_total", "Feedback by kind", ["kind"], registry=self.registry)
        self.version_info = Gauge(
            "driftwheel_version_info",
            "1 for the version that an alias means",
            ["alias", "version"],
            registry=self.registry,
        )
        self._input_tokens, self._output_tokens = self.tokens.labels("input"), self.tokens.labels("output")
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._requests: dict[tuple[str, str, int], Counter] = {}
        for kind in ("thumb_up", "thumb_down", "label", "correction", "comment", "signal", "withdrawn"):
            self.feedback.labels(kind)

    def count_request(self, route: str, version_id: str, status: int) -> None:
        """Count a request of any kind by its status."""
        labels = (route, version_id, status)
        counter = self._requests.get(labels)
        if counter is None:
            counter = self._requests[labels] = self.requests.labels(route, version_id, str(status))
        counter.inc()

    def count_answer(self, row: Traffic) -> None:
        """Count an answered request."""
        labels = (row.route, row.version_id)
        duration = self._durations.get(labels)
        if duration is None:  # `labels` takes a lock and a look-up that cost more than the count itself
            duration = self._durations[labels] = self.duration.labels(*labels)
        duration.observe(row.latency_seconds)
        self._input_tokens.inc(row.prompt_tokens)
        self._output_tokens.inc(row.completion_tokens)
        if row.time_to_first_token_seconds is not None:
            self.first_token.labels(row.version_id).observe(row.time_to_first_token_seconds)
        if row.is_partial:
            self.partial.inc()

    def show_aliases(self, aliases: dict[str, str]) -> None:
        """Make version_info say what the aliases mean now, and nothing about earlier versions."""
        self.version_info.clear()
        for alias, version_id in aliases.items():
            self.version_info.labels(alias, version_id).set(1)

    def page(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
