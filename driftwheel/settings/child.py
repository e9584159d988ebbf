"""Hands settings on to child processes as this process has them: after file, environment and `--set`.

A child that read the file again would miss what `--set` said here, and would see what was written into the file since.
"""

import json
import sys
from collections.abc import Mapping

from driftwheel.settings.settings import Settings

HANDED_ON = "DRIFTWHEEL_HANDED_ON"
"""The variable of a child's environment with its settings. No flag holds them: the URL of the database may have a
password in it, and every user of a machine can read the flags of all processes."""


def child_command(settings: Settings, *words: str) -> list[str]:
    """Return the argv that runs one of our own modules, with its words, in the environment of `child_environment`."""
    return [sys.executable, "-m", *words, "--config", str(settings.path)]


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the variable that gives a child these settings; it goes beside the rest of the environment."""
    handed = {"path": str(settings.path), "settings": settings.model_dump(mode="json")}
    return {HANDED_ON: json.dumps(handed)}


def handed_on(path: str, environ: Mapping[str, str]) -> dict[str, object] | None:
    """Return the settings that a parent has handed on, or None where it handed on none, or those of another file."""
    handed = json.loads(environ.get(HANDED_ON, "{}"))
    return handed["settings"] if handed.get("path") == path else None
