"""Checks before the gateway listens: an unsafe host, key or file mode is an error that says how to fix it."""

import resource
import stat
from pathlib import Path

import sqlalchemy as sa

from driftwheel.callers.api_keys import KEYS_VARIABLE, refuse_weak
from driftwheel.callers.exposure import check_listener
from driftwheel.errors import ConfigError
from driftwheel.files.private_files import is_reachable
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.access.key_ring import ApiKeys

ENVIRONMENT_FILE = ".env"
FILES_PER_CONNECTION, OTHER_FILES = 2, 256
"""A client's connection and the one to the engine; the database, logs and pipes of engines."""


def check_start(settings: Settings, keys: ApiKeys) -> None:
    """Raise ConfigError if serving so would be unsafe. A SQLite that can lose rows is refused by the ledger."""
    check_exposure(settings.serve, settings.serve.host, keys)
    refuse_weak(keys.texts)
    check_files(settings.path, settings.database_url)


def check_exposure(serve: ServeSettings, host: str, keys: ApiKeys) -> None:
    """Raise ConfigError if the gateway would answer other machines without a key, or nobody at all."""
    check_listener("serve", host, is_required=serve.require_key, has_keys=bool(keys))


def check_files(config_path: Path, database_url: str) -> None:
    """Raise ConfigError if every user of this machine can read the users' texts or a password.

    A group may: who runs the gateway in a container shares its volume by one.
    """
    url = sa.make_url(database_url)
    paths = [Path(url.database)] if url.drivername.startswith("sqlite") and url.database else []
    paths += [config_path] if url.password and str(url.password) in _text(config_path) else []
    beside = config_path.parent / ENVIRONMENT_FILE
    paths += [beside] if KEYS_VARIABLE in _text(beside) else []
    for path in paths:
        if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH) and is_reachable(path.resolve()):
            raise ConfigError(f"{path} holds secrets and every user of this machine can read it; chmod o-rwx {path}")


def make_room_for_sockets(max_connections: int) -> None:
    """Raise this process' limit of open files, so that connections never use it up.

    Raises ConfigError if the system allows too few.
    """
    needed = FILES_PER_CONNECTION * max_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < needed:
        raise ConfigError(
            f"serve.max_connections {max_connections} may need {needed} open files and the system allows {hard}; "
            "lower it, or raise the limit (ulimit -n)"
        )
    if soft != unlimited and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
