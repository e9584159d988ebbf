"""Make the previous version live again, at once for all requests.

driftwheel rollback [--now] [--reason "WHY"]
"""

import argparse
import http.client
import json
import sys
from http import HTTPStatus

from driftwheel.callers.api_keys import KEYS_VARIABLE, own_key
from driftwheel.cli.command import (
    add_common_arguments,
    add_wait_argument,
    opened,
    print_when_served,
    settings_from,
)
from driftwheel.control import controls
from driftwheel.errors import ConflictError, EngineError
from driftwheel.records.by_whom import me
from driftwheel.settings.serving import ServeSettings

ASKED_SECONDS = 8.0
"""The gateway does it from memory, between two requests."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    add_wait_argument(parser)
    parser.add_argument("--reason", default="", help="kept in `driftwheel history`")
    parser.add_argument(
        "--now",
        action="store_true",
        help=f"ask the gateway on this machine, whatever the database does; with a key of {KEYS_VARIABLE}, if it asks",
    )


def main(arguments: argparse.Namespace) -> None:
    """Move the alias back and print it."""
    if arguments.now:
        done = ask_gateway(settings_from(arguments).serve, arguments.reason)
        text = f"{done['version_id']} answers instead of {done['left']}; it is written down as soon as that can be"
        sys.stdout.write((json.dumps(done) if arguments.json else text) + "\n")
        return
    settings, ledger = opened(arguments)
    alias = controls.rollback(ledger, settings.alias_key, by=me(arguments.reason))
    print_when_served(arguments, settings.serve, ledger, alias)


def ask_gateway(serve: ServeSettings, reason: str) -> dict[str, object]:
    """Let the gateway of this machine go back at once, and return what it says.

    Raises EngineError where none answers, ConflictError for what it refuses.
    """
    connection = http.client.HTTPConnection(serve.address, timeout=ASKED_SECONDS)
    headers = {"content-type": "application/json"}
    if key := own_key():
        headers["authorization"] = f"Bearer {key}"
    try:
        connection.request("POST", "/v1/control/rollback", json.dumps({"reason": reason}), headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"no gateway answers at http://{serve.address} ({error}); name it by serve.port") from error
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise ConflictError(f"the gateway refused the rollback ({status}): {body.decode(errors='replace')[:300]}")
    found: dict[str, object] = json.loads(body)
    return found
