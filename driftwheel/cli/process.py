"""Process set-up of every command: log lines on stderr, one line for an error, an exit status."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable

import structlog

from driftwheel.errors import DriftwheelError
from driftwheel.files.private_files import write_privately
from driftwheel.inert_text import inert_lines

REFUSALS = {
    errno.ENOSPC: "free some space, and run it again: what was finished is found",
    errno.EDQUOT: "free some of this user's space, and run it again: what was finished is found",
    errno.EROFS: "this copy can only be read; a verb that writes needs the loop itself",
    errno.EACCES: "check whose it is, and its rights",
    errno.EPERM: "check whose it is, and its rights",
}
"""What a disk refuses at any place where a file is written or read, and what a person can do."""


def run_command(process: str, command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a command and return its exit status: 0, or 1 with one line on stderr for what a person can put right."""
    set_up_logging(process)
    write_privately()
    try:
        command(arguments)
    except DriftwheelError as error:
        sys.stderr.write(f"error: {inert_lines(str(error))}\n")
        return 1
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        named = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(f"error: {inert_lines(f'{named}{error.strerror}; {REFUSALS[error.errno]}')}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130  # what a shell reports for SIGINT: 128 and the signal's number
    return 0


def set_up_logging(process: str) -> None:
    """Send structlog and the standard library's logging to stderr, each line naming the process.

    Lines are readable on a terminal and JSON elsewhere. Other libraries' lines begin at warnings.
    """
    level = getattr(logging, os.environ.get("DRIFTWHEEL_LOG_LEVEL", "INFO").upper(), logging.INFO)
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    # The hub's client writes its lines itself; here they would come a second time.
    logging.getLogger("huggingface_hub").propagate = False
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *([_inert] if sys.stderr.isatty() else []),  # JSON escapes what would steer a terminal
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # the stderr of now, which may be redirected
    )
    structlog.contextvars.bind_contextvars(process=process)


def _inert(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Show what others wrote as text, and let none of it steer the terminal."""
    return {name: inert_lines(value) if isinstance(value, str) else value for name, value in event.items()}
