"""Generate the parts of the papers that repeat the code: nouns, settings, verbs, metrics, routes, files, decisions.

make docs

cog calls these functions where a paper has a marker, and `make check` fails where the outcome has changed.
"""

import argparse
import ast
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client import Metric
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from driftwheel.cli.main import main as driftwheel
from driftwheel.records.nouns import NOUNS
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from monitor.exporter import CheckCounter, LedgerCollector
from serve import openapi
from serve.metrics import GatewayMetrics

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("driftwheel", "train", "serve", "monitor", "dashboard", "examples/support")


def nouns_table() -> str:
    """Return the seven nouns with the first sentence of their docstrings."""
    return _table(["noun", "is"], [[f"**{n.__name__}**", _sentence(n.__doc__ or "")] for n in NOUNS])


def settings_tables() -> str:
    """Return every setting with its default and its sentence, a table for each section."""
    rows: dict[str, list[list[str]]] = {}
    for row in _settings(Settings, ""):
        section, dot, _ = row[0].strip("`").partition(".")
        rows.setdefault(section if dot else "the loop", []).append(row)
    return "\n\n".join(f"## {name}\n{_table(['key', 'default', 'meaning'], found)}" for name, found in rows.items())


def verbs() -> str:
    """Return every verb of the command line with its arguments, as its own parser knows them."""
    top, _ = parser_of(["--help"])
    common = _common_arguments()
    parts: list[str] = []
    for name in sorted(_choices(top)):
        parser, rest = parser_of([name])
        parser, _ = _innermost(parser, rest)
        parts += _verb(name, parser, common, 2)
    shown = _table(["argument", "meaning"], list(common.values()))
    return "\n\n".join([f"Nearly every verb takes these three; they are not named again below.\n\n{shown}", *parts])


