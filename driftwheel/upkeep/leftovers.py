"""Finds and deletes what lies in the storage folder and nothing needs any more.

Kept are what a published version serves or was built from, what a retrain under way has made, and all that is younger
than `keep_days`. What is deleted can be made again from what stays: a merged model from its adapter, an artifact from
its run, an environment from its list of packages. Rows of the ledger stay as they are.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from driftwheel.control.retrain_limits import UNFINISHED
from driftwheel.errors import ArtifactError, ConflictError
from driftwheel.files.artifacts import discard, read_manifest
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.store.database import file_of
from driftwheel.store.ledger import Ledger
from driftwheel.upkeep.storage_files import ENVIRONMENT_MARK, LEDGER, LOGS, only_if_nobody_makes, only_upkeep, size_of

DAY_SECONDS = 86_400
KEEP_DAYS = 30.0
LARGEST_LOG_BYTES, KEPT_LOG_BYTES = 64 << 20, 8 << 20
"""A log that a process still writes is cut to its end when it is larger."""
RUNS, ARTIFACTS, DATASETS, MERGED = "runs", "artifacts", "datasets", "merged"


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that nothing needs."""

    path: Path
    bytes: int
    reason: str


@dataclass(frozen=True)
class _Needed:
    """What the ledger's rows of all projects name."""

    runs: frozenset[str]
    """Runs whose whole folder is needed."""
    merged: frozenset[str]
    """Runs whose merged weights are served, or are what another run went on from."""
    known_runs: frozenset[str]
    artifacts: frozenset[Path]
    artifact_hashes: frozenset[str]
    evaluations: frozenset[Path]
    """Those whose answers a published version's traffic is compared with."""
    datasets: frozenset[Path]


def collect_leftovers(ledger: Ledger, root: Path, *, keep_days: float = KEEP_DAYS, dry_run: bool) -> list[Leftover]:
    """Return what nothing needs, and delete it unless it is a dry run; the largest first.

    Raises ConflictError while a backup or another gc runs, or somebody makes files by hand, and for a folder that is
    another ledger's.
    """
    with only_upkeep(root), only_if_nobody_makes(root):
        _refuse_stranger(ledger, root)
        needed, is_old = _needed(ledger), _older_than(keep_days)
        finders = (_runs, _artifacts, _evaluations, _datasets)
        found = [leftover for finder in finders for leftover in finder(root, needed, is_old)]
        found += [*_reports(root, is_old), *_environments(root), *_logs(root, is_old), *_partial(root)]
        found += _old_copies(root, is_old)
        if not dry_run:
            for leftover in found:
                _delete(leftover.path)
            _cut_logs(root)
    return sorted(found, key=lambda leftover: -leftover.bytes)


def _refuse_stranger(ledger: Ledger, root: Path) -> None:
    """Raise ConflictError unless the ledger is the folder's own: to another one all that lies there is a leftover."""
    file, own = root / LEDGER, file_of(ledger.engine)
    if file.is_file() and (own is None or own.resolve() != file.resolve()):
        raise ConflictError(
            f"{file} is a ledger, too, and storage.database_url names {ledger.address}: what that one alone knows "
            "would be deleted; move the file away if it is not needed"
        )
    has_files = any(True for name in (RUNS, ARTIFACTS, DATASETS) for _ in _folders(root, name))
    if has_files and not any(ledger.count(kind) for kind in (Dataset, TrainingRun, ModelVersion)):
        raise ConflictError(f"the ledger at {ledger.address} is empty, and {root} is not: is it the right database?")


def _needed(ledger: Ledger) -> _Needed:
    versions = ledger.find(ModelVersion, status=ModelVersionStatus.PUBLISHED)
    open_decisions = ledger.find(RetrainDecision, status=list(UNFINISHED))
    in_use = {id for a in ledger.find(Alias) for id in (a.version_id, a.previous_version_id, a.observed_version_id)}
    all_runs = ledger.find(TrainingRun)
    runs = {v.run_id for v in versions if v.id in in_use} | {d.run_id for d in open_decisions if d.run_id}
    runs |= {run.id for run in all_runs if run.status is TrainingRunStatus.RUNNING}
    went_on = {v.lineage.started_from for v in versions} | {_run_of(v.base_model) for v in versions}
    went_on |= {_run_of(run.base_model) for run in all_runs if run.id in runs}
    return _Needed(
        runs=frozenset(runs),
        merged=frozenset(filter(None, went_on)),
        known_runs=frozenset(run.id for run in all_runs),
        artifacts=frozenset(Path(v.path) for v in versions),
        artifact_hashes=frozenset(v.manifest_hash for v in versions),
        evaluations=frozenset(Path(path).parent for v in versions if (path := v.scorecard.predictions_path)),
        datasets=frozenset(Path(d.path) for d in ledger.find(Dataset)),
    )


