"""The training stage's verbs.

python -m train data build --config driftwheel.yaml
python -m train finetune --dataset ID
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from driftwheel.command import run_command

VERBS = {
    "data": ("train.data_verb", "check, build or show a Dataset"),
    "finetune": ("train.finetune", "fine-tune the base model on a Dataset"),
    "merge": ("train.merge", "merge a run's adapter into its base model"),
    "quantize": ("train.quantize", "write a run's servable artifact"),
    "evaluate": ("train.evaluate", "score an artifact through vLLM"),
    "publish": ("train.publish", "evaluate, judge and publish a run"),
    "worker": ("train.worker", "take open retrain decisions"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; only its module is imported."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m train", description="From data to a published model version.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, help_text) in VERBS.items():
        verb = verbs.add_parser(name, help=help_text)
        if arguments[:1] == [name]:
            importlib.import_module(module).add_arguments(verb)
    parsed = parser.parse_args(arguments)
    return run_command(f"train {parsed.verb}", importlib.import_module(VERBS[parsed.verb][0]).main, parsed)


if __name__ == "__main__":
    sys.exit(main())
