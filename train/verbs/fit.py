"""Say what can be trained and served on this machine, and propose a configuration.

    python -m train fit --model Qwen/Qwen3-0.6B --data tickets.jsonl

`driftwheel doctor --model NAME --data FILE` ends with it.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.errors import ConfigError
from driftwheel.settings.data import DatasetSettings, ModelSettings
from driftwheel.settings.settings import Settings
from train.sizing.fit import as_text, examine_fit
from train.sizing.machine import this_machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--model", metavar="NAME", help="folder or hub name (the settings' base)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="examples, to measure their lengths")


def main(arguments: argparse.Namespace) -> None:
    """Print what fits."""
    fit = examine_fit(_settings(arguments), arguments.data, this_machine())
    sys.stdout.write((json.dumps(asdict(fit), default=sorted) if arguments.json else as_text(fit)) + "\n")


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings file's settings, or the usual ones where there is no file yet."""
    named = arguments.model
    if named and Path(named).is_dir():
        named = str(Path(named).resolve())  # a folder that is named on the command line starts where the person is
    if not Path(arguments.config).exists():
        if not named:
            raise ConfigError(f"no settings file at {arguments.config}; name a model with --model")
        data = DatasetSettings(sources=[str(arguments.data or "examples.jsonl")])
        return Settings(project="doctor", model=ModelSettings(base=named), dataset=data)
    settings = settings_from(arguments)
    return settings.model_copy(update={"model": ModelSettings(base=named)}) if named else settings
