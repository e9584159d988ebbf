"""Hands settings on to child processes as this process has them: after file, environment and `--set`.

A child that read the file again would miss what `--set` said here, and would see what was written into the file since.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from driftwheel.errors import ConfigError

HANDED_ON = "DRIFTWHEEL_HANDED_ON"
"""The variable of a child's environment with its settings. No flag holds them: the URL of the database may have a
password in it, and every user of a machine can read the flags of all processes."""


def hand_on(path: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """Return the variable that gives a child these settings, as JSON, instead of what it would read from the file."""
    return {HANDED_ON: json.dumps({"path": str(path), "settings": settings})}


def handed_on(path: Path, environ: Mapping[str, str]) -> dict[str, object] | None:
    """Return the settings that a parent has handed on, or None where it handed on none, or those of another file."""
    try:
        handed = json.loads(environ.get(HANDED_ON, "{}"))
        return handed["settings"] if handed.get("path") == str(path) else None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ConfigError(f"{HANDED_ON} in the environment is not what a parent hands on; unset it") from error
