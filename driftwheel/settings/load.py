"""Load the settings: defaults, then the file, the environment and `--set`, each over the one before.

A child process begins with the settings that its parent had, instead of file and environment.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from driftwheel.errors import ConfigError
from driftwheel.settings.child import handed_on
from driftwheel.settings.secret import is_secret, tells_a_secret
from driftwheel.settings.settings import Settings

ENVIRONMENT_PREFIX = "DRIFTWHEEL__"
LONGEST_QUOTED = 200
"""Characters of a wrong value that the error shows."""
_RELATIVE_FILE = re.compile(r"(sqlite(?:\+pysqlite)?:///)(?!/|:memory:|file:)([^?]+)(.*)")
_USER_IN_URL = re.compile(r"://[^/\s@]*@")
"""What stands before the host in an address: it may be a password."""
Raw = dict[str, Any]
"""Sections as they are written, before they are checked."""


class _Yaml(yaml.SafeLoader):
    """YAML in which 1e-5 is a number: YAML 1.1 asks for a point and a sign, and gives a text without them."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+0123456789.")
)


def load_settings(path: Path | str, overrides: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a settings file, then the environment, then `section.key=value` overrides.

    Raises ConfigError with file, key, reason and the nearest known key.
    """
    path = Path(path).expanduser().resolve()
    raw: Raw | None = handed_on(path, environ)
    if raw is None:
        raw = _read(path)
        for name, value in environ.items():
            if name.startswith(ENVIRONMENT_PREFIX):
                _put(raw, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value, name)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r} is not section.key=value, such as train.seed=3")
        keys = key.strip().split(".")
        if is_secret(*keys) and tells_a_secret(value):
            variable = ENVIRONMENT_PREFIX + "__".join(keys).upper()
            raise ConfigError(f"--set {key} shows a secret to every user of this machine (ps); set {variable} instead")
        _put(raw, keys, value, f"--set {key}")
    _check_keys(raw, path)
    storage = raw.get("storage")
    if isinstance(storage, dict):
        if isinstance(storage.get("database_url"), str):
            storage["database_url"] = _anchored(storage["database_url"], path.parent)
        if isinstance(storage.get("artifacts"), str) and "://" not in storage["artifacts"]:
            storage["artifacts"] = str((path.parent / Path(storage["artifacts"]).expanduser()).resolve())
    try:
        return Settings.model_validate(raw | {"path": path})
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from error


def _check_keys(keys: Iterable[object], path: Path) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: {key!r}: no such section; see docs/reference/settings.md")
        if key == "path":
            raise ConfigError(f"{path}: path: no such key; it is the settings file itself")


def _anchored(url: str, folder: Path) -> str:
    """Return a database URL whose SQLite file, where it is relative, starts at the settings file's folder."""
    # Wherever a program is started: at another folder it would find another, empty ledger.
    found = _RELATIVE_FILE.fullmatch(url)
    return url if found is None else f"{found[1]}{(folder / found[2]).resolve()}{found[3]}"


def _read(path: Path) -> Raw:
    try:
        raw = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no settings file at {path}; `driftwheel init` writes one") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or 5,000 digits
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold sections such as `model:` and `dataset:`")
    return {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Yaml)  # a SafeLoader


def _put(raw: Raw, keys: list[str], value: str, name: str) -> None:
    *sections, key = keys
    target = raw
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{name}: {section!r} is not a section")
    try:
        target[key] = _parse(value)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        if is_secret(*keys):
            raise ConfigError(f"{name} is not a YAML value") from None
        raise ConfigError(f"{name}: {_cut(value)} is not a YAML value: {error}") from error


def _explain(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    where = ".".join(location) or "settings"
    if error["type"] == "extra_forbidden":
        section: Any = Settings
        for part in location[:-1]:
            fields = getattr(section, "model_fields", {})
            section = fields[part].annotation if part in fields else None
        near = difflib.get_close_matches(location[-1], getattr(section, "model_fields", {}), n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else "see docs/reference/settings.md"
        return f"{where}: no such key; {hint}"
    if error["type"] == "missing":
        return f"{where}: is missing"
    reason = error["msg"].removeprefix("Value error, ")
    # A rule between the keys of a section is given all of the section, which would bury the reason.
    is_whole = not location or isinstance(error["input"], dict) or is_secret(*location)
    return f"{where}: {reason}" + ("" if is_whole else f" (got {_cut(error['input'])})")


def _cut(value: Any) -> str:
    text = _USER_IN_URL.sub("://***@", repr(value))
    return text if len(text) <= LONGEST_QUOTED else text[: LONGEST_QUOTED - 3] + "..."
