"""The monitoring stage's verbs.

python -m monitor watch --config driftwheel.yaml
python -m monitor check --config driftwheel.yaml
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from driftwheel.command import run_command

VERBS = {
    "watch": ("monitor.watch", "check every full window, decide, and export metrics"),
    "check": ("monitor.check", "check the next full window now"),
    "exporter": ("monitor.exporter", "export metrics without watching"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; only its module is imported."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m monitor", description="Watch the live version's traffic.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, help_text) in VERBS.items():
        verb = verbs.add_parser(name, help=help_text)
        if arguments[:1] == [name]:
            importlib.import_module(module).add_arguments(verb)
    parsed = parser.parse_args(arguments)
    return run_command(f"monitor {parsed.verb}", importlib.import_module(VERBS[parsed.verb][0]).main, parsed)


if __name__ == "__main__":
    sys.exit(main())
