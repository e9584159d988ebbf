"""The serving stage's verbs.

python -m serve gateway --config driftwheel.yaml
python -m serve engine --config driftwheel.yaml --artifact DIR
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from driftwheel.command import run_command

VERBS = {
    "gateway": ("serve.process", "run the gateway, its engines and the rollout"),
    "engine": ("serve.engine", "run one engine on loopback"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; only its module is imported."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m serve", description="Serve model versions through vLLM.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, help_text) in VERBS.items():
        verb = verbs.add_parser(name, help=help_text)
        if arguments[:1] == [name]:
            importlib.import_module(module).add_arguments(verb)
    parsed = parser.parse_args(arguments)
    return run_command(f"serve {parsed.verb}", importlib.import_module(VERBS[parsed.verb][0]).main, parsed)


if __name__ == "__main__":
    sys.exit(main())
