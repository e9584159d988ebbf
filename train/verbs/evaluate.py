"""Score an artifact through vLLM.

python -m train evaluate --artifact DIR
"""

import argparse
import sys
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, open_ledger, print_json, settings_from
from driftwheel.files import artifacts
from driftwheel.inert_text import inert_lines
from driftwheel.records.json_form import as_json
from driftwheel.upkeep.storage_files import making
from train.evaluate import evaluate, summary, warn_of_learned
from train.fidelity.parity_table import find_parity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="servable folder to score")
    parser.add_argument("--dataset", metavar="ID", help="dataset whose test split is asked (the artifact's own)")
    parser.add_argument("--baseline", action="store_true", help="also score the base model, plain and few-shot")


def main(arguments: argparse.Namespace) -> None:
    """Evaluate an artifact and print its folder and scorecard."""
    settings = settings_from(arguments)
    ledger, manifest = open_ledger(settings), artifacts.read_manifest(arguments.artifact)
    dataset_id = arguments.dataset or str(manifest.dataset_id)
    warn_of_learned(settings.dataset, ledger, manifest.run_id, dataset_id)
    with making(settings.root):
        done = evaluate(
            settings,
            ledger,
            artifact=arguments.artifact,
            dataset_id=dataset_id,
            with_baseline=arguments.baseline,
            parity=find_parity(settings.root, arguments.artifact),
        )
    if arguments.json:
        print_json({"folder": str(done.folder), "scorecard": as_json(done.scorecard)})
    else:
        sys.stdout.write(f"{'folder':<28} {done.folder}\n{inert_lines(summary(done.scorecard))}\n")
    sys.stdout.flush()
