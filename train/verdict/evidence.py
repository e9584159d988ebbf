"""Collects the gate's evidence: items of evaluations, earlier looks at them, and gains that must be kept."""

from collections.abc import Sequence
from pathlib import Path

from driftwheel.errors import GateError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.records.predictions import read_predictions
from driftwheel.records.scorecard import Scorecard
from driftwheel.store.ledger import Ledger
from driftwheel.text.grades import Criterion
from train.data.examples import read_examples
from train.verdict.paired_tables import Fixed, Item, groups
from train.verdict.slices import name_slices

SAME_ITEMS_SHARE = 0.5
"""A verdict on a test set that holds this share of the target items is a look at them, whatever its dataset's id."""


def read_items(evaluation: Path, dataset: Dataset) -> list[Item]:
    """Return an evaluation's items, each with the slices of its dataset's test split that it belongs to."""
    named = name_slices(read_examples(Path(dataset.path) / "test.jsonl"))
    scored = read_predictions(evaluation)
    return [Item(item.id, item.slice, item.is_correct, named.get(item.id, ()), item.grade) for item in scored]


def require_one_criterion(criterion: Criterion, live: Scorecard) -> None:
    """Raise GateError if the live version's answers have grades by another criterion than the candidate's."""
    if (live.criterion or "right") != criterion:
        raise GateError(
            f"the candidate is graded by {criterion} and the live version by {live.criterion or 'right'}: their grades "
            "cannot be compared; set evaluate.criterion to one of them, and evaluate both again"
        )


def count_looks(ledger: Ledger, project: str, items: Sequence[Item], artifact_hash: str) -> int:
    """Count the other candidates that were already compared with a live version on (mostly) these target items."""
    target = {item.id for item in next(iter(groups(items).values()))}
    is_same: dict[str, bool] = {}
    looks = 0
    for version in ledger.find(ModelVersion, project=project):
        if version.verdict.live_version_id is None or version.manifest_hash == artifact_hash:
            continue
        if version.verdict.ungraded and version.verdict.p_value is None:
            continue  # its items had no grades, so that the verdict says nothing of them
        dataset_id = str(version.scorecard.dataset_id)
        if dataset_id not in is_same:
            test = read_examples(Path(ledger.get(Dataset, dataset_id).path) / "test.jsonl")
            is_same[dataset_id] = len(target & {e.id for e in test}) >= SAME_ITEMS_SHARE * len(target)
        looks += is_same[dataset_id]
    return looks


def what_stays_fixed(ledger: Ledger, live: ModelVersion, criterion: Criterion = "right") -> list[Fixed]:
    """Return what the live version won when it was promoted, and each version before it that it was judged against.

    Versions that were rolled back are not among them. A version whose evaluation is gone binds nobody, and neither does
    one that was judged by another criterion.
    """
    found: list[Fixed] = []
    version: ModelVersion | None = live
    while version is not None:
        evaluation = Path(str(version.scorecard.predictions_path)).parent
        is_alike = (version.scorecard.criterion or "right") == criterion
        if version.verdict.fixed and is_alike and artifacts.is_complete(evaluation):
            members = groups(read_items(evaluation, ledger.get(Dataset, str(version.scorecard.dataset_id))))
            for won in version.verdict.fixed:
                answers = {item.id: item.outcome(criterion) for item in members.get(won.slice, [])}
                found.append(Fixed(won.slice, version.number, won.gain, answers))
        before = version.verdict.live_version_id
        version = ledger.get(ModelVersion, before) if before else None
    return found
