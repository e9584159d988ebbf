"""Measure how far each form of a run's model is from the trained one.

python -m train parity [--run ID]
"""

import argparse
import json
import sys
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.records.json_form import as_json
from driftwheel.upkeep.storage_files import making
from train.parity import hop_line
from train.runs import newest_run
from train.worker import measure_forms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="run to follow (the newest that succeeded)")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="its servable folder (merges and quantizes)")


def main(arguments: argparse.Namespace) -> None:
    """Measure the hops up to the files and print them."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    run_id = arguments.run or newest_run(ledger, settings.project).id
    with making(settings.root):
        found = measure_forms(settings, ledger, run_id, arguments.artifact)
    if arguments.json:
        facts = {"path": str(found.artifact), "parity": str(found.folder), "rows": as_json(found.rows)}
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write("\n".join([str(found.artifact), *map(hop_line, found.rows)]) + "\n")
