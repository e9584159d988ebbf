"""Data files become a report, a Dataset, or rows to look at.

python -m train data check|build|show --config driftwheel.yaml
"""

import argparse
import json
import sys
from pathlib import Path

from driftwheel.command import add_common_arguments, open_ledger, print_record, settings_from
from driftwheel.config import Settings
from driftwheel.errors import NotFoundError
from driftwheel.records import Dataset
from train.dataset import build_dataset, read_splits
from train.formats import read_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("action", choices=["check", "build", "show"])
    parser.add_argument("--source", type=Path, action="append", metavar="FILE", help="instead of dataset.sources")
    parser.add_argument("--dataset", metavar="ID", help="show: which Dataset (the newest)")
    parser.add_argument("--split", choices=["train", "validation", "test"], default="train", help="show: which split")
    parser.add_argument("--rows", type=int, default=5, help="show: how many rows")
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    settings = settings_from(arguments)
    if arguments.action == "check":
        check(settings, [p.resolve() for p in arguments.source or []])
        return
    ledger = open_ledger(settings)
    if arguments.action == "build":
        sources = [p.resolve() for p in arguments.source] if arguments.source else None
        built = build_dataset(settings, ledger, sources)
        if cut := built.report.get("rows_cut_by_max_length"):
            sys.stderr.write(f"{cut} rows are longer than train.max_length and would lose their answer's end\n")
        print_record(built, as_json=arguments.json)
        return
    found = ledger.find(Dataset, project=settings.project, **({"id": arguments.dataset} if arguments.dataset else {}))
    if not found:
        raise NotFoundError(f"no dataset {arguments.dataset or 'yet'}; `driftwheel data build` makes one")
    for example in read_splits(found[0])[arguments.split][: arguments.rows]:
        for message in [*example.prompt, *example.completion]:
            sys.stdout.write(f"{message['role']:>9}: {message['content']}\n")
        sys.stdout.write(f"{'':>9}  label {example.label}, source {example.source}, slice {example.slice}\n\n")


def check(settings: Settings, sources: list[Path]) -> None:
    """Print what the files hold, and every broken row by place and reason."""
    for path in sources or [settings.resolve(source) for source in settings.dataset.sources]:
        reading = read_file(path, settings.dataset)
        sys.stdout.write(f"{path.name}: {len(reading.rows)} rows, {len(reading.broken)} broken\n")
        for broken in reading.broken:
            sys.stdout.write(f"  {broken.place} {broken.reason}\n")
        if reading.rows:
            first = reading.rows[0]
            sys.stdout.write(f"  first: {json.dumps([*first.prompt, first.answer], ensure_ascii=False)[:300]}\n")