def parser_of(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser that a command line of `driftwheel` meets first, and what this parser is given; runs nothing.

    Raises LookupError if the command line is not parsed at all.
    """
    with patch.object(argparse.ArgumentParser, "parse_known_args", _stop):
        try:
            driftwheel(argv)
        except _Stopped as stopped:
            return stopped.parser, stopped.arguments
    raise LookupError(f"`driftwheel {' '.join(argv)}` parses nothing")


def metrics() -> str:
    """Return the metrics of gateway and monitor with their types, labels and help."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        settings = load_settings(ROOT / "configs" / "demo.yaml")
        collector = LedgerCollector(settings.serve, ledger, settings.project, CheckCounter())
        found = [
            *((metric, "gateway") for metric in GatewayMetrics().registry.collect()),
            *((metric, "monitor") for metric in collector.collect()),
        ]
        ledger.close()
    return _table(["metric", "type", "served by", "meaning"], sorted(_metric(*entry) for entry in found))


def routes() -> str:
    """Return the gateway's routes with the scope that each needs and what each reads."""
    document = json.loads(openapi.document())
    rows = [
        [f"`{method.upper()} {path}`", _scope(operation), _body(operation)]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return _table(["route", "scope", "body"], rows)


def refusals() -> str:
    """Return the statuses with which the gateway refuses, and what each means."""
    document = json.loads(openapi.document())
    responses = document["components"]["responses"]
    return _table(["status", "meaning"], [[code, entry["description"]] for code, entry in responses.items()])


def decisions() -> str:
    """Return the decisions, newest day first, each with the first line of its file."""
    days: dict[str, list[str]] = {}
    for path in (ROOT / "docs" / "decisions").glob("2*.md"):
        day, first_line = path.name[:10], path.read_text(encoding="utf-8").partition("\n")[0]
        title = first_line.removeprefix("# ").removeprefix(day).strip()
        days.setdefault(day, []).append(f"* [{title}]({path.name})")
    return "\n\n".join(
        f"## {day}\n" + "\n".join(sorted(days[day], key=str.lower)) for day in sorted(days, reverse=True)
    )


def tree(root: Path = ROOT, packages: Sequence[str] = PACKAGES) -> str:
    """Return each package with its files, then its folders with theirs; beside each the first line of its docstring."""
    return "```\n" + "\n".join(line for package in packages for line in _room(root / package, package, 0)) + "\n```"


def _room(folder: Path, name: str, depth: int) -> Iterator[str]:
    """Give the lines of a package: its heading, its files, its packages. Raises LookupError where one says nothing."""
    yield _tree_line(f"{name}/", folder / "__init__.py", depth)
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield _tree_line(path.name, path, depth + 1)
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").is_file():
            yield from _room(path, path.name, depth + 1)


def _tree_line(name: str, path: Path, depth: int) -> str:
    first = _sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    if not first:
        raise LookupError(f"{path} has no docstring; say in one line what it is for")
    return f"{'  ' * depth}{name:<{30 - 2 * depth}} {first}"


class _Stopped(Exception):
    """A command line has come to a parser."""

    def __init__(self, parser: argparse.ArgumentParser, arguments: list[str]) -> None:
        super().__init__()
        self.parser, self.arguments = parser, arguments


def _stop(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, _: object = None) -> None:
    raise _Stopped(parser, list(arguments or ()))


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _innermost(parser: argparse.ArgumentParser, rest: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    while rest and rest[0] in _choices(parser):
        parser, rest = _choices(parser)[rest[0]], rest[1:]
    return parser, rest


def _verb(name: str, parser: argparse.ArgumentParser, common: dict[str, list[str]], depth: int) -> Iterator[str]:
    """Give a verb's heading, its sentence and its arguments, and the same of each of its own verbs."""
    rows = [row for action in parser._actions if (row := _argument(action)) and row != common.get(row[0])]
    table = f"\n\n{_table(['argument', 'meaning'], rows)}" if rows else ""
    sentence = (parser.description or "").strip()
    yield f"{'#' * depth} {name}\n{sentence[:1].upper()}{sentence[1:].rstrip('.')}.{table}"
    for inner, its_parser in _choices(parser).items():
        yield from _verb(f"{name} {inner}", its_parser, common, depth + 1)


def _common_arguments() -> dict[str, list[str]]:
    parser, rest = parser_of(["status"])
    rows = [_argument(action) for action in _innermost(parser, rest)[0]._actions]
    return {row[0]: row for row in rows if row}


def _argument(action: argparse.Action) -> list[str]:
    """Return an argument's name and help; nothing for those that need no words."""
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return []
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    value = "" if action.nargs == 0 else str(action.metavar or choices or action.dest.upper())
    more = " ..." if action.nargs in ("+", "*") else ""
    name = ", ".join(action.option_strings) if action.option_strings else value
    shown = f"{name} {value}{more}" if action.option_strings and value else f"{name}{more}"
    return [f"`{shown.strip()}`", str(action.help or "")]


def _metric(family: Metric, where: str) -> list[str]:
    name = f"{family.name}{'_total' if family.type == 'counter' else ''}"
    return [f"`{name}`", family.type, where, family.documentation]


def _scope(operation: dict[str, Any]) -> str:
    scope = f"`{operation['description'].split(chr(39))[1]}`"
    return f"open to everybody or to this machine; {scope} for the rest" if {} in operation["security"] else scope


def _body(operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    required = schema["required"]
    return ", ".join(f"**`{name}`**" if name in required else f"`{name}`" for name in schema["properties"])


def _settings(section: type[BaseModel], prefix: str) -> list[list[str]]:
    rows = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _settings(kind, f"{prefix}{name}.")
        elif not field.exclude:
            rows.append(_setting(f"{prefix}{name}", field))
    return rows


def _setting(key: str, field: FieldInfo) -> list[str]:
    default = "required" if field.is_required() else f"`{field.default!r}`"
    return [f"`{key}`", default, field.description or ""]


def _sentence(text: str) -> str:
    return text.strip().partition("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def _table(headings: list[str], rows: list[list[str]]) -> str:
    cells = [[_cell(text) for text in row] for row in rows]
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text for a table of Markdown, whose rows are one line each and whose cells end at a bar."""
    return " ".join(text.split()).replace("|", "\\|")
