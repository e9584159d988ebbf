"""The `driftwheel` command: hands each verb to its stage, and keeps the few that only touch the ledger.

    driftwheel --help

Nothing heavy is imported before a verb is known, so `--help` answers at once.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from driftwheel.cli.command import add_common_arguments, run_command

STAGE_VERBS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "data": ("train.__main__", ("data",), "check, build, show or compare Datasets"),
    "train": ("train.__main__", ("finetune",), "fine-tune the base model on a Dataset"),
    "tune": ("train.__main__", ("tune",), "search for the settings that train best"),
    "merge": ("train.__main__", ("merge",), "merge a run's adapter into its base model"),
    "quantize": ("train.__main__", ("quantize",), "write a run's servable artifact"),
    "parity": ("train.__main__", ("parity",), "measure how far each form of a run's model is from the trained one"),
    "evaluate": ("train.__main__", ("evaluate",), "score an artifact through vLLM"),
    "judge": ("train.__main__", ("judge",), "let a judge model compare two versions' answers"),
    "publish": ("train.__main__", ("publish",), "merge, quantize, evaluate, judge and publish a run"),
    "worker": ("train.__main__", ("worker",), "take open retrain decisions"),
    "serve": ("serve.__main__", ("gateway",), "gateway and engines"),
    "shadow": ("serve.__main__", ("shadow",), "ask a candidate what was asked, and send its answers to nobody"),
    "monitor": ("monitor.__main__", ("watch",), "watch traffic, write signals and decisions, export metrics"),
    "check": ("monitor.__main__", ("check",), "one drift check now"),
    "traffic": ("driftwheel.cli.traffic", (), "show, export or prune the logged requests"),
    "dashboard": ("dashboard.__main__", (), "the Streamlit dashboard"),
    "keys": ("driftwheel.cli.keys", (), "make, list, disable and rotate the API keys of the gateway"),
    "db": ("driftwheel.cli.db", (), "show or upgrade the database's tables"),
    "demo": ("examples.support.demo", (), "turn the whole circle on this machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 0, 1 for an error of the project, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in STAGE_VERBS:
        module, prefix, _ = STAGE_VERBS[arguments[0]]
        stage_main: Callable[..., int] = importlib.import_module(module).main
        return stage_main([*prefix, *arguments[1:]], command=f"driftwheel {arguments[0]}")
    parsed = _parser().parse_args(arguments)
    verbs = importlib.import_module("driftwheel.cli.loop")
    return run_command("driftwheel", getattr(verbs, parsed.verb), parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="driftwheel", description="The flywheel for a self-hosted language model, with drift as its drive."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, help_text in (
        ("init", "write a settings file"),
        ("doctor", "say what this machine can do and what is missing"),
        ("up", "gateway, monitor, worker and dashboard as child processes"),
        ("status", "what is live and what is going on"),
        ("retrain", "ask for a retrain now"),
        ("approve", "let a waiting retrain go on"),
        ("refuse", "turn down a waiting retrain"),
        ("promote", "make a published version live"),
        ("rollback", "make the previous version live again"),
        ("pause", "stop retraining"),
        ("resume", "continue retraining"),
    ):
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        verb.set_defaults(verb=name)
        if name != "init":
            add_common_arguments(verb)
        if name in ("approve", "refuse", "promote"):
            verb.add_argument("id", help="id of the decision" if name != "promote" else "version: its id, or v3")
        if name in ("promote", "rollback"):
            verb.add_argument("--no-wait", action="store_true", help="do not wait until the gateway serves it")
        if name == "promote":
            way = verb.add_mutually_exclusive_group()
            way.add_argument("--canary", type=float, action="append", metavar="SHARE",
                             help="first this share of the requests, such as 0.1; may be repeated")  # fmt: skip
            way.add_argument("--direct", action="store_const", const=[], dest="canary", help="all at once")
        if name == "init":
            _add_init_arguments(verb)
        if name == "doctor":
            verb.add_argument("--model", metavar="NAME", help="also say what fits: folder or hub name of a base model")
            verb.add_argument("--data", metavar="FILE", help="also say what fits: examples, to measure their lengths")
        if name == "retrain":
            verb.add_argument("--reason", default="asked for on the command line", help="kept in the decision")
    for name, (_, _, help_text) in STAGE_VERBS.items():
        verbs.add_parser(name, help=help_text, add_help=False)
    return parser


def _add_init_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--project", required=True, help="name of the loop, such as support")
    verb.add_argument("--data", required=True, metavar="FILE", help="JSONL, CSV or Parquet with examples")
    verb.add_argument("--base", required=True, metavar="MODEL", help="folder or hub name of the base model")
    verb.add_argument("--label-field", metavar="FIELD", help="field of a JSON answer that is the label")
    verb.add_argument("--config", default="driftwheel.yaml", metavar="FILE", help="file to write (driftwheel.yaml)")


if __name__ == "__main__":
    sys.exit(main())
