"""What every command of every stage shares: the settings flags, one-line errors, records as JSON lines.

Settings and ledger are imported when a verb runs, so that `--help` answers at once.
"""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from driftwheel.errors import DriftwheelError

if TYPE_CHECKING:
    from driftwheel.records import ModelVersion
    from driftwheel.settings.settings import Settings
    from driftwheel.store.ledger import Ledger


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config, --set and --json."""
    parser.add_argument("--config", default="driftwheel.yaml", metavar="FILE", help="settings file (driftwheel.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides",
                        help="override one setting; may be repeated")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print results as JSON lines")


def settings_from(arguments: argparse.Namespace) -> "Settings":
    """Load the settings that the arguments name."""
    from driftwheel.settings.load import load_settings

    return load_settings(arguments.config, arguments.overrides)


def open_ledger(settings: "Settings") -> "Ledger":
    """Open the ledger that the settings name."""
    from driftwheel.store.ledger import Ledger

    return Ledger(settings.database_url)


def named_version(settings: "Settings", ledger: "Ledger", name: str) -> "ModelVersion":
    """Return a version by its id, or by the short name that the dashboard shows, such as v3; raises NotFoundError."""
    from driftwheel.records import ModelVersion

    numbered = re.fullmatch(r"v(\d{1,9})", name)
    if numbered and not ledger.count(ModelVersion, id=name):
        found = ledger.find(ModelVersion, project=settings.project, number=int(numbered[1]), limit=1)
        name = found[0].id if found else name
    return ledger.get(ModelVersion, name)


def run_verb(
    prog: str,
    description: str,
    verbs: Mapping[str, tuple[str, str]],
    argv: Sequence[str] | None,
    command: str | None,
) -> int:
    """Run one verb of a stage: `verbs` maps it to its module, which has add_arguments and main, and its help.

    Only the chosen verb's module is imported. `command` is what the user typed, if not `prog` and the verb.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=prog, description=description)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, help_text) in verbs.items():
        verb = subparsers.add_parser(name, help=help_text, description=help_text, prog=command or f"{prog} {name}")
        if arguments[:1] == [name]:
            importlib.import_module(module).add_arguments(verb)
    parsed = parser.parse_args(arguments)
    main: Callable[[argparse.Namespace], None] = importlib.import_module(verbs[parsed.verb][0]).main
    return run_command(f"{prog.rpartition(' ')[2]} {parsed.verb}", main, parsed)


def run_command(process: str, command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a command and return its exit status: 0, or 1 with one line on stderr for a DriftwheelError."""
    from driftwheel.program_log import set_up_logging

    set_up_logging(process)
    try:
        command(arguments)
    except DriftwheelError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return 0


def print_record(record: Any, *, as_json: bool) -> None:
    """Print a record on stdout: one JSON line, or one `field: value` line each."""
    fields = asdict(record)
    if as_json:
        sys.stdout.write(json.dumps(fields, default=_plain, ensure_ascii=False) + "\n")
    else:
        width = max(map(len, fields))
        for name, value in fields.items():
            text = (
                json.dumps(value, default=_plain, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
            )
            sys.stdout.write(f"{name:<{width}}  {text if len(text) <= 300 else text[:297] + '...'}\n")
    sys.stdout.flush()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
