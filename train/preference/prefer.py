"""Trains a tuned run on people's preferences with DPO or KTO, which makes a new run.

    python -m train finetune --config driftwheel.yaml --set train.objective=dpo

Preferences from data files train the base model. Those from feedback go on from the merged model of the run that is
live, because its answers are the ones that were judged. The Dataset holds the preferences beside the rows and the test
split of that run's Dataset, so that the gate asks the same questions as before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sklearn.model_selection import GroupShuffleSplit

from driftwheel.errors import DataError
from driftwheel.records.dataset_report import SharedFrame
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import right_label
from driftwheel.text.conversations import text_of
from train.data.examples import Example
from train.data.near_duplicates.duplicates import NearDuplicates
from train.data.sources.preferences import PreferenceRow, preference_path, read_preferences
from train.data.splitting.dataset_files import LEFT_OUT, find_stored, read_left_out, read_splits, store
from train.data.splitting.leaks import quarantined
from train.data.splitting.preference_files import LEARNED
from train.data.splitting.shared_frame import Compared
from train.data.splitting.splits import SPLITS, group_numbers
from train.data.splitting.tally import Tally
from train.finetune import finetune
from train.preference.preference_rows import AnswerFeedback, preferences
from train.warm_start import judged_run, starting_weights

FEWEST = 10
"""Fewer preferences of the wanted kind teach nothing that a held-out part could show."""


def prefer(settings: Settings, ledger: Ledger) -> TrainingRun:
    """Train on the preferences of `train.objective`, from the live version's run or else the newest.

    Raises DataError if there are too few of them.
    """
    live = live_version(ledger, settings.project, settings.serve.alias)
    parent = ledger.get(Dataset, judged_run(ledger, settings.project, live).dataset_id)
    dataset = preference_dataset(settings, ledger, parent)
    return finetune(starting_weights(settings, ledger), ledger, dataset.id)


def given_preferences(ledger: Ledger, project: str, objective: str) -> Dataset | None:
    """Return the newest Dataset that was built from files, if those held preferences of this kind."""
    newest = ledger.find(Dataset, project=project, origin="files", limit=1)
    return next((d for d in newest if preference_path(Path(d.path), objective, "train").is_file()), None)


def preference_dataset(
    settings: Settings, ledger: Ledger, parent: Dataset, *, has_corrections: bool = False
) -> Dataset:
    """Build the Dataset of the wanted preferences and its parent's rows, or find it built already.

    Preferences of whom the parent's test rows are, or like these, are left out, so that the gate asks what nothing has
    taught. `has_corrections` says that the parent holds people's corrections already, split by itself.
    """
    objective = settings.train.objective
    splits = read_splits(parent)
    held_out = [*splits["test"], *quarantined(ledger, settings.project)]
    tested = [e.conversation for e in held_out]
    tally = Tally(shared=parent.report.shared)
    given = {name: _given(parent, objective, name) for name in LEARNED}
    of = ledger, settings.project, settings.serve.alias
    proven = [e for name in LEARNED for e in splits[name] if e.author is None]
    proven += [_better(row, settings.dataset.label_field) for name in LEARNED for row in given[name]]
    wanted = preferences(settings.dataset, *of, tested, tally, objective=objective, proven=proven)
    tested_groups = {e.group for e in held_out}  # nobody teaches what they are asked to judge
    tally.dropped["feedback of those whose questions judge"] += sum(p.group in tested_groups for p in wanted)
    wanted = [p for p in wanted if p.group not in tested_groups]
    if len(wanted) + len(given["train"]) < FEWEST:
        kind = "corrected answers" if objective == "dpo" else "answers with a thumb"
        left = "".join(f"; {count} left out: {reason}" for reason, count in tally.dropped.items() if count)
        raise DataError(
            f"only {len(wanted)} {kind} in the traffic{left}, and {objective} needs {FEWEST}; ask for feedback"
        )
    parts = (
        _split(settings.dataset, wanted, parent.report.shared)
        if not given["train"]
        else _beside(settings.dataset, wanted, given, tally)
    )
    rows = {name: [e.as_line() for e in splits[name]] for name in SPLITS}
    for name, part in parts.items():
        known = {e.conversation for e in splits[name]}
        corrected = [p.example for p in part if p.correction and p.example.conversation not in known]
        rows[name] += [] if has_corrections else [e.as_line() for e in corrected]
        own = [p.as_pair() if objective == "dpo" else p.as_judged() for p in part]
        rows[f"{objective}_{name}"] = [*given[name], *own]
    if left_out := read_left_out(parent):
        rows[LEFT_OUT] = [e.as_line() for e in left_out]
    if stored := find_stored(ledger, settings.project, rows):
        return stored
    counts = {name: len(rows[f"{objective}_{name}"]) for name in LEARNED}
    dropped = {**parent.report.dropped, **{reason: count for reason, count in tally.dropped.items() if count}}
    report = replace(parent.report, parent=parent.id, objective=objective, preferences=counts, dropped=dropped)
    return store(ledger, settings.project, settings.root, rows, report, origin="feedback")


def _given(parent: Dataset, objective: str, split: str) -> list[PreferenceRow]:
    """Return the preferences of data files that a Dataset holds."""
    folder = Path(parent.path)
    return read_preferences(folder, objective, split) if preference_path(folder, objective, split).is_file() else []


def _better(row: PreferenceRow, label_field: str | None) -> Example:
    """Return a file's preference as a row of the operator's, whose question and better answer are beyond doubt."""
    is_good = "chosen" in row or row["label"]
    completion = row["chosen"] if "chosen" in row else row["completion"]
    label = right_label(text_of(completion[-1]), label_field) if is_good else None
    return Example("", row["prompt"], completion, label, "")


def _beside(
    settings: DatasetSettings, wanted: list[AnswerFeedback], given: Mapping[str, Sequence[PreferenceRow]], tally: Tally
) -> dict[str, list[AnswerFeedback]]:
    """Split feedback beside preferences of files, which are split already; what is like the other part is left out."""
    groups = {p.group for p in wanted}
    parts = _split(settings, wanted, tally.shared) if len(groups) > 1 else {"train": wanted, "validation": []}
    for name, other in (("train", "validation"), ("validation", "train")):
        asked = [Example("", row["prompt"], [], None, "").conversation for row in given[other]]
        compared = Compared(tally.shared)
        index = NearDuplicates(compared.texts(asked), settings.near_duplicate_similarity)
        own = compared.texts([p.example.conversation for p in parts[name]])
        like = {match.asked for match in index.strictest(own)}
        tally.dropped["feedback on a question like a held-out or learned preference of a file"] += len(like)
        parts[name] = [p for number, p in enumerate(parts[name]) if number not in like]
    return parts


def _split(
    settings: DatasetSettings, wanted: Sequence[AnswerFeedback], shared: SharedFrame
) -> dict[str, list[AnswerFeedback]]:
    groups = group_numbers([p.example for p in wanted], settings.near_duplicate_similarity, shared=shared)
    if len(set(groups)) < 2:
        raise DataError("all preferences come from one conversation or user; one part must be held out")
    # By whole conversations and users: one person's taste on both sides would flatter the model.
    share, seed = settings.validation_share, settings.seed
    learned, held_out = next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(wanted, groups=groups))
    return {"train": [wanted[i] for i in learned], "validation": [wanted[i] for i in held_out]}
