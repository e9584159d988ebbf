"""Reads what one drift check needs from the ledger: version, window, reference, and earlier results."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from driftwheel.identity import new_id
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import Dataset, DriftKind, ModelVersion
from driftwheel.settings.settings import Settings
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.alias import find_alias
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import field_for
from driftwheel.traffic.new_normal import NewNormal, new_normal_of
from monitor.calibration import level_per_decision
from monitor.known_rows import Rows, Standards, standards_of, windows_before
from monitor.observation import Observation, Sample
from monitor.references import Reference, reference_of
from monitor.standard import live_criterion
from monitor.what_was_said import Evidence, evidence_of
from monitor.windows import Source, first_rows, is_full, last_window, unread


@dataclass(frozen=True, kw_only=True)
class Look:
    """One window of one version under examination."""

    project: str
    monitor: MonitorSettings
    version: ModelVersion
    source: Source
    reference: Reference
    first: tuple[Observation, ...]
    """The version's first observations, as many as a window holds."""
    sample: Sample
    check_id: str
    evidence: Evidence
    before: Window | None
    """The version's window before this one."""
    standards: Standards
    accepted: NewNormal | None = None
    """What a person accepted as normal of the version's windows."""
    earlier: tuple[Rows, ...]
    """The answered requests of the windows before this one, the oldest first."""
    report_path: Path

    @property
    def level(self) -> float:
        """False-alarm probability of one decision."""
        return level_per_decision(self.monitor.false_alarms_per_month, self.monitor.windows_per_day)

    @property
    def number(self) -> int:
        """1, 2, 3 ... within the version."""
        return self.before.number + 1 if self.before else 1

    def over_in_a_row(self, kind: DriftKind) -> int:
        """Return how many windows before this one, in a row, were over the threshold; accepted ones are no such."""
        if self.before is None or self.was_accepted(kind, self.before.number):
            return 0
        return self.before.over_in_a_row.get(kind, 0)

    def was_accepted(self, kind: DriftKind, number: int) -> bool:
        """Say whether a person accepted as normal what a window of the version shows of a kind."""
        return self.accepted is not None and self.accepted.holds(kind, number)


def next_look(settings: Settings, ledger: Ledger) -> Look | None:
    """Return the next full window of the live version's traffic with what it is compared with; None without one."""
    alias = find_alias(ledger, *settings.alias_key)
    if alias is None:
        return None
    # What answers, not what is asked for: until a swap is proved, the traffic is the old version's.
    version_id = alias.observed_version_id or alias.version_id
    window_rows = settings.monitor.window_rows
    if not is_full(ledger, settings.project, settings.serve.alias, version_id, window_rows):
        return None
    version = ledger.get(ModelVersion, version_id)
    dataset = ledger.get(Dataset, version.dataset_id)
    source = Source(
        project=settings.project,
        alias=settings.serve.alias,
        version_id=version_id,
        label_field=field_for(dataset.report.answer_form, settings.dataset.label_field),
        criterion=live_criterion(version.scorecard),
    )
    rows = unread(ledger, source, window_rows)
    if len(rows) < window_rows:
        return None
    sample = Sample(rows)
    before = last_window(ledger, version_id)
    check_id = new_id("check", [version_id, rows[0].id, before.number if before else 0])
    accepted = new_normal_of(ledger, settings.project, version_id)
    reference = reference_of(settings.monitor, ledger, version, dataset, source, accepted, seed=settings.dataset.seed)
    return Look(
        project=settings.project,
        monitor=settings.monitor,
        version=version,
        source=source,
        reference=reference,
        first=_first(ledger, source, window_rows, is_complete=before is not None),
        sample=sample,
        check_id=check_id,
        evidence=evidence_of(settings.monitor, ledger, source, before, sample.answered),
        before=before,
        standards=standards_of(dataset, reference),
        accepted=accepted,
        earlier=windows_before(ledger, source, before, after=accepted.number if accepted else 0),
        report_path=settings.root / "reports" / check_id,
    )


def _first(ledger: Ledger, source: Source, rows: int, *, is_complete: bool) -> tuple[Observation, ...]:
    """Return the version's first observations, which are kept once there are as many as a window holds."""
    return _first_kept(ledger, source, rows) if is_complete else first_rows(ledger, source, rows)


@lru_cache(maxsize=2)
def _first_kept(ledger: Ledger, source: Source, rows: int) -> tuple[Observation, ...]:
    return first_rows(ledger, source, rows)
