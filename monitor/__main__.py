"""The monitoring stage's verbs.

python -m monitor watch --config driftwheel.yaml
python -m monitor check --config driftwheel.yaml
"""

import sys
from collections.abc import Sequence

from driftwheel.cli.dispatch import run_verb

VERBS = {
    "watch": ("monitor.watch", "check every full window, decide, and export metrics"),
    "check": ("monitor.check", "check the next full window now"),
    "drift": ("monitor.compare", "compare any two windows, versions or files as a check would"),
    "exporter": ("monitor.exporter", "export metrics without watching"),
}


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run one verb; `command` is what the user typed to get here."""
    return run_verb("python -m monitor", "Watch the live version's traffic.", VERBS, argv, command=command)


if __name__ == "__main__":
    sys.exit(main())
