"""`driftwheel gc` deletes what nothing needs, and nothing else."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.control.retrain_limits import UNFINISHED
from driftwheel.errors import ConflictError
from driftwheel.files.version_files import collect_stored
from driftwheel.records.lineage import Lineage
from driftwheel.records.nouns import DecisionStatus, ModelVersion, ModelVersionStatus, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.upkeep.leftovers import LARGEST_LOG_BYTES, collect_leftovers
from driftwheel.upkeep.storage_files import LOCKS, making, only_upkeep
from driftwheel.upkeep.verifying import verify_loop
from tests.support.versions import decision_stub
from tests.support.whole_loop import add_built, add_run, add_version


@pytest.fixture
def loop(settings: Settings) -> Iterator[Ledger]:
    """A live version, an older one, a rejected one, a failed run, and files of every kind."""
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        add_version(ledger, settings)
        add_built(ledger, settings, 2, "dataset_1")
        add_built(ledger, settings, 3, "dataset_1", ModelVersionStatus.REJECTED)
        for name in ("runs/run_gone/adapter", "datasets/dataset_gone", "reports/check_1", "reports/check_2"):
            (settings.root / name).mkdir(parents=True)
        for name in ("artifacts/.x.999999999", "half", "whole"):
            (settings.root / name).mkdir(parents=True)
        for name in ("half/pyvenv.cfg", "whole/pyvenv.cfg", "whole/.complete", "logs/old.log.1", "logs/new.log"):
            (settings.root / name).parent.mkdir(exist_ok=True)
            (settings.root / name).write_text("x")
        for name in ("ledger.db.revision-1.a", "ledger.db.revision-2.b"):
            (settings.root / name).write_text("x")
        yield ledger


def make_old(root: Path, *but: str) -> None:
    """Let everything be as it was a year ago, but for some."""
    for path in root.rglob("*"):
        if str(path.relative_to(root)) not in but:
            os.utime(path, (time.time() - 365 * 86_400,) * 2)


def names(root: Path, found: list[object]) -> set[str]:
    return {str(leftover.path.relative_to(root)) for leftover in found}  # type: ignore[attr-defined]


GONE = {
    "runs/run_gone",
    "runs/run_2/checkpoint-10",
    "runs/run_2/merged",
    "runs/run_3/checkpoint-10",
    "runs/run_3/merged",
    "artifacts/run_3-none",
    "artifacts/.x.999999999",
    "datasets/dataset_gone",
    "reports/check_1",
    "half",
    "logs/old.log.1",
    "ledger.db.revision-1.a",
}


def test_what_nothing_needs_goes_and_the_rest_stays(loop: Ledger, settings: Settings) -> None:
    make_old(settings.root, "logs/new.log", "reports/check_2", "ledger.db.revision-2.b")
    before = {path for path in settings.root.rglob("*") if path.is_file()}
    assert names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=True)]) == GONE
    assert {path for path in settings.root.rglob("*") if path.is_file()} - before <= {
        settings.root / name for name in LOCKS
    }
    assert names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=False)]) == GONE
    assert not any((settings.root / name).exists() for name in GONE)
    for name in (
        "runs/run_1/merged",
        "runs/run_1/checkpoint-10",
        "runs/run_2/adapter",
        "artifacts/run_2-none",
        "whole",
    ):
        assert (settings.root / name).exists(), name
    assert verify_loop(loop, "support", settings.root).faults == ()
    assert collect_leftovers(loop, settings.root, dry_run=False) == []


def test_what_is_young_stays(loop: Ledger, settings: Settings) -> None:
    assert collect_leftovers(loop, settings.root, dry_run=True) == []  # "half" may be in the making


def test_merged_weights_that_another_version_went_on_from_stay(loop: Ledger, settings: Settings) -> None:
    make_old(settings.root)
    third = add_run(loop, settings, "run_4", "dataset_1")
    merged = settings.root / "runs" / "run_2" / "merged"
    version = loop.get(ModelVersion, "version_2")
    went_on = replace(
        version,
        id="version_4",
        number=4,
        run_id=third.id,
        base_model=str(merged),
        lineage=Lineage(started_from="run_2"),
    )
    loop.add(went_on)
    assert "runs/run_2/merged" not in names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=True)])


def test_a_run_that_trains_is_left_alone(loop: Ledger, settings: Settings) -> None:
    make_old(settings.root)
    loop.change(loop.get(TrainingRun, "run_3"), status="running")
    found = names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=True)])
    assert not any(name.startswith(("runs/run_3", "artifacts/run_3")) for name in found)


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_run_whose_version_may_still_go_live_is_left_alone(
    loop: Ledger, settings: Settings, status: DecisionStatus
) -> None:
    make_old(settings.root)
    loop.add(replace(decision_stub("decision_1"), project="support", status=status, run_id="run_3"))
    found = names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=True)])
    assert not any(name.startswith(("runs/run_3", "artifacts/run_3")) for name in found)


def test_a_log_that_is_too_large_is_cut_while_its_process_goes_on(loop: Ledger, settings: Settings) -> None:
    path = settings.logs / "gateway.log"
    with path.open("ab") as log:
        log.truncate(LARGEST_LOG_BYTES + 1)
        log.seek(0, 2)
        log.write(b"the last words\n")
        log.flush()
        collect_leftovers(loop, settings.root, dry_run=False)
        log.write(b"and more\n")
    assert path.read_bytes() == b"and more\n"
    assert (settings.logs / "gateway.log.1").read_bytes().endswith(b"the last words\n")


def test_nothing_is_deleted_while_a_backup_is_taken(loop: Ledger, settings: Settings) -> None:
    with only_upkeep(settings.root), pytest.raises(ConflictError, match="another backup"):
        collect_leftovers(loop, settings.root, dry_run=False)


@pytest.mark.parametrize("has_own_file", [True, False])
def test_a_folder_of_another_ledger_is_left_alone(
    loop: Ledger, settings: Settings, tmp_path: Path, has_own_file: bool
) -> None:
    """A database URL that is mistyped makes an empty ledger, to which everything would be a leftover."""
    make_old(settings.root)
    if not has_own_file:
        (settings.root / "ledger.db").rename(tmp_path / "away.db")
    before = {*settings.root.rglob("*")}
    storage = settings.storage.model_copy(update={"artifacts": str(tmp_path / "store")})
    with closing(Ledger(f"sqlite:///{tmp_path / 'other.db'}", root=settings.root)) as other:
        with pytest.raises(ConflictError, match="is a ledger, too" if has_own_file else "is it the right database"):
            collect_leftovers(other, settings.root, keep_days=0, dry_run=False)
        with pytest.raises(ConflictError, match="knows no published version"):
            collect_stored(storage, other, dry_run=False)
    assert before <= {*settings.root.rglob("*")}


def test_the_verb_says_what_it_would_do(loop: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    make_old(settings.root)
    assert main(["gc", "--dry-run", "--config", str(settings.path)]) == 0
    assert main(["gc", "--json", "--keep-days", "1", "--config", str(settings.path)]) == 0
    told = capsys.readouterr().out
    assert "would be deleted" in told
    assert '"reason": "no published version serves it"' in told


def test_nothing_is_a_leftover_while_somebody_makes_files_by_hand(
    loop: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """`gc --keep-days 0` took the merged weights from a `publish` that was quantizing them: no row names them yet."""
    make_old(settings.root)
    gc = ["gc", "--keep-days", "0", "--config", str(settings.path)]
    with making(settings.root), making(settings.root):
        assert main(gc) == 1
        said = capsys.readouterr().err
        assert "run it again when it has ended" in said
        assert (settings.root / "runs" / "run_2" / "merged").is_dir()
    assert main(gc) == 0
    assert not (settings.root / "runs" / "run_2" / "merged").exists()


def test_checkpoints_are_looked_for_where_a_training_writes_them(loop: Ledger, settings: Settings) -> None:
    """None was ever deleted: `gc` knew another folder."""
    written = settings.root / "runs" / "run_2" / "checkpoints" / "checkpoint-20"
    written.mkdir(parents=True)
    make_old(settings.root)
    found = names(settings.root, [*collect_leftovers(loop, settings.root, dry_run=False)])
    assert "runs/run_2/checkpoints/checkpoint-20" in found
    assert not written.exists()
