"""The rules of the house that neither ruff nor the import linter can express, read from the product's own text.

A rule that does not hold everywhere yet has a number here, which may only fall: whoever lowers it writes the lower one.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from driftwheel.cli.main import VERBS as CLI_VERBS
from serve.__main__ import VERBS as SERVE_VERBS
from train.__main__ import VERBS as TRAIN_VERBS

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("driftwheel", "train", "serve", "monitor", "dashboard", "examples")
EVERYTHING = (*PRODUCT, "benchmarks", "tests", "docs")
MOST_LINES = 300
MOST_FREE_DICTS = 43
"""Times that `dict[str, Any]` stands in the product; it belongs at the edge of a library, and to raw JSON."""
MOST_WITH_ALL_SETTINGS = 75
"""Functions that take all of Settings instead of the section that they need."""
FREE_NAMES = {"__init__", "__main__"}
FREE_ROOMS = {"cli", "verbs", "settings", "views"}
"""Folders whose files are named after a verb, a group of settings or a page."""
LATE = {
    "apprise": "driftwheel/control",
    "alembic": "driftwheel/store",
    "compressed_tensors": "train/weights",
    "confusable_homoglyphs": "train/data",
    "datasets": "train/reading train/weights",
    "evidently": "monitor",
    "llmcompressor": "train/weights",
    "opentelemetry": "serve/relaying",
    "obstore": "driftwheel/files",
    "optuna": "train/tuning",
    "peft": "train train/fidelity train/kernels train/sizing train/training train/weights",
    "py3langid": "train/data/checking",
    "pyarrow": "driftwheel/traffic monitor train/reading",
    "pysqlite3": "driftwheel/store",
    "ray": "train/launchers",
    "rouge_score": "driftwheel/text train/evaluation",
    "sacrebleu": "driftwheel/text train/evaluation",
    "safetensors": "train/fidelity train/weights",
    "sklearn": "train/data/live train/evaluation",
    "tokenizers": "examples/support",
    "streamlit": "dashboard",
    "torch": "examples/support train train/fidelity train/processes train/sizing train/training train/weights",
    "transformers": "examples/support train train/fidelity train/kernels train/sizing train/tuning train/weights",
    "trl": "train/training",
    "vllm": "serve/engines",
}
"""Libraries that are imported inside a function, because they cost much time or are not always there: the rooms."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules(*rooms: str) -> dict[str, str]:
    """Return the text of each module, by its path from the root."""
    paths = sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))
    assert paths
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@cache
def trees() -> dict[str, ast.Module]:
    return {path: ast.parse(text) for path, text in modules(*PRODUCT).items()}


@cache
def functions() -> list[tuple[str, Function]]:
    """Return each function of the product with a name that finds it."""
    nodes = ((path, node) for path, tree in trees().items() for node in ast.walk(tree))
    return [(f"{path}:{node.lineno} {node.name}", node) for path, node in nodes if isinstance(node, Function)]


def parameters(function: Function) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def late_imports() -> Iterator[tuple[str, str]]:
    """Give the place and the package of each import inside a function."""
    for place, function in functions():
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from ((place, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield place, (node.module or "").partition(".")[0]


def test_each_name_of_a_module_is_used_once() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in map(Path, modules(*PRODUCT)):
        if path.stem not in FREE_NAMES and path.parent.name not in FREE_ROOMS:
            found[path.stem].append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_the_formatter_lays_everything_out() -> None:
    mark = "fmt: " + "skip"
    assert [path for path, text in modules(*EVERYTHING).items() if mark in text] == []


def test_a_library_is_imported_late_only_where_the_table_says() -> None:
    found = defaultdict(set)
    for place, package in late_imports():
        if package not in PRODUCT:
            found[package].add(str(Path(place.partition(":")[0]).parent))
    strays = {package: rooms - {*LATE.get(package, "").split()} for package, rooms in found.items()}
    assert {package: rooms for package, rooms in strays.items() if rooms} == {}


def test_modules_of_the_house_are_imported_at_the_top() -> None:
    found = [f"{place} imports {package}" for place, package in late_imports() if package in PRODUCT]
    assert found == []


def test_settings_stand_before_the_ledger() -> None:
    found = []
    for place, function in functions():
        names = [argument.arg for argument in parameters(function)]
        if "ledger" in names and "settings" in names[names.index("ledger") :]:
            found.append(place)
    assert found == []


def test_what_passes_between_functions_has_a_type() -> None:
    found = sum(text.count("dict[str, Any]") for text in modules(*PRODUCT).values())
    assert found <= MOST_FREE_DICTS


def test_a_function_takes_the_settings_that_it_needs() -> None:
    found = [
        place
        for place, function in functions()
        if any(a.annotation and ast.unparse(a.annotation).strip("'\"") == "Settings" for a in parameters(function))
    ]
    assert len(found) <= MOST_WITH_ALL_SETTINGS


def test_each_module_says_what_it_does() -> None:
    assert [path for path, tree in trees().items() if not path.endswith("__init__.py") and not _says(tree)] == []


def _says(tree: ast.Module) -> bool:
    return bool(re.search(r"[.?]", ast.get_docstring(tree) or ""))


def test_no_module_is_long() -> None:
    lengths = {path: text.count("\n") for path, text in modules(*PRODUCT).items()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("room", "verbs", "parts"),
    [
        (
            "driftwheel/cli",
            CLI_VERBS,
            {"command", "dispatch", "finding", "gpu_findings", "listing", "main", "process", "processor_findings"},
        ),
        ("train/verbs", TRAIN_VERBS, set[str]()),
        ("serve/verbs", SERVE_VERBS, set[str]()),
    ],
    ids=["cli", "train", "serve"],
)
def test_each_verb_is_a_file_and_each_file_a_verb(
    room: str, verbs: dict[str, tuple[str, str]], parts: set[str]
) -> None:
    package = room.replace("/", ".")
    files = {path.stem for path in (ROOT / room).glob("*.py")} - FREE_NAMES - parts
    assert {module for module, _ in verbs.values()} == {f"{package}.{name}" for name in files}
    assert all(module == f"{package}.{verb}" for verb, (module, _) in verbs.items())
