"""One look at the traffic, now.

python -m monitor check --config driftwheel.yaml
"""

import argparse
import sys

from driftwheel.cli.command import add_common_arguments, open_ledger, print_record, settings_from
from monitor.watch import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Check the next full window and print the decision."""
    settings = settings_from(arguments)
    result = check(settings, open_ledger(settings))
    if result is None:
        sys.stderr.write(f"no full window of {settings.monitor.window_rows} requests to check yet\n")
        return
    print_record(result.decision, as_json=arguments.json)
