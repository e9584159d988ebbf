"""Tells whether a Dataset is what the files and settings of now would make, without building it.

Files are known by the hash of their bytes; a data set of the hub, which would have to be loaded, is known by its name.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftwheel.files.artifacts import file_sha256
from driftwheel.records.dataset_report import MadeFrom
from driftwheel.records.nouns import Dataset
from driftwheel.settings.data import HUB, DatasetSettings
from driftwheel.store.ledger import Ledger
from train.data.tokens.learned_tokens import Learn

GONE = "gone"


def made_from(settings: DatasetSettings, learn: Learn, paths: Mapping[str, str]) -> MadeFrom:
    """Return what a build of now would go by: files by name, as settings or a person call them, and settings."""
    decisive = settings.model_dump(mode="json", exclude={"sources"})
    told = {f"dataset.{name}": json.dumps(value) for name, value in decisive.items()}
    told["train.learn"] = json.dumps(learn)
    weights = {s.path: s.weight for s in settings.weighted_sources() if s.weight != 1}
    told["the weights of dataset.sources"] = json.dumps(weights, sort_keys=True)
    return MadeFrom(files={name: _hash(path) for name, path in paths.items()}, settings=told)


def changed_since(old: MadeFrom, new: MadeFrom) -> list[str]:
    """Return what is otherwise now: each file that changed, came or went, and each setting, as one reads them."""
    found = []
    for name in sorted(old.files.keys() | new.files.keys()):
        before, now = old.files.get(name), new.files.get(name)
        if before != now:
            what = "is new among the sources" if before is None else "is no source any more" if now is None else None
            found.append(f"{name} {what or ('is gone' if now == GONE else 'has changed')}")
    both = [
        (name, old.settings[name], new.settings[name]) for name in sorted(old.settings.keys() & new.settings.keys())
    ]
    return found + [f"{name} was {before} and is {now}" for name, before, now in both if before != now]


def newest_built(ledger: Ledger, project: str, now: MadeFrom) -> tuple[Dataset | None, list[str]]:
    """Return the Dataset to take where none is named, and what has changed since it was built.

    It is the one that `data build` would find built already, else the newest. Of one that a retrain made, or of an
    older release, nobody can tell.
    """
    datasets = ledger.find(Dataset, project=project)
    if not datasets:
        return None, []
    if datasets[0].report.made_from is None:
        return datasets[0], []
    found = next((d for d in datasets if d.report.made_from == now), datasets[0])
    return found, changed_since(found.report.made_from or now, now)


def warning(dataset: Dataset, changes: Sequence[str]) -> str:
    """Return one line that says what has changed since a Dataset was built; nothing if nothing has."""
    return f"{dataset.id} is older: {'; '.join(changes)}; `driftwheel data build` renews it\n" if changes else ""


def _hash(source: str) -> str:
    """Return the hash of a file, or of all files in a folder."""
    if source.startswith(HUB):
        return source
    path = Path(source)
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        return GONE
    hashes = [f"{p.relative_to(path)} {file_sha256(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
