"""A Prometheus exporter: the newest records of the ledger as metrics, read at every scrape.

python -m monitor exporter --config driftwheel.yaml
"""

import argparse
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from wsgiref.simple_server import WSGIServer

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.control import controls
from driftwheel.identity import utc_now
from driftwheel.records.check_details import DECIDING
from driftwheel.records.nouns import (
    Alias,
    DecisionStatus,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Traffic,
)
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.new_normal import as_it_stands
from driftwheel.traffic.retention import pruned_rows
from monitor.guarded_metrics import serve_metrics

EVERY_ITEM = "all"
"""Slice of the scores of the whole test split."""


class CheckCounter:
    """Counts the checks that failed in this process."""

    def __init__(self) -> None:
        self.failures = 0

    def count(self) -> None:
        """Count one."""
        self.failures += 1


class TrafficCounter:
    """Counts a project's requests; a scrape reads only those that are new, so that it costs the same in a long history.

    A row appears at the latest when its request's time is up. Older rows are counted once and remembered.
    """

    def __init__(self, serve: ServeSettings, ledger: Ledger, project: str) -> None:
        self._ledger, self._project = ledger, project
        self._settled_after = timedelta(seconds=2 * serve.request_timeout_seconds)
        self._settled = self._total = 0
        self._settled_until: datetime | None = None
        self._lock = threading.Lock()  # scrapes may overlap

    def total(self, now: datetime) -> int:
        """Return how many requests were ever logged; it does not fall when rows are deleted."""
        with self._lock:
            until = now - self._settled_after
            if self._settled_until is None:
                self._settled = pruned_rows(self._ledger, self._project) + self._count(None, until)
            else:
                until = max(until, self._settled_until)  # a clock that was set back counts nothing twice
                self._settled += self._count(self._settled_until, until)
            self._settled_until = until
            self._total = max(self._total, self._settled + self._count(until, None))
            return self._total

    def _count(self, start: datetime | None, end: datetime | None) -> int:
        read_at = TABLES[Traffic].c.created_at
        conditions = [read_at >= start] if start else []
        conditions += [read_at < end] if end else []
        return self._ledger.count(Traffic, *conditions, project=self._project)


