"""What is unsafe does not start, and the error says how to make it safe."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.access.key_ring import ApiKeys
from serve.access.startup import check_exposure, check_files, check_start

STRONG = "dwk_3q8vTz0LhYb7Rk2NsWcP"


@pytest.mark.parametrize(
    ("host", "require_key", "keys", "is_refused"),
    [
        ("127.0.0.1", True, ["k"], False),
        ("127.0.0.1", False, [], False),
        ("localhost", True, [], True),
        ("0.0.0.0", True, ["k"], False),
        ("0.0.0.0", False, ["k"], True),
        ("::", False, [], True),
    ],
)
def test_other_machines_are_answered_only_for_a_key(
    host: str, require_key: bool, keys: list[str], is_refused: bool
) -> None:
    with pytest.raises(ConfigError) if is_refused else nullcontext():
        check_exposure(ServeSettings(require_key=require_key), host, ApiKeys(keys))


@pytest.mark.parametrize(
    ("keys", "is_refused"),
    [([STRONG], False), ([STRONG, "short"], True), (["a" * 40], True), (["changeme-changeme-changeme"], True)],
    ids=["strong", "one-short", "one-letter", "repeated-word"],
)
def test_a_weak_key_is_refused_and_not_repeated(settings: Settings, keys: list[str], is_refused: bool) -> None:
    with pytest.raises(ConfigError, match="is weak") if is_refused else nullcontext() as error:
        check_start(settings, ApiKeys(keys))
    assert error is None or keys[-1] not in str(error.value)


def open_to_all(path: Path) -> None:
    """Make a file readable by every user, through folders that are (pytest's own are not)."""
    path.chmod(0o644)
    for folder in path.resolve().parents:
        if folder.stat().st_uid == path.stat().st_uid and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o001)


def test_a_new_database_is_for_its_owner_alone_and_a_readable_one_is_refused(
    settings: Settings, ledger: Ledger
) -> None:
    path = settings.root / "ledger.db"
    assert {file.stat().st_mode & 0o777 for file in settings.root.glob("ledger.db*")} == {0o600}
    check_files(settings.path, settings.database_url)
    open_to_all(path)
    with pytest.raises(ConfigError, match=rf"{path}.*chmod o-rwx"):
        check_files(settings.path, settings.database_url)
    settings.root.chmod(0o700)
    check_files(settings.path, settings.database_url)


def test_a_readable_password_is_refused(settings: Settings) -> None:
    text = settings.path.read_text(encoding="utf-8")
    url = "postgresql://loop:s3cret@db/loop"
    settings.path.write_text(f"{text}storage: {{database_url: '{url}'}}\n", encoding="utf-8")
    open_to_all(settings.path)
    with pytest.raises(ConfigError, match="holds secrets") as error:
        check_files(settings.path, load_settings(settings.path, environ={}).database_url)
    assert "s3cret" not in str(error.value)
    settings.path.write_text(text, encoding="utf-8")
    check_files(settings.path, url)
    (settings.path.parent / ".env").write_text(f"DRIFTWHEEL_API_KEYS={STRONG}\n", encoding="utf-8")
    open_to_all(settings.path.parent / ".env")
    with pytest.raises(ConfigError, match=r"\.env"):
        check_files(settings.path, load_settings(settings.path, environ={}).database_url)
