"""Ask for a retrain; the worker takes it at once, unless pause, cool-down, budget, breaker or too few labels forbid it.

driftwheel retrain --reason "new price list" [--override] [--dataset ID] [--method lora] [--epochs 2]
"""

import argparse

from driftwheel.argument_types import number
from driftwheel.cli.command import add_common_arguments, opened, print_record
from driftwheel.control.controls import request_retrain
from driftwheel.errors import ConfigError
from driftwheel.records.training_plan import TrainingPlan

DEFAULT_REASON = "asked for on the command line"
LEAST_EPOCHS, MOST_EPOCHS = 0.01, 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--reason", default=DEFAULT_REASON, help="kept in the decision")
    parser.add_argument("--dataset", metavar="ID", help="learn from this Dataset, not from the labelled traffic")
    parser.add_argument("--method", choices=["lora", "qlora", "full"], help="train this way, not as train.method says")
    parser.add_argument(
        "--epochs",
        type=number(LEAST_EPOCHS, MOST_EPOCHS),
        metavar="N",
        help="so many passes over the data",
    )
    parser.add_argument("--override", action="store_true", help="whatever forbids it; needs --reason, which is kept")


def main(arguments: argparse.Namespace) -> None:
    """Write the decision down and print it."""
    settings, ledger = opened(arguments)
    if arguments.override and arguments.reason == DEFAULT_REASON:
        raise ConfigError("--override needs a reason: say by --reason why the limits do not hold this time")
    plan = TrainingPlan(dataset_id=arguments.dataset, method=arguments.method, num_train_epochs=arguments.epochs)
    settings.planned(plan)  # what cannot be is said now, and not by the worker
    decision = request_retrain(
        settings.policy,
        ledger,
        settings.alias_key,
        trigger="button",
        reason=arguments.reason,
        override=arguments.override,
        caps=settings.dataset,
        plan=plan,
    )
    print_record(decision, as_json=arguments.json)
