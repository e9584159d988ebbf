"""Log lines go to stderr: readable on a terminal, JSON elsewhere."""

import logging
import os
import sys

import structlog


def set_up_logging(process: str) -> None:
    """Send structlog and the standard library's logging to stderr, each line naming the process."""
    level = getattr(logging, os.environ.get("DRIFTWHEEL_LOG_LEVEL", "INFO").upper(), logging.INFO)
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # the stderr of now, which may be redirected
    )
    structlog.contextvars.bind_contextvars(process=process)
