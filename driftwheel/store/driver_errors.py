"""Tells what a database driver refused in one line, with what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from driftwheel.errors import StorageError

LONGEST_REASON = 300
"""Characters of a driver's words; libpq writes a paragraph for each address that it tried."""
ADVICE = (
    # Beginning of PostgreSQL's SQLSTATE, or None; words of the message; what to do. The first that fits is taken.
    (None, ("malformed", "not a database"), "the file is damaged: stop every program and restore its newest copy"),
    (None, ("readonly", "unable to open", "authorization denied"), "check the path and its rights"),
    (None, ("database is locked", "table is locked"), "another program writes for long; see which, and try again"),
    (None, ("disk is full", "disk I/O error"), "check the disk and its free space"),
    (None, ("no such table", "no such column"), "`driftwheel db status` says how the tables differ"),
    ("53100", ("No space left",), "free space on the server's disk"),
    ("53300", ("too many clients", "remaining connection slots"), "raise the server's max_connections, or stop some"),
    ("28", ("authentication failed", "no password supplied", "no pg_hba.conf entry"), "check user and password"),
    ("3D000", ("does not exist",), "create the database, or name another one in storage.database_url"),
    ("42501", ("permission denied",), "grant this user the right"),
    ("42", (), "`driftwheel db status` says how the tables differ"),
    ("25006", ("read-only transaction",), "name the server that takes writes, not one that follows it"),
    ("40", ("deadlock",), "try again"),
    ("55P03", ("lock timeout",), "another session holds a lock: look at pg_stat_activity, and try again"),
    (
        None,
        ("translate host name", "resolve host", "refused", "timeout", "unreachable"),
        "is the server running there?",
    ),
    ("57P", ("closed", "terminating connection", "starting up", "shutting down"), "the server restarts: try again"),
)
BACKUP_PAGE = "docs/howto/backup.md"


def refusal(error: BaseException) -> str:
    """Return the words of a driver's error in one line, and what to do."""
    reason = " ".join(str(error).split())
    cut = reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 3] + "..."
    state = str(getattr(error, "sqlstate", None) or "")
    # The number before the words: a connection that fails has none, and a relation "does not exist" too.
    by_state = [advice for start, _, advice in ADVICE if start is not None and state.startswith(start)]
    by_words = [advice for _, words, advice in ADVICE if any(word in reason for word in words)]
    advice = [*by_state, *by_words, "check the database and storage.database_url"][0]
    return f"{cut}; {advice}" + (f" ({BACKUP_PAGE})" if "restore" in advice else "")


@contextmanager
def told(beginning: str) -> Iterator[None]:
    """Raise StorageError, with these words before it, for what the database refuses; bugs keep their own error."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        if is_bug(error):
            raise
        raise StorageError(f"{beginning}: {refusal(error.orig or error)}") from error


def is_bug(error: sa.exc.DatabaseError) -> bool:
    """Say whether a statement is at fault, and neither database nor disk nor network."""
    if isinstance(error, sa.exc.ProgrammingError):
        # A table or column that is not there, or a right that is lacking: PostgreSQL files them here.
        return getattr(error.orig, "sqlstate", None) not in ("42P01", "42703", "42501")
    return isinstance(error, sa.exc.IntegrityError | sa.exc.DataError)