def _run_of(base_model: str) -> str | None:
    """Return the run whose merged weights a base model is, or None."""
    path = Path(base_model)
    return path.parent.name if path.name == MERGED and path.parent.parent.name == RUNS else None


Old = Callable[[Path], bool]


def _older_than(days: float) -> Old:
    before = time.time() - days * DAY_SECONDS
    return lambda path: path.stat().st_mtime < before


def _found(path: Path, reason: str) -> Leftover:
    return Leftover(path=path, bytes=size_of(path), reason=reason)


def _folders(root: Path, name: str) -> Iterator[Path]:
    folder = root / name
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _runs(root: Path, needed: _Needed, is_old: Old) -> Iterator[Leftover]:
    for run in _folders(root, RUNS):
        if run.name in needed.runs or not is_old(run):
            continue
        if run.name not in needed.known_runs:
            yield _found(run, "the ledger knows no such run")
            continue
        for checkpoint in sorted([*run.glob("checkpoints/checkpoint-*"), *run.glob("checkpoint-*")]):
            yield _found(checkpoint, "a checkpoint of a run that has ended")
        if (run / MERGED).is_dir() and run.name not in needed.merged:
            yield _found(run / MERGED, "merged weights that nothing serves; the adapter stays")


def _artifacts(root: Path, needed: _Needed, is_old: Old) -> Iterator[Leftover]:
    for artifact in _folders(root, ARTIFACTS):
        is_of_run = any(artifact.name.startswith(f"{run}-") for run in needed.runs)
        if artifact not in needed.artifacts and not is_of_run and is_old(artifact):
            yield _found(artifact, "no published version serves it")


def _evaluations(root: Path, needed: _Needed, is_old: Old) -> Iterator[Leftover]:
    for evaluation in _folders(root, "evaluations"):
        try:
            of = read_manifest(evaluation).artifact
        except ArtifactError:
            of = ""
        is_needed = of is None or of in needed.artifact_hashes or evaluation in needed.evaluations
        if not is_needed and is_old(evaluation):
            yield _found(evaluation, "answers of what no published version serves")


def _datasets(root: Path, needed: _Needed, is_old: Old) -> Iterator[Leftover]:
    for dataset in _folders(root, DATASETS):
        if dataset not in needed.datasets and is_old(dataset):
            yield _found(dataset, "the ledger knows no such dataset")


def _reports(root: Path, is_old: Old) -> Iterator[Leftover]:
    reports = sorted(_folders(root, "reports"), key=lambda path: path.stat().st_mtime)
    yield from (_found(report, "a report of an old check") for report in reports[:-1] if is_old(report))


def _environments(root: Path) -> Iterator[Leftover]:
    """Give what was never finished, unless a process may still be installing it, which takes no day."""
    is_stale = _older_than(1)
    for folder in _folders(root.parent, root.name):
        mark = folder / ENVIRONMENT_MARK
        if mark.is_file() and not (folder / ".complete").exists() and is_stale(mark):
            yield _found(folder, "an environment that was never finished")


def _logs(root: Path, is_old: Old) -> Iterator[Leftover]:
    folder = root / LOGS
    for log in sorted(folder.glob("*.log*")) if folder.is_dir() else []:
        if is_old(log):
            yield _found(log, "an old log")


def _partial(root: Path) -> Iterator[Leftover]:
    """Give what a killed process left half written: such a name ends in its number, and no write takes a day."""
    is_stale = _older_than(1)
    for path in sorted(root.rglob(".*")):
        number = path.name.rpartition(".")[2].partition("-")[0]
        if number.isdigit() and not Path("/proc", number).exists() and is_stale(path):
            yield _found(path, "half of what a killed process wrote")


def _old_copies(root: Path, is_old: Old) -> Iterator[Leftover]:
    copies = sorted(root.glob("*.db.revision-*"), key=lambda path: path.stat().st_mtime)
    yield from (_found(copy, "an older database from before an upgrade") for copy in copies[:-1] if is_old(copy))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        discard(path)
    else:
        path.unlink(missing_ok=True)


def _cut_logs(root: Path) -> None:
    """Move the end of each log that is too large to `.log.1`, and empty it; who appends to it goes on."""
    for log in (root / LOGS).glob("*.log"):
        if log.stat().st_size > LARGEST_LOG_BYTES:
            with log.open("r+b") as file:
                file.seek(-KEPT_LOG_BYTES, 2)
                log.with_suffix(".log.1").write_bytes(file.read())
                file.truncate(0)
