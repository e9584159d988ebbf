"""Compares two versions item by item: what both answered in an evaluation, the most changed answers first."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftwheel.errors import NotFoundError
from driftwheel.files.artifacts import MANIFEST, ArtifactManifest, read_manifest
from driftwheel.records.json_form import from_json
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.predictions import Prediction, read_predictions
from driftwheel.records.scorecard import Scorecard


@dataclass(frozen=True)
class Comparison:
    """Two versions on the items of one dataset's test split that both were asked."""

    dataset_id: str
    scorecards: tuple[Scorecard, Scorecard]
    pairs: list[tuple[Prediction, Prediction]]


def compare(root: Path, first: ModelVersion, second: ModelVersion) -> Comparison:
    """Read what both versions answered on the newest dataset that both were evaluated on.

    Grades by two criteria say nothing beside each other, and are left out.
    Raises NotFoundError if there is none, ArtifactError if an evaluation cannot be read.
    """
    of_first, of_second = _evaluations(root, first.manifest_hash), _evaluations(root, second.manifest_hash)
    shared = sorted(of_first.keys() & of_second.keys())
    if not shared:
        raise NotFoundError(
            f"v{first.number} and v{second.number} were not asked the same items; run "
            f"`driftwheel evaluate --artifact {first.path} --dataset {second.dataset_id}`"
        )
    folders = of_first[shared[-1]], of_second[shared[-1]]
    answers = {item.id: item for item in read_predictions(folders[0])}
    pairs = [(answers[item.id], item) for item in read_predictions(folders[1]) if item.id in answers]
    cards = [from_json((folder / "scorecard.json").read_bytes(), Scorecard) for folder in folders]
    if cards[0].criterion != cards[1].criterion:
        cards = [replace(card, grade=None) for card in cards]
        pairs = [(replace(a, grade=None), replace(b, grade=None)) for a, b in pairs]
    return Comparison(shared[-1], (cards[0], cards[1]), pairs)


def most_changed(pairs: Sequence[tuple[Prediction, Prediction]], limit: int) -> list[tuple[Prediction, Prediction]]:
    """Return the pairs whose answers differ: first those with grades furthest apart, then by how little words agree."""
    changed = [(a, b) for a, b in pairs if a.answer.split() != b.answer.split()]
    return sorted(changed, key=_sameness)[:limit]


def _sameness(pair: tuple[Prediction, Prediction]) -> tuple[float, float, str]:
    first, second = pair
    likeness = difflib.SequenceMatcher(None, first.answer.split(), second.answer.split(), autojunk=False)
    return -abs(_outcome(second) - _outcome(first)), likeness.ratio(), first.id


def _outcome(item: Prediction) -> float:
    return float(item.is_correct) if item.grade is None else item.grade


def _evaluations(root: Path, artifact_hash: str) -> dict[str, Path]:
    """Return the newest finished evaluation of an artifact on each dataset, by the dataset's id."""
    found = [
        (manifest.dataset_id, path.parent)
        for path, manifest in _manifests(root)
        if manifest.artifact == artifact_hash and manifest.dataset_id is not None
    ]
    return dict(sorted(found, key=lambda entry: (entry[1] / MANIFEST).stat().st_mtime))


def _manifests(root: Path) -> Iterator[tuple[Path, ArtifactManifest]]:
    for path in (root / "evaluations").glob(f"[!.]*/{MANIFEST}"):
        yield path, read_manifest(path.parent)
