"""Compare any two samples as a drift check would: windows, what versions answered or were judged on, or files.

python -m monitor drift compare A B --config driftwheel.yaml
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, open_ledger, plain, settings_from
from driftwheel.errors import DataError
from driftwheel.inert_text import inert, inert_json
from driftwheel.records import json_form
from driftwheel.records.diagnosis import Diagnosis
from driftwheel.records.nouns import Dataset, DriftKind, DriftVerdict
from driftwheel.settings.watching import MonitorSettings
from driftwheel.store.ledger import Ledger
from monitor.calibration import level_per_decision
from monitor.drift import KindJudgment
from monitor.features import FEATURES
from monitor.known_rows import Rows, Standards, rows_of, standard_of
from monitor.observation import Sample
from monitor.references import Reference
from monitor.sides import WHAT, Side, file_side, stored_side
from monitor.signals import deciding, judge_drift
from monitor.training_texts import learned_by

FEWEST, MOST = 20, 20_000
"""Rows of a side: of fewer nothing is known, and more say hardly more."""
SEED = 1
"""Of the dealings: the same two sides give the same verdict."""
SHOWN_WORDS = 10


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two samples, of which the second is held against the first."""

    monitor: MonitorSettings
    reference: Reference
    sample: Sample
    standards: Standards
    earlier: tuple[Rows, ...] = ()
    number: int = SEED

    @property
    def level(self) -> float:
        """That of one decision of the monitor."""
        return level_per_decision(self.monitor.false_alarms_per_month, self.monitor.windows_per_day)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison says of prompts or of answers."""

    kind: DriftKind
    verdict: DriftVerdict
    """`drifted` or `steady`; there is no window before that could have been over, too."""
    p_value: float
    level: float
    score: float
    threshold: float
    method: str
    diagnosis: Diagnosis | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides in words, and what differs."""

    before: str
    now: str
    verdicts: list[Verdict]


def compare(monitor: MonitorSettings, ledger: Ledger | None, before: Side, now: Side) -> Comparison:
    """Hold one side against another, at the level of one decision of the monitor.

    Raises DataError where a side has too few rows to compare.
    """
    for side in (before, now):
        if len(side.rows) < FEWEST:
            raise DataError(f"{side.name}: a comparison needs at least {FEWEST} rows on each side")
    # A file of prompts alone has nothing to say of answers.
    has_answers = all(any(row.answer for row in side.rows) for side in (before, now))
    pair = Pair(
        monitor=monitor.model_copy(update={"window_rows": 2 * FEWEST}),
        reference=Reference(before.rows, before.rows if has_answers else ()),
        sample=Sample(now.rows),
        standards=_standards(ledger, before),
    )
    judged = judge_drift(pair, FEATURES)
    return Comparison(before=before.name, now=now.name, verdicts=[_verdict(pair, result) for result in judged])


def _standards(ledger: Ledger | None, before: Side) -> Standards:
    """Return what the second side is held against; a version's training texts are known, those of a file are not."""
    background = None
    if ledger is not None and before.version is not None:
        background = learned_by(ledger.get(Dataset, before.version.dataset_id))
    # Traffic need not be like what was learned: the question is whether the other side is like this one.
    is_normal = background is not None and not before.is_judged
    both = standard_of(rows_of(before.rows), background, is_accepted=is_normal)
    return Standards(both, both)


def _verdict(pair: Pair, result: KindJudgment) -> Verdict:
    verdict = DriftVerdict.DRIFTED if result.is_over else DriftVerdict.STEADY
    return Verdict(
        kind=result.kind, verdict=verdict, level=pair.level, diagnosis=result.diagnosis, **vars(deciding(result))
    )


def as_text(found: Comparison) -> str:
    """Return a comparison for a person."""
    lines = [f"before  {found.before}", f"now     {found.now}"]
    for one in found.verdicts:
        lines.append(f"{one.kind:<7} {one.verdict} (p-value {one.p_value:.2g}, drifted below {one.level:.2g})")
        if one.diagnosis is None:
            continue
        lines += [f"        {finding.sentence}" for finding in one.diagnosis.findings]
        words = [f"{w.word} {w.before:.1%} -> {w.now:.1%}" for w in one.diagnosis.words[:SHOWN_WORDS]]
        if words:
            lines.append(f"        words: {'; '.join(words)}")
    return "\n".join(inert(line) for line in lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    comparing = actions.add_parser("compare", help="hold any two samples against each other, as a check would")
    comparing.add_argument("before", metavar="A", help=WHAT)
    comparing.add_argument("now", metavar="B", help="the same")
    comparing.add_argument(
        "--rows", type=whole(FEWEST, MOST), default=MOST, help=f"at most so many of each side ({MOST})"
    )
    add_common_arguments(comparing)


def main(arguments: argparse.Namespace) -> None:
    """Compare, and print what differs."""
    found = compared(arguments)
    if arguments.json:
        fields = json_form.as_json(found)
        sys.stdout.write(inert_json(json.dumps(fields, default=plain, ensure_ascii=False)) + "\n")
    else:
        sys.stdout.write(as_text(found) + "\n")


def compared(arguments: argparse.Namespace) -> Comparison:
    """Read both sides and compare them; two files need no loop, and its settings are used where there is one."""
    names, most = (arguments.before, arguments.now), arguments.rows
    files = [Path(name) for name in names if Path(name).is_file()]
    if len(files) == len(names) and not Path(arguments.config).is_file():
        before, now = (file_side(path, None, most) for path in files)
        return compare(MonitorSettings(), None, before, now)
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    before, now = (
        file_side(Path(name), settings.dataset.label_field, most)
        if Path(name).is_file()
        else stored_side(settings.dataset, ledger, settings.alias_key, name, most)
        for name in names
    )
    return compare(settings.monitor, ledger, before, now)
