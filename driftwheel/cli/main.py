"""The `driftwheel` command: hands each verb to its file here, or to the stage that does it.

    driftwheel --help
    driftwheel            what goes on here, and the next command

A new verb is a file with `add_arguments` and `main`, and a line here.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from driftwheel.cli.dispatch import run_verb

SETTINGS_FILE = "driftwheel.yaml"
BEGIN = f"""no loop here yet: there is no {SETTINGS_FILE}
next: driftwheel init YOUR_DATA.csv      (`driftwheel demo` shows a loop; `driftwheel --help` lists all verbs)
"""
DESCRIPTION = "Fine-tune, serve, monitor and retrain your own language model."
VERBS = {
    "doctor": ("driftwheel.cli.doctor", "say what this machine can do and what is missing"),
    "up": ("driftwheel.cli.up", "gateway, monitor, worker and dashboard as child processes"),
    "status": ("driftwheel.cli.status", "what is live and what is going on"),
    "retrain": ("driftwheel.cli.retrain", "ask for a retrain now"),
    "approve": ("driftwheel.cli.approve", "let a waiting retrain go on"),
    "refuse": ("driftwheel.cli.refuse", "turn down a waiting retrain"),
    "cancel": ("driftwheel.cli.cancel", "end a retrain that waits or runs"),
    "promote": ("driftwheel.cli.promote", "make a published version live"),
    "rollback": ("driftwheel.cli.rollback", "make the previous version live again"),
    "accept": ("driftwheel.cli.accept", "accept what has changed as the new normal"),
    "pause": ("driftwheel.cli.pause", "stop retraining"),
    "resume": ("driftwheel.cli.resume", "continue retraining"),
    "history": ("driftwheel.cli.history", "who did what, and why"),
    "traffic": ("driftwheel.cli.traffic", "show, export or prune the logged requests"),
    "feedback": ("driftwheel.cli.feedback", "show, give, confirm or withdraw what was said about answers"),
    "keys": ("driftwheel.cli.keys", "make, list, disable and rotate the API keys of the gateway"),
    "artifacts": ("driftwheel.cli.artifacts", "store versions' files for other machines, or fetch them"),
    "backup": ("driftwheel.cli.backup", "copy a loop into a new folder while it runs"),
    "restore": ("driftwheel.cli.restore", "put a backup back, here or elsewhere"),
    "verify": ("driftwheel.cli.verify", "check databases, references and every byte that they name"),
    "forget": ("driftwheel.cli.forget", "delete what a user, a key or a request left, and name what learned from it"),
    "gc": ("driftwheel.cli.gc", "delete files that nothing needs"),
    "versions": ("driftwheel.cli.versions", "list the newest model versions"),
    "runs": ("driftwheel.cli.runs", "list the newest training runs"),
    "decisions": ("driftwheel.cli.decisions", "list the newest retrain decisions"),
    "deployments": ("driftwheel.cli.deployments", "list the newest deployments"),
    "notify": ("driftwheel.cli.notify", "send a test message to everybody who is told of alarms"),
    "db": ("driftwheel.cli.db", "show or upgrade the database's tables"),
}
STAGE_VERBS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "init": ("train.__main__", ("init",), "read a data file, and write the settings file of a loop for it"),
    "data": ("train.__main__", ("data",), "check, build, show or compare Datasets"),
    "train": ("train.__main__", ("finetune",), "fine-tune the base model on a Dataset"),
    "tune": ("train.__main__", ("tune",), "search for the settings that train best"),
    "merge": ("train.__main__", ("merge",), "merge a run's adapter into its base model"),
    "quantize": ("train.__main__", ("quantize",), "write a run's servable artifact"),
    "parity": ("train.__main__", ("parity",), "measure how far each form of a run's model is from the trained one"),
    "evaluate": ("train.__main__", ("evaluate",), "score an artifact through vLLM"),
    "judge": ("train.__main__", ("judge",), "let a judge model compare two versions' answers"),
    "publish": ("train.__main__", ("publish",), "merge, quantize, evaluate, judge and publish a run"),
    "prompt": ("train.__main__", ("prompt",), "try prompts on a version's model, and publish one as a version"),
    "worker": ("train.__main__", ("worker",), "take open retrain decisions"),
    "serve": ("serve.__main__", ("gateway",), "gateway and engines"),
    "bench": ("serve.__main__", ("bench",), "load the endpoint: time to first token, per token, throughput"),
    "engine-host": ("serve.__main__", ("engine_host",), "engines of this machine, for gateways on others"),
    "shadow": ("serve.__main__", ("shadow",), "ask a candidate what was asked, and send its answers to nobody"),
    "monitor": ("monitor.__main__", ("watch",), "watch traffic, write signals and decisions, export metrics"),
    "check": ("monitor.__main__", ("check",), "one drift check now"),
    "drift": ("monitor.__main__", ("drift",), "compare any two windows, versions or files as a check would"),
    "dashboard": ("dashboard.__main__", (), "the Streamlit dashboard"),
    "demo": ("examples.support.demo", (), "turn the whole circle on this machine"),
}
"""The verbs of the stages: the module of the stage's command, the arguments that choose the verb there, the help."""


OTHER_NAMES = {
    "finetune": "train",
    "sft": "train",
    "fit": "train",
    "new": "init",
    "create": "init",
    "setup": "init",
    "build": "data build",
    "dataset": "data",
    "datasets": "data",
    "eval": "evaluate",
    "test": "evaluate",
    "compare": "judge",
    "deploy": "promote",
    "release": "promote",
    "rollout": "promote",
    "start": "up",
    "run": "up",
    "stop": "pause",
    "reject": "refuse",
    "abort": "cancel",
    "kill": "cancel",
    "decline": "refuse",
    "export": "traffic",
    "logs": "traffic",
    "events": "history",
    "audit": "history",
    "watch": "monitor",
    "gateway": "serve",
    "server": "serve",
    "ui": "dashboard",
    "key": "keys",
    "migrate": "db",
    "version": "versions",
    "models": "versions",
    "list": "versions",
    "log": "history",
    "alerts": "notify",
    "notifications": "notify",
    "step": "worker",
}
"""What a verb is called elsewhere, for who types that here; without hyphens."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 0, 1 for an error of the project, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        if not os.path.exists(SETTINGS_FILE):
            sys.stdout.write(BEGIN)
            return 0
        arguments = ["status"]
    if arguments and arguments[0] in STAGE_VERBS:
        program, words, _ = STAGE_VERBS[arguments[0]]
        stage_main: Callable[..., int] = importlib.import_module(program).main
        return stage_main([*words, *arguments[1:]], command=f"driftwheel {arguments[0]}")
    of_stages = {name: (program, help_text) for name, (program, _, help_text) in STAGE_VERBS.items()}
    listed = {"init": of_stages["init"]} | VERBS | of_stages  # a loop begins with it
    return run_verb(
        "driftwheel", DESCRIPTION, listed, arguments, version=version("driftwheel"), other_names=OTHER_NAMES
    )


if __name__ == "__main__":
    sys.exit(main())
