"""Takes rows out of Datasets: each gets a new version without them, under which the older one is found, too."""

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from driftwheel.files.artifacts import MANIFEST, discard, writing
from driftwheel.identity import content_hash, new_id
from driftwheel.records.nouns import Dataset, ModelVersion, TrainingRun
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import last_text, text_of
from driftwheel.traffic.personal_data import redact
from driftwheel.upkeep.forgotten_turns import said_by_user

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
    requests: frozenset[str]
    """Their own ids, which rows of later Datasets know."""
    author: str | None = None
    """A key whose words taught."""
    said: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What that key alone said about requests of others, by their ids."""

    @classmethod
    def of(
        cls,
        prompts: Collection[str],
        groups: Collection[str],
        requests: Collection[str],
        author: str | None = None,
        said: Mapping[str, frozenset[str]] | None = None,
    ) -> "Asked":
        """Know them by what was asked, as it was or without personal data, by who asked, and by their requests."""
        forms = {form for prompt in prompts for form in (normal(prompt), normal(redact(prompt)[0]))}
        known = frozenset(filter(None, forms)), frozenset(filter(None, groups)), frozenset(requests)
        return cls(prompts=known[0], groups=known[1], requests=known[2], author=author, said=said or {})

    def holds(self, row: Row) -> bool:
        """Say whether a row was made of one of the requests; rows of data files are nobody's of the traffic."""
        if row.get("source") == "files":
            return False
        requests = row.get("requests")
        ids = requests if isinstance(requests, list) else []
        if str(row.get("group", "")) in self.groups or not self.requests.isdisjoint(ids):
            return True
        is_said = any(answer in self.said.get(id, ()) for id in ids for answer in _answers(row))
        return is_said or (self.author is not None and row.get("author") == self.author) or self._asks(row)

    def _asks(self, row: Row) -> bool:
        return normal(_text(row)) in self.prompts


def _text(row: Row) -> str:
    """Return what a row asks."""
    prompt = row.get("prompt")
    return last_text(prompt) if isinstance(prompt, list) else str(prompt or "")


def _answers(row: Row) -> list[str]:
    """Return what a row says is right, as an answer or as its label."""
    completion, references = row.get("completion"), row.get("references")
    answers = [text_of(completion[-1])] if isinstance(completion, list) and completion else []
    answers += references if isinstance(references, list) else []
    return [answer.strip() for answer in [*answers, str(row.get("label") or "")]]


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """A Dataset that had such rows."""

    id: str
    replaced_by: str
    """The new Dataset, without them."""
    rows: int
    learned: int
    """Of these, in splits that shape the weights."""


@dataclass(frozen=True, kw_only=True)
class ClearedFolder:
    """A folder of rows with those that go out of it; after an earlier forgetting several Datasets name one folder."""

    path: Path
    datasets: tuple[Cleared, ...]
    texts: frozenset[str]
    """What users say in the rows that go."""


def normal(text: str) -> str:
    """Return a text without what cleaning may have changed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def clear_datasets(ledger: Ledger, project: str, root: Path, asked: Asked, *, dry_run: bool) -> list[ClearedFolder]:
    """Take the rows of some requests out of each Dataset of the project."""
    naming: dict[str, list[Dataset]] = {}
    for dataset in ledger.find(Dataset, project=project, newest_first=False):
        naming.setdefault(dataset.path, []).append(dataset)
    found = [_clear(ledger, root, datasets, asked, dry_run=dry_run) for datasets in naming.values()]
    return [folder for folder in found if folder is not None]


def _clear(
    ledger: Ledger, root: Path, datasets: Sequence[Dataset], asked: Asked, *, dry_run: bool
) -> ClearedFolder | None:
    path = Path(datasets[0].path)
    before = _read(path)
    gone = {row.get("id") for rows in before.values() for row in rows if row.get("id") and asked.holds(row)}
    # What was made of a row, such as a rewording or a copy, goes with it.
    after = {name: [r for r in rows if not (asked.holds(r) or _origin(r) in gone)] for name, rows in before.items()}
    lost = {name: len(rows) - len(after[name]) for name, rows in before.items()}
    if not any(lost.values()):
        return None
    learned = sum(count for name, count in lost.items() if name.startswith(LEARNED) or name.endswith(LEARNED))
    digest = content_hash(after)
    new, rows = new_id("dataset", digest), sum(lost.values())
    cleared = tuple(Cleared(id=d.id, replaced_by=new, rows=rows, learned=learned) for d in datasets)
    if not dry_run:
        _replace(ledger, root, datasets, after, digest, cleared[0])
    kept = {id(row) for rows in after.values() for row in rows}
    gone_rows = [row for rows in before.values() for row in rows if id(row) not in kept]
    texts = frozenset(text for row in gone_rows for text in said_by_user(row.get("prompt")))
    return ClearedFolder(path=path, datasets=cleared, texts=texts)


def _replace(
    ledger: Ledger,
    root: Path,
    datasets: Sequence[Dataset],
    rows: Mapping[str, Sequence[Row]],
    digest: str,
    cleared: Cleared,
) -> None:
    """Write the new Dataset, let the rows of the older ones name its files, and delete those that hold the texts."""
    newest = datasets[-1]
    target = root / "datasets" / cleared.replaced_by
    report = replace(newest.report, broken_rows=[], forgotten=(newest.report.forgotten or 0) + cleared.rows)
    facts = {"dataset_id": cleared.replaced_by, "origin": newest.origin, "rows_hash": digest, "report": asdict(report)}
    with writing(target, facts) as folder:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    counts = {f"{name}_rows": len(rows.get(name, ())) for name in ("train", "validation", "test")}
    ledger.add(replace(newest, id=cleared.replaced_by, path=str(target), content_hash=digest, report=report, **counts))  # type: ignore[arg-type]  # numbers by name
    for dataset in datasets:
        ledger.change(dataset, path=str(target), content_hash=digest, report=report, **counts)
    delete_unnamed(ledger, [newest.path])


def delete_unnamed(ledger: Ledger, folders: Collection[str]) -> None:
    """Delete folders of rows that no Dataset names any more."""
    for folder in folders:
        if not ledger.count(Dataset, path=folder):
            discard(Path(folder))


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
