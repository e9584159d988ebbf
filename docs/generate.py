"""Generate the parts of the papers that repeat the code: nouns, settings, metrics and the tree of the files.

make docs

cog calls these functions where a paper has a marker, and `make check` fails where the outcome has changed.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import Metric
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from driftwheel.records import NOUNS
from driftwheel.settings.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("driftwheel", "train", "serve", "monitor", "dashboard", "examples/support")


def nouns_table() -> str:
    """Return the seven nouns with the first sentence of their docstrings."""
    return _table(["noun", "is"], [[f"**{n.__name__}**", _sentence(n.__doc__ or "")] for n in NOUNS])


def settings_table() -> str:
    """Return every setting with its default and its sentence."""
    return _table(["key", "default", "meaning"], _settings(Settings, ""))


def tree() -> str:
    """Return the packages' files and folders, each with the first line of its docstring; files before folders."""
    lines = []
    for package in PACKAGES:
        lines.append(f"{package}/")
        for path in sorted((ROOT / package).rglob("*.py"), key=lambda p: (len(p.parts) - len(ROOT.parts), p)):
            first = _sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
            name = path.relative_to(ROOT / package)
            if path.name != "__init__.py":
                lines.append(f"{'  ' * len(name.parts)}{path.name:<{28 - 2 * len(name.parts)}} {first}")
            elif name != Path(path.name):
                lines.append(f"  {name.parent.as_posix()}/".ljust(29) + first)
    return "```\n" + "\n".join(lines) + "\n```"


def metrics_table(families: Sequence[Metric]) -> str:
    """Return Prometheus families with their labels and help."""
    rows = [[f"`{f.name}{'_total' if f.type == 'counter' else ''}`", f.type, f.documentation] for f in families]
    return _table(["metric", "type", "meaning"], sorted(rows))


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
