"""Check data files, build a Dataset of them, show its rows, or compare two.

python -m train data check|build|show|diff --config driftwheel.yaml
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, open_ledger, print_json, print_record, settings_from
from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.inert_text import inert, inert_lines
from driftwheel.records.nouns import Dataset
from driftwheel.settings.data import HUB, Base
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import text_of
from driftwheel.upkeep.storage_files import making
from train.base_model import base_ends, load_base_tokenizer
from train.data.checking.check_tables import print_findings
from train.data.checking.data_check import check_files
from train.data.examples import Example
from train.data.sources.preferences import PreferenceRow, preference_path, read_preferences
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.happened import what_happened
from train.data.splitting.template_check import Fault, faults, templated
from train.data.tokens.learned_tokens import Learn, each_learned
from train.data.tokens.made_from import made_from, newest_built
from train.data.tokens.row_view import difference, in_template
from train.dataset import build_dataset
from train.step_progress import progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("action", choices=["check", "build", "show", "diff"])
    parser.add_argument(
        "--source",
        action="append",
        metavar="SOURCE",
        help="file, folder or hf://OWNER/NAME:SPLIT, instead of dataset.sources",
    )
    parser.add_argument("--dataset", metavar="ID", help="show, diff: which Dataset (the newest)")
    parser.add_argument("--against", metavar="ID", help="diff: the older Dataset (the one before)")
    parser.add_argument("--split", choices=["train", "validation", "test"], default="train", help="show: which split")
    parser.add_argument("--rows", type=whole(0, 1_000_000), default=5, help="show, diff: how many rows")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    settings = settings_from(arguments)
    if arguments.action == "check":
        check(settings, _given(arguments.source), as_json=arguments.json)
        return
    ledger = open_ledger(settings)
    if arguments.action == "build":
        with making(settings.root), progress("build the dataset"):
            built = build_dataset(settings, ledger, _given(arguments.source) or None)
        print_record(built, as_json=arguments.json)
        if not arguments.json:
            sys.stdout.write("".join(f"{inert(line)}\n" for line in what_happened(built.report)))
    elif arguments.action == "show":
        now = made_from(settings.dataset, settings.train.learn, {} if arguments.dataset else settings.named_paths())
        taken = None if arguments.dataset else newest_built(ledger, settings.project, now)[0]
        dataset = taken or _chosen(ledger, settings.project, arguments.dataset)
        path = preference_path(Path(dataset.path), settings.train.objective, arguments.split)
        if path.is_file():
            rows = read_preferences(Path(dataset.path), settings.train.objective, arguments.split)
            show_preferences(settings.base, rows[: arguments.rows])
            return
        if settings.train.objective != "sft":
            sys.stderr.write(f"{dataset.id} has no {path.name}; these are its rows of answers\n")
        show(settings.base, read_splits(dataset)[arguments.split][: arguments.rows], settings.train.learn)
    else:
        new = _chosen(ledger, settings.project, arguments.dataset)
        show_difference(_chosen(ledger, settings.project, arguments.against, before=new), new, arguments.rows)


def _given(sources: Sequence[str] | None) -> list[str]:
    """Return the sources of the command line; a relative path starts where the command was given."""
    return [source if source.startswith(HUB) else str(Path(source).resolve()) for source in sources or []]


def _chosen(ledger: Ledger, project: str, dataset_id: str | None, before: Dataset | None = None) -> Dataset:
    """Return the Dataset with an id, or the newest, or the one before another; raises NotFoundError."""
    for dataset in ledger.find(Dataset, project=project):
        if dataset.id == dataset_id or (dataset_id is None and (before is None or _is_older(dataset, before))):
            return dataset
    wanted = f"dataset {dataset_id!r}" if dataset_id else "such dataset yet"
    raise NotFoundError(f"no {wanted}; `driftwheel data build` makes one")


def _is_older(dataset: Dataset, other: Dataset) -> bool:
    return (dataset.created_at, dataset.id) < (other.created_at, other.id)


def show(base: Base, examples: Sequence[Example], learn: Learn = "last") -> None:
    """Print rows in the base model's template, what the loss is taken on standing out; without it, the messages."""
    console = Console(soft_wrap=True, highlight=False)
    begin, end = ("", "") if console.is_terminal else (">>>", "<<<")
    try:
        tokenizer = load_base_tokenizer(base)
    except (ConfigError, NotFoundError) as error:
        sys.stderr.write(f"shown without the chat template: {error}\n")
        tokenizer = None
    for example in examples:
        if tokenizer is None:
            for message in [*example.prompt, *example.completion]:
                console.print(Text(inert_lines(f"{message['role']:>9}: {text_of(message)}")))
        elif fault := _fault(base, tokenizer, example, learn):
            console.print(Text(inert(f"row {fault.row} cannot be learned: {fault.reason}"), "bold red"))
        else:
            for pieces in in_template(tokenizer, example, learn).sequences:
                marked = [
                    (f"{begin}{text.rstrip()}{end}", "bold green") if learned else (text, "dim")
                    for text, learned in ((inert_lines(piece), learned) for piece, learned in pieces)
                ]
                console.print(Text.assemble(*marked))
        line = inert(f"label {example.label}, source {example.source}, slice {example.slice}")
        console.print(Text(f"{line}\n", "italic"))


def _fault(base: Base, tokenizer: Any, example: Example, learn: Learn) -> Fault | None:
    """Return why a row cannot be learned, for the first of its learned turns of which that holds."""
    turns = [templated(turn, example.id) for turn in each_learned([example], learn)]
    return next(faults(tokenizer, base_ends(base, tokenizer), turns), None)


def show_preferences(base: Base, rows: Sequence[PreferenceRow]) -> None:
    """Print preferences as they are trained on, each answer after its prompt."""
    for row in rows:
        for key in ("chosen", "rejected", "completion"):
            if key in row:
                thought = key if key != "completion" else "good" if row["label"] else "bad"
                show(base, [Example(thought, row["prompt"], row[key], thought, "", source="preference")])


def show_difference(old: Dataset, new: Dataset, rows: int) -> None:
    """Print how two Datasets differ."""
    found = difference(read_splits(old), read_splits(new))
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{old.id} -> {new.id}"))
    for name, counts in (("added", found.added), ("removed", found.removed), ("moved", found.moved)):
        parts = ", ".join(f"{count} {split}" for split, count in sorted(counts.items())) or "none"
        console.print(Text(f"{name:>8}: {parts}"))
    console.print(Text(f" answers: {len(found.answers)} changed"))
    for before, after in found.answers[:rows]:
        console.print(Text(inert(f"          {before.text[:80]!r}: {before.answer[:60]} -> {after.answer[:60]}")))
    for label, (count_before, count_after) in found.labels.items():
        console.print(Text(inert(f"   label {label}: {count_before} -> {count_after}")))


def check(settings: Settings, sources: list[str], *, as_json: bool) -> None:
    """Print what the files hold, what is wrong with it, and what to do."""
    files = sources or [settings.resolve_source(s.path) for s in settings.dataset.weighted_sources()]
    found = check_files(settings.dataset, settings.base, settings.train.max_length, files, learn=settings.train.learn)
    if as_json:
        print_json(asdict(found))
    else:
        print_findings(Console(), found)
