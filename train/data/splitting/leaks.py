"""Finds leaks: rows to learn from that are the same as, or much like, rows that judge.

The splitting is built so that there are none; this is the proof, made of the finished splits alone. It runs before a
Dataset is written and again before a model is trained on one, whatever wrote its files.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import SharedFrame
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus, TrainingRun
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from train.data.examples import Example, read_examples
from train.data.near_duplicates.duplicates import NearDuplicates
from train.data.splitting.shared_frame import NOTHING_SHARED, Compared
from train.data.tokens.learned_tokens import Learn, each_learned
from train.runs import STARTED_FROM

LeakKind = Literal["exact", "folded", "near", "contained", "group", "future"]
MEANING: dict[LeakKind, str] = {
    "exact": "is the same text as",
    "folded": "is, but for case, spacing or look-alike characters, the same text as",
    "near": "is a near duplicate of",
    "contained": "contains, or is part of,",
    "group": "is of the same conversation or user as",
    "future": "is dated after the cut before",
}
STRICTEST_FIRST = list(MEANING)
SHOWN_LEAKS = 3
"""An error is one line; the counts by kind beside them are of all leaks."""


@dataclass(frozen=True)
class Leak:
    """A row that must not be learned from, and why."""

    kind: LeakKind
    row: Example
    held_out: Example | None
    """The row that it resembles; None for a row that is only dated too late."""
    place: str = ""
    """``file:line`` where it is known."""

    def __str__(self) -> str:
        """Name the row and what it resembles."""
        other = f"row {self.held_out.id} ({self.held_out.text[:60]!r})" if self.held_out else "the evaluation"
        return f"{self.place or self.row.id} ({self.row.text[:60]!r}) {MEANING[self.kind]} {other}"


class HeldOut:
    """Rows that judge, against which others are checked."""

    def __init__(
        self, rows: Sequence[Example], similarity: float, cut: str | None = None, shared: SharedFrame = NOTHING_SHARED
    ) -> None:
        self._rows, self._cut, self._compared = rows, cut, Compared(shared)
        self._texts = NearDuplicates(self._compared.texts([row.conversation for row in rows]), similarity)
        self._groups = {row.group: row for row in rows}

    def leaks(self, rows: Sequence[Example], learn: Learn = "last") -> list[Leak]:
        """Return at most one leak for each row, of the strictest kind that holds for any of its learned turns."""
        found: dict[int, Leak] = {}
        for number, row in enumerate(rows):
            if self._cut and row.time and row.time > self._cut:
                found[number] = Leak("future", row, None)
            if row.group in self._groups:
                found[number] = Leak("group", row, self._groups[row.group])
        taught = [(number, turn) for number, row in enumerate(rows) for turn in each_learned([row], learn)]
        asked = self._compared.texts([turn.conversation for _, turn in taught])
        for match in self._texts.strictest(asked):
            number, turn = taught[match.asked]
            leak, known = Leak(match.kind, turn, self._rows[match.found]), found.get(number)
            if known is None or STRICTEST_FIRST.index(leak.kind) < STRICTEST_FIRST.index(known.kind):
                found[number] = leak
        return [found[number] for number in sorted(found)]


def quarantined(ledger: Ledger, project: str, before: datetime | None = None) -> list[Example]:
    """Return the test rows of each Dataset that a published version learned from or was judged on, before a moment.

    Such rows judge again: every later Dataset takes them over, and what was won on them stays fixed. A Dataset that
    only refused candidates were judged on, or nobody, is asked no more, so that its rows may be learned.
    """
    binding: set[str] = set()
    for version in ledger.find(ModelVersion, project=project, status=ModelVersionStatus.PUBLISHED):
        if before is None or version.created_at < before:
            binding |= {version.dataset_id, version.scorecard.dataset_id or version.dataset_id}
    rows: dict[tuple[str, str], Example] = {}
    for dataset in ledger.find(Dataset, project=project):
        if dataset.id in binding:
            for row in read_examples(Path(dataset.path) / "test.jsonl"):
                rows.setdefault((row.conversation, row.group), row)
    return list(rows.values())


def find_leaks(
    splits: Mapping[str, Sequence[Example]],
    quarantine: Sequence[Example],
    similarity: float,
    cuts: Mapping[str, str],
    learn: Learn = "last",
    shared: SharedFrame = NOTHING_SHARED,
) -> list[Leak]:
    """Return the leaks from training and validation into the test rows and quarantine, and between the two."""
    held_out = HeldOut([*splits["test"], *quarantine], similarity, cuts.get("test"), shared)
    leaks = held_out.leaks([*splits["train"], *splits["validation"]], learn)
    validating = HeldOut(splits["validation"], similarity, cuts.get("validation"), shared)
    return leaks + validating.leaks(splits["train"], learn)


def refuse_leaks(name: str, leaks: Sequence[Leak], remedy: str) -> None:
    """Raise DataError if there are leaks; it counts them by kind and names the first rows."""
    if leaks:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(leak.kind for leak in leaks).most_common())
        shown = "; ".join(str(leak) for leak in leaks[:SHOWN_LEAKS])
        raise DataError(
            f"{name}: {len(leaks)} rows leak from what is learned into what judges ({kinds}): {shown}; {remedy}"
        )


def check_dataset(
    settings: DatasetSettings, ledger: Ledger, project: str, dataset: Dataset, learn: Learn = "last"
) -> None:
    """Raise DataError if a Dataset's learned rows leak into its test rows, or into what was quarantined before it.

    The files are read afresh: it does not matter who wrote them.
    """
    splits = {name: read_examples(Path(dataset.path) / f"{name}.jsonl") for name in ("train", "validation", "test")}
    quarantine = quarantined(ledger, project, before=dataset.created_at)
    cuts = dataset.report.time_cuts
    leaks = find_leaks(splits, quarantine, settings.near_duplicate_similarity, cuts, learn, dataset.report.shared)
    refuse_leaks(dataset.id, leaks, "build the dataset again: `driftwheel data build`")


def leaks_into_judge(settings: DatasetSettings, ledger: Ledger, run: TrainingRun, judge: Dataset) -> list[Leak]:
    """Return the rows that a run, or a run it was made from, learned and that leak into another Dataset's test rows.

    A run's own Dataset was checked before it was trained.
    """
    rows = _learned(ledger, [learned for learned in _learned_from(ledger, run) if learned[0] != judge.id])
    if not rows:
        return []
    cut = judge.report.time_cuts.get("test")
    test = read_examples(Path(judge.path) / "test.jsonl")
    return HeldOut(test, settings.near_duplicate_similarity, cut, judge.report.shared).leaks(rows)


def learned_rows(ledger: Ledger, run_id: str) -> list[Example]:
    """Return every row that a run, or a run that it was made from, has learned; one for each learned turn."""
    return _learned(ledger, _learned_from(ledger, ledger.get(TrainingRun, run_id)))


def _learned(ledger: Ledger, learned: Iterable[tuple[str, Learn]]) -> list[Example]:
    rows: list[Example] = []
    for dataset_id, learn in sorted(learned):
        folder = Path(ledger.get(Dataset, dataset_id).path)
        for name in ("train", "validation"):
            rows += each_learned(read_examples(folder / f"{name}.jsonl"), learn)
    return rows


def _learned_from(ledger: Ledger, run: TrainingRun) -> set[tuple[str, Learn]]:
    """Return the Datasets that a run learned from, itself or through the runs that it was made from, and which turns.

    A run of before `train.learn` learned last turns.
    """
    merged = run.settings.get("merged_from", {}).get("run_ids", [])
    start = run.settings.get(STARTED_FROM)
    found = set() if merged else {(run.dataset_id, run.settings.get("train", {}).get("learn", "last"))}
    for run_id in [*merged, *([start] if start else [])]:
        found |= _learned_from(ledger, ledger.get(TrainingRun, run_id))
    return found
