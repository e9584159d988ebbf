"""Let a judge model compare two versions' answers.

python -m train judge [--first VERSION --second VERSION] [--items 100]
"""

import argparse
import json
import sys

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_common_arguments, named_version, open_ledger, settings_from
from driftwheel.errors import NotFoundError
from driftwheel.evidence.judgements import in_order
from driftwheel.inert_text import inert_lines
from driftwheel.records.nouns import ModelVersion
from train.evaluation.judge_model import ITEMS, judge_versions, summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--second", metavar="VERSION", help="the one version (the newest)")
    parser.add_argument("--first", metavar="VERSION", help="the other (the one that the gate held against it)")
    parser.add_argument(
        "--items", type=whole(1, 1_000_000), default=ITEMS, metavar="N", help=f"most changed items to judge ({ITEMS})"
    )


def main(arguments: argparse.Namespace) -> None:
    """Let the judge compare two versions and print what it prefers."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    second = (
        named_version(ledger, settings.project, arguments.second)
        if arguments.second
        else ledger.newest(ModelVersion, settings.project)
    )
    other = arguments.first or second.verdict.live_version_id
    if other is None:
        raise NotFoundError(f"{second.id} was not judged against another version; name one with --first")
    first, second = in_order(named_version(ledger, settings.project, other), second)
    report = judge_versions(settings, ledger, first, second, items=arguments.items)
    text = json.dumps(vars(report)) if arguments.json else summary(report, first, second)
    sys.stdout.write(f"{inert_lines(text)}\n")
    sys.stdout.flush()
