"""A few answers become a settings file that a newcomer can read."""

import yaml


def settings_text(project: str, base: str, data: str, label_field: str | None) -> str:
    """Return the YAML of a new loop; every key left out has the default of the settings table in README.md."""
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
