"""Takes rows out of Datasets: each gets a new version without them, under which the older one is found, too."""

import json
import shutil
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from driftwheel.artifacts import MANIFEST, writing
from driftwheel.conversations import last_text
from driftwheel.identity import content_hash, new_id
from driftwheel.records import Dataset, ModelVersion, TrainingRun
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.personal_data import redact

Row = Mapping[str, object]
LEARNED = ("train", "validation")
"""Splits that shape the weights: by what is learned, and by which checkpoint is kept."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How the rows of a Dataset that were made of some requests are known."""

    prompts: frozenset[str]
    """What was asked, in the form of `normal`."""
    groups: frozenset[str]
    """Ids of their users and conversations."""

    @classmethod
    def of(cls, prompts: Collection[str], groups: Collection[str]) -> "Asked":
        """Know them by what was asked, as it was or without personal data, and by who asked."""
        forms = {form for prompt in prompts for form in (normal(prompt), normal(redact(prompt)[0]))}
        return cls(prompts=frozenset(filter(None, forms)), groups=frozenset(filter(None, groups)))

    def holds(self, row: Row) -> bool:
        """Say whether a row was made of one of the requests; rows of data files are nobody's of the traffic."""
        if str(row.get("group", "")) in self.groups:
            return True
        prompt = row.get("prompt")
        text = last_text(prompt) if isinstance(prompt, list) else str(prompt or "")
        return row.get("source") != "files" and normal(text) in self.prompts


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """A Dataset that had such rows."""

    id: str
    replaced_by: str
    """The new Dataset, without them."""
    rows: int
    learned: int
    """Of these, in splits that shape the weights."""


def normal(text: str) -> str:
    """Return a text without what cleaning may have changed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def clear_datasets(ledger: Ledger, project: str, root: Path, asked: Asked, *, dry_run: bool) -> list[Cleared]:
    """Take the rows of some requests out of each Dataset of the project."""
    return [
        cleared
        for dataset in ledger.find(Dataset, project=project, newest_first=False)
        if (cleared := _clear(ledger, root, dataset, asked, dry_run=dry_run)) is not None
    ]


def _clear(ledger: Ledger, root: Path, dataset: Dataset, asked: Asked, *, dry_run: bool) -> Cleared | None:
    before = _read(Path(dataset.path))
    gone = {row.get("id") for rows in before.values() for row in rows if row.get("id") and asked.holds(row)}
    # What was made of a row, such as a rewording or a copy, goes with it.
    after = {name: [r for r in rows if not (asked.holds(r) or _origin(r) in gone)] for name, rows in before.items()}
    lost = {name: len(rows) - len(after[name]) for name, rows in before.items()}
    if not any(lost.values()):
        return None
    learned = sum(count for name, count in lost.items() if name.startswith(LEARNED) or name.endswith(LEARNED))
    digest = content_hash(after)
    new = new_id("dataset", digest)
    cleared = Cleared(id=dataset.id, replaced_by=new, rows=sum(lost.values()), learned=learned)
    if not dry_run:
        _replace(ledger, root, dataset, after, digest, cleared)
    return cleared


def _replace(
    ledger: Ledger, root: Path, dataset: Dataset, rows: Mapping[str, Sequence[Row]], digest: str, cleared: Cleared
) -> None:
    """Write the new Dataset, let the older one's row name its files, and delete those that hold the texts."""
    target = root / "datasets" / cleared.replaced_by
    report = replace(dataset.report, broken_rows=[], forgotten=(dataset.report.forgotten or 0) + cleared.rows)
    facts = {"dataset_id": cleared.replaced_by, "origin": dataset.origin, "rows_hash": digest, "report": asdict(report)}
    with writing(target, facts) as folder:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    counts = {f"{name}_rows": len(rows.get(name, ())) for name in ("train", "validation", "test")}
    old = Path(dataset.path)
    ledger.add(replace(dataset, id=cleared.replaced_by, path=str(target), content_hash=digest, report=report, **counts))  # type: ignore[arg-type]  # numbers by name
    ledger.change(dataset, path=str(target), content_hash=digest, report=report, **counts)
    shutil.rmtree(old)


def _read(folder: Path) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.jsonl")) if (folder / MANIFEST).is_file() else []:
        with path.open(encoding="utf-8") as file:
            found[path.stem] = [json.loads(line) for line in file if line.strip()]
    return found


def _origin(row: Row) -> object:
    return row.get("original") or str(row.get("id", "")).partition("-r")[0]


def learned_from(ledger: Ledger, project: str, datasets: Collection[str]) -> list[str]:
    """Return the versions whose weights came of these Datasets, of a run on them, or of one that went on from such."""
    runs = {run.id: run for run in ledger.find(TrainingRun, project=project)}
    touched = {run.id for run in runs.values() if run.dataset_id in datasets}
    versions = ledger.find(ModelVersion, project=project, newest_first=False)
    while True:
        more = {run.id for run in runs.values() if _went_on_from(run) in touched} - touched
        merged = {v.run_id for v in versions if v.lineage.merged_from and touched & set(v.lineage.merged_from.run_ids)}
        if not (more | merged) - touched:
            return [version.id for version in versions if version.run_id in touched]
        touched |= more | merged


def _went_on_from(run: TrainingRun) -> str | None:
    start = run.settings.get("started_from")
    path = Path(run.base_model)
    return str(start) if start else path.parent.name if path.name == "merged" else None