class LedgerCollector(Collector):
    """Turns the newest records into metrics."""

    def __init__(self, serve: ServeSettings, ledger: Ledger, project: str, checks: CheckCounter) -> None:
        self._ledger, self._project, self._checks = ledger, project, checks
        self._rows = TrafficCounter(serve, ledger, project)

    def collect(self) -> Iterator[Metric]:
        """Read the ledger and yield every family."""
        failures = CounterMetricFamily("driftwheel_check_failures", "Drift checks that failed")
        failures.add_metric([], self._checks.failures)
        yield failures
        traffic = CounterMetricFamily("driftwheel_traffic_rows", "Requests logged, those deleted since included")
        traffic.add_metric([], self._rows.total(utc_now()))
        yield traffic
        yield from self._drift()
        yield from self._decisions()
        yield from self._alias()

    def _drift(self) -> Iterator[Metric]:
        newest = self._ledger.find(DriftSignal, project=self._project, limit=1)
        project, check_id = self._project, newest[0].check_id if newest else None
        signals = self._ledger.find(DriftSignal, project=project, check_id=check_id) if newest else []
        score = GaugeMetricFamily("driftwheel_drift_score", "Score of the newest check", labels=["kind", "feature"])
        threshold = GaugeMetricFamily("driftwheel_drift_threshold", "Its threshold", labels=["kind", "feature"])
        detected = GaugeMetricFamily("driftwheel_drift_detected", "1 while the kind is in alarm", labels=["kind"])
        for s in signals:
            score.add_metric([s.kind, s.feature], s.score)
            threshold.add_metric([s.kind, s.feature], s.threshold)
        verdicts = {s.kind: s.verdict for s in as_it_stands(self._ledger, signals) if s.feature == DECIDING}
        for kind in DriftKind:
            detected.add_metric([kind], float(verdicts.get(kind) is DriftVerdict.DRIFTED))
        yield from (score, threshold, detected)
        quality = GaugeMetricFamily(
            "driftwheel_quality_ratio", "Accuracy or mean grade on labelled rows of the newest windows"
        )
        last = GaugeMetricFamily("driftwheel_drift_last_check_timestamp_seconds", "When the newest check ended")
        for s in signals:
            is_judged = s.kind is DriftKind.QUALITY and s.verdict is not DriftVerdict.INSUFFICIENT
            if is_judged and s.details.accuracy is not None:
                quality.add_metric([], s.details.accuracy)
        if newest:
            last.add_metric([], newest[0].created_at.timestamp())
        yield from (quality, last)

    def _decisions(self) -> Iterator[Metric]:
        counts = self._decision_counts()
        made = CounterMetricFamily("driftwheel_retrain_decisions", "Decisions made", labels=["verdict", "trigger"])
        state = GaugeMetricFamily("driftwheel_retrain_state", "Decisions in each state", labels=["state"])
        by_reason: Counter[tuple[str, str]] = Counter()
        by_state: Counter[str] = Counter()
        for (verdict, trigger, status), count in counts.items():
            by_reason[verdict, trigger] += count
            by_state[status] += count
        for labels, count in by_reason.items():
            made.add_metric(labels, count)
        for status in DecisionStatus:
            state.add_metric([status], by_state[status])
        yield from (made, state)
        paused = GaugeMetricFamily("driftwheel_retrain_paused", "1 while retraining is paused")
        paused.add_metric([], float(controls.is_paused(self._ledger, self._project)))
        yield paused

    def _decision_counts(self) -> dict[tuple[str, str, str], int]:
        """Count the project's decisions by verdict, trigger and status, which one index answers."""
        c = TABLES[RetrainDecision].c
        by = (c.verdict, c.trigger, c.status)
        query = sa.select(*by, sa.func.count()).where(c.project == self._project).group_by(*by)
        with self._ledger.read() as connection:
            return {(verdict, trigger, status): n for verdict, trigger, status, n in connection.execute(query)}

    def _alias(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "driftwheel_live_version_info", "The version that the gateway serves", labels=["alias", "version"]
        )
        in_sync = GaugeMetricFamily("driftwheel_alias_in_sync", "1 if desired and observed agree", labels=["alias"])
        evaluated = GaugeMetricFamily(
            "driftwheel_eval_score_ratio", "Score of the live version when it was judged", labels=["metric", "slice"]
        )
        for alias in self._ledger.find(Alias, project=self._project):
            is_same = alias.observed_version_id == alias.version_id and not alias.observed_error
            in_sync.add_metric([alias.name], float(is_same))
            if alias.observed_version_id is None:
                continue
            info.add_metric([alias.name, alias.observed_version_id], 1)
            card = self._ledger.get(ModelVersion, alias.observed_version_id).scorecard
            for metric in ("accuracy", "grade", "macro_f1", "json_validity"):
                if (score := getattr(card, metric)) is not None:
                    evaluated.add_metric([metric, EVERY_ITEM], score)
            for name, part in card.slices.items():
                evaluated.add_metric(["accuracy", name], part.accuracy)
                if part.grade is not None:
                    evaluated.add_metric(["grade", name], part.grade)
        yield from (info, in_sync, evaluated)


def start_exporter(settings: Settings, ledger: Ledger, checks: CheckCounter) -> WSGIServer:
    """Serve the metrics of a project; raises what `serve_metrics` raises."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, checks))
    return serve_metrics(settings.monitor, ledger, settings.project, registry)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Export without watching, until SIGINT or SIGTERM."""
    settings, stop = settings_from(arguments), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server = start_exporter(settings, open_ledger(settings), CheckCounter())
    stop.wait()
    server.shutdown()
    server.server_close()
