"""Ask for a retrain; the worker takes it at once, unless pause, cool-down, budget, breaker or too few labels forbid it.

driftwheel retrain --reason "new price list" [--override]
"""

import argparse

from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.controls import request_retrain
from driftwheel.errors import ConfigError

DEFAULT_REASON = "asked for on the command line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--reason", default=DEFAULT_REASON, help="kept in the decision")
    parser.add_argument("--override", action="store_true", help="whatever forbids it; needs --reason, which is kept")


def main(arguments: argparse.Namespace) -> None:
    """Write the decision down and print it."""
    settings, ledger = opened(arguments)
    if arguments.override and arguments.reason == DEFAULT_REASON:
        raise ConfigError("--override needs a reason: say by --reason why the limits do not hold this time")
    decision = request_retrain(
        settings.policy,
        ledger,
        settings.alias_key,
        trigger="button",
        reason=arguments.reason,
        override=arguments.override,
        caps=settings.dataset,
    )
    print_record(decision, as_json=arguments.json)
