"""Run an engine on an artifact until standard input ends; the evaluation uses it.

    python -m serve engine --config driftwheel.yaml --artifact DIR

The command prints one JSON line when the engine is ready and stops it when its standard input ends.
"""

import argparse
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from driftwheel.argument_types import whole
from driftwheel.cli.command import add_settings_arguments, settings_from
from driftwheel.errors import EngineError, NotFoundError
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from serve.engines.adapters import Adapters, Slot
from serve.engines.engine import Engine, start, start_artifact

STARTED, SIGNALLED, STDIN_ENDED = "started or failed", "signalled", "standard input ended"
Events = SimpleQueue[str]
"""What happens to the engine's process, in its order; a signal's handler may put into such a queue."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--artifact", type=Path, metavar="DIR", help="artifact folder; checked against its manifest")
    source.add_argument("--model", metavar="MODEL", help="any model folder or hub name, unchecked")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="tokenizer and template for --model")
    parser.add_argument("--port", type=whole(0, 65_535), default=0, help="port on loopback (a free one)")


def main(arguments: argparse.Namespace) -> None:
    """Run one engine until standard input ends or a signal comes; raises EngineError if it was not ready by then."""
    settings = settings_from(arguments)
    # A signal's handler may put here at any moment; it interrupts nothing, so that the engine's end is never cut short.
    events: Events = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: events.put(SIGNALLED))
    # From the first moment on: whoever asked for the engine may die while it starts, which takes minutes.
    threading.Thread(target=_watch_stdin, args=(events,), daemon=True).start()
    engine = _start(settings, arguments)
    with ThreadPoolExecutor(1) as pool:
        try:
            start = pool.submit(engine.wait_ready, settings.serve.start_timeout_seconds)
            start.add_done_callback(lambda _: events.put(STARTED))
            event = events.get()
            if event == STDIN_ENDED:
                raise EngineError(f"standard input ended before engine {engine.name} was ready, so it was stopped")
            if event == STARTED:
                start.result()
                sys.stdout.write(json.dumps(_facts(engine)) + "\n")
                sys.stdout.flush()
                events.get()
        finally:
            engine.stop()


def _watch_stdin(events: Events) -> None:
    # By its descriptor: a thread that waits inside Python's buffered reader breaks the interpreter's end.
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    events.put(STDIN_ENDED)


def _facts(engine: Engine | Slot) -> dict[str, object]:
    """Return what is printed of an engine that is ready."""
    line: dict[str, object] = {"url": engine.url, "model": engine.name, "start_seconds": engine.start_seconds}
    if isinstance(engine, Slot):
        return line | {"pid": engine.host_engine.engine.process.pid, "base_model": engine.base_name}
    return line | {"pid": engine.process.pid}


def _start(settings: Settings, arguments: argparse.Namespace) -> Engine | Slot:
    if arguments.artifact is None:
        model = settings.resolve_model(arguments.model)
        serve = _with_tokenizer(settings.serve, arguments.tokenizer)
        return start(serve, settings.logs, model, Path(model).name, port=arguments.port)
    if not arguments.artifact.is_dir():
        raise NotFoundError(f"no artifact at {arguments.artifact}; `driftwheel quantize` makes one")
    artifact = arguments.artifact.resolve()
    return Adapters(partial(start_artifact, port=arguments.port)).start(
        settings.serve, settings.logs, artifact, artifact.name, 0
    )


def _with_tokenizer(serve: ServeSettings, tokenizer: Path | None) -> ServeSettings:
    if tokenizer is None:
        return serve
    return serve.model_copy(update={"engine_args": ["--tokenizer", str(tokenizer.resolve()), *serve.engine_args]})
