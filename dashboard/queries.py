"""The ledger queries that most pages share, and how moments, ids and nested values are shown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.check_details import DECIDING, DecisionBasis, SignalDetails
from driftwheel.records.nouns import Dataset, DriftKind, DriftSignal, ModelVersion, TrainingRun
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.new_normal import as_it_stands


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, such as `5 min ago`; a moment ahead of the clock says so."""
    if moment is None:
        return "never"
    seconds = ((now or utc_now()) - moment).total_seconds()
    side = "ago" if seconds >= 0 else "ahead of this clock"
    seconds = abs(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {side}"
    return f"{int(seconds)} s {side}"


def span(length: timedelta) -> str:
    """Return a length of time in its two largest units, such as `2 h 05 min`."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def in_spans(text: str) -> str:
    """Return a sentence in which long times are in minutes and hours: `3117 s left` is nothing that a person reads."""
    return re.sub(r"\b(\d{3,}) s\b", lambda found: span(timedelta(seconds=int(found[1]))), text)


def counted(number: int | float, what: str) -> str:
    """Return a number of things, such as `1 false alarm` and `2 false alarms`."""
    return f"{number:,g} {what}" if number == 1 else f"{number:,g} {what}s"


def gibibytes(count: float) -> str:
    """Return an amount of memory, such as `4.8 GiB`."""
    return f"{count / 2**30:,.1f} GiB"


def measured(values: Mapping[str, float]) -> dict[str, str]:
    """Return measured numbers in the units that a person reads, by what is told of each name's unit."""
    return dict(_measured(name, value) for name, value in values.items())


def _measured(name: str, value: float) -> tuple[str, str]:
    for ending, words in (("_bytes", gibibytes), ("_seconds", lambda seconds: span(timedelta(seconds=seconds)))):
        if name.endswith(ending):
            kind = " time" if ending == "_seconds" else ""
            return name.removesuffix(ending).replace("_", " ") + kind, words(value)
    if isinstance(value, bool):
        return name.replace("_", " "), "yes" if value else "no"
    return name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def moment_text(moment: datetime | None) -> str:
    """Return a moment in UTC with its age."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {age(moment)}" if moment else "never"


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return values by name, those of nested mappings as `outer.inner`."""
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def known_in(record: SignalDetails | DecisionBasis) -> dict[str, object]:
    """Return what a record inside a record knows, by field; what it does not know is left out."""
    return {name: value for name, value in asdict(record).items() if value not in (None, [], {})}


def newest(
    ledger: Ledger, noun: Any, project: str, limit: int = 200, without: Sequence[str] = (), **equals: Any
) -> list[Any]:
    """Return the newest records of a noun; fields named in `without` are not read."""
    return ledger.find(noun, project=project, limit=limit, without=without, **equals)


def version_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return `v1`, `v2` ... for each version id, newest first."""
    table = TABLES[ModelVersion]
    query = sa.select(table.c.id, table.c.number).where(table.c.project == project).order_by(table.c.number.desc())
    with ledger.read() as connection:
        return {row.id: f"v{row.number}" for row in connection.execute(query)}


def latest_check(ledger: Ledger, project: str, version_id: str | None = None) -> list[DriftSignal]:
    """Return the signals of the newest check, of one version if it is given; what was accepted as normal is steady."""
    if version_id is None:
        last = newest(ledger, DriftSignal, project, limit=1)
    else:  # each check writes one decisive signal of this kind, and an index finds it
        kind = DriftKind.QUALITY
        last = newest(ledger, DriftSignal, project, limit=1, version_id=version_id, feature=DECIDING, kind=kind)
    return as_it_stands(ledger, newest(ledger, DriftSignal, project, check_id=last[0].check_id)) if last else []


def short(id: str | None) -> str:
    """Return the last part of an id, enough to recognize it."""
    return id.rsplit("_", 1)[-1] if id else "none"


def deciding_signals(ledger: Ledger, project: str, limit: int) -> list[DriftSignal]:
    """Return the signals that decide a kind, newest first."""
    return newest(ledger, DriftSignal, project, limit=limit, feature=DECIDING)


def shifted_words(signals: list[DriftSignal]) -> list[str]:
    """Return the words that a check names as most shifted."""
    return next((s.details.shifted_words for s in signals if s.details.shifted_words), [])


def steps_of(ledger: Ledger, decision_id: str) -> list[Step]:
    """Return a retrain job's steps in order."""
    return ledger.find(Step, decision_id=decision_id, newest_first=False)


def dataset_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return a readable name for each dataset id: time and hash."""
    return {
        d.id: f"{d.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC  {short(d.id)}"
        for d in newest(ledger, Dataset, project, without=("report",))
    }


def run_names(ledger: Ledger, project: str) -> dict[str, str]:
    """Return a readable name for each run id: time, method and hash, and which fold or search it belongs to."""
    runs = newest(ledger, TrainingRun, project)
    return {r.id: f"{r.created_at:%Y-%m-%d %H:%M} UTC  {r.method}  {short(r.id)}{_part(r)}" for r in runs}


def _part(run: TrainingRun) -> str:
    fold, study = run.settings.get("fold"), run.settings.get("study")
    if isinstance(fold, dict):
        return f"  fold {fold.get('number')} of {fold.get('of')}"
    return f"  trial of {short(study)}" if isinstance(study, str) else ""


def step_rows(steps: Sequence[Step]) -> list[dict[str, object]]:
    """Return a retrain's steps as table rows, each with its time so far; no column that says nothing."""
    now = utc_now()
    has_errors, has_repeats = any(s.error for s in steps), any(s.attempt > 1 for s in steps)
    return [
        {
            "step": s.name.replace("_", " "),
            "status": s.status,
            "took": span((s.finished_at or now) - s.created_at),
            **({"attempt": s.attempt} if has_repeats else {}),
            **({"error": s.error or ""} if has_errors else {}),
        }
        for s in steps
    ]
