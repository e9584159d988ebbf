"""Which loop the pages show: the process names its settings in the environment, where Streamlit's threads look."""

import os
from collections.abc import Sequence
from pathlib import Path

from driftwheel.errors import ConfigError

CONFIG_VARIABLE = "DRIFTWHEEL_CONFIG"
OVERRIDES_VARIABLE = "DRIFTWHEEL_OVERRIDES"
KEY_VARIABLE = "DRIFTWHEEL_DASHBOARD_KEY"


def hand_over(path: Path, overrides: Sequence[str], *, needs_key: bool = False) -> None:
    """Leave the settings file and its overrides for the pages, and whether who looks at them has shown a key."""
    os.environ[KEY_VARIABLE] = "required" if needs_key else ""
    os.environ[CONFIG_VARIABLE] = str(path)
    os.environ[OVERRIDES_VARIABLE] = "\n".join(overrides)


def handed_over() -> tuple[str, tuple[str, ...]]:
    """Return the settings file and its overrides; raises ConfigError if nobody left them."""
    path = os.environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError(f"{CONFIG_VARIABLE} names no settings file; start with `python -m dashboard --config FILE`")
    return path, tuple(o for o in os.environ.get(OVERRIDES_VARIABLE, "").split("\n") if o)


def needs_key() -> bool:
    """Say whether who looks at the pages has to have shown a key."""
    return os.environ.get(KEY_VARIABLE) == "required"
