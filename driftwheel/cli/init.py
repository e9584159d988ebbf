"""Write the settings file of a new loop, short enough that a newcomer can read it.

driftwheel init --project support --data tickets.jsonl --base Qwen/Qwen3-0.6B
"""

import argparse
import sys
from pathlib import Path

import yaml

from driftwheel.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--project", required=True, help="name of the loop, such as support")
    parser.add_argument("--data", required=True, metavar="FILE", help="JSONL, CSV or Parquet with examples")
    parser.add_argument("--base", required=True, metavar="MODEL", help="folder or hub name of the base model")
    parser.add_argument("--label-field", metavar="FIELD", help="field of a JSON answer that is the label")
    parser.add_argument("--config", default="driftwheel.yaml", metavar="FILE", help="file to write (driftwheel.yaml)")


def main(arguments: argparse.Namespace) -> None:
    """Write the file; raises ConfigError if it exists or the data does not."""
    path = Path(arguments.config)
    if path.exists():
        raise ConfigError(f"{path} exists already; give another name with --config, or remove it")
    if not Path(arguments.data).is_file():
        raise ConfigError(f"no data file at {arguments.data}")
    text = settings_text(arguments.project, arguments.base, arguments.data, arguments.label_field)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(
        f"wrote {path}\nnext: driftwheel doctor, driftwheel data build, driftwheel train, driftwheel publish\n"
    )


def settings_text(project: str, base: str, data: str, label_field: str | None) -> str:
    """Return the YAML of a new loop; every key left out has the default of the settings table."""
    dataset: dict[str, object] = {"sources": [data]}
    if label_field:
        dataset["label_field"] = label_field
    sections: dict[str, object] = {
        "project": project,
        "model": {"base": base},
        "dataset": dataset,
        "train": {"method": "lora", "num_train_epochs": 3, "learning_rate": 2e-4},
        "quantize": {"scheme": "auto"},
        "serve": {"alias": project, "port": 8000},
        "policy": {"approval": "manual"},
    }
    return "# The whole loop in one file; `driftwheel doctor` checks it.\n" + yaml.safe_dump(sections, sort_keys=False)
