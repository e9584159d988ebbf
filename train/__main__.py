"""The command line of the training stage: one verb is one module, imported only when it is chosen.

python -m train data build --config driftwheel.yaml
python -m train finetune --dataset ID
"""

import os
import sys
from collections.abc import Sequence

from driftwheel.cli.dispatch import run_verb

VERBS = {
    "init": ("train.verbs.init", "read a data file, and write the settings file of a loop for it"),
    "data": ("train.verbs.data", "check, build, show or compare Datasets"),
    "fit": ("train.verbs.fit", "say what can be trained here, and propose a configuration"),
    "finetune": ("train.verbs.finetune", "fine-tune the base model on a Dataset"),
    "tune": ("train.verbs.tune", "search for the settings that train best"),
    "merge": ("train.verbs.merge", "merge a run's adapter into its base model"),
    "quantize": ("train.verbs.quantize", "write a run's servable artifact"),
    "parity": ("train.verbs.parity", "measure how far each form of a run's model is from the trained one"),
    "evaluate": ("train.verbs.evaluate", "score an artifact through vLLM"),
    "judge": ("train.verbs.judge", "let a judge model compare two versions' answers"),
    "publish": ("train.verbs.publish", "evaluate, judge and publish a run"),
    "prompt": ("train.verbs.prompt", "try prompts on a version's model, and publish one as a version"),
    "step": ("train.verbs.step", "run one step of a retrain, as the worker does"),
    "worker": ("train.verbs.worker", "take open retrain decisions"),
}


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run one verb; `command` is what the user typed to get here."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' progress bars are for people, not for log files
    return run_verb("python -m train", "From data to a published model version.", VERBS, argv, command=command)


if __name__ == "__main__":
    sys.exit(main())
