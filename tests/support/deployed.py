"""What an example of deployment says of driftwheel, held against the code: verbs, settings, ports and routes."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from docs.generate import parser_of
from driftwheel.errors import ConfigError
from driftwheel.settings.load import ENVIRONMENT_PREFIX, load_settings
from serve.access.allow_list import ROUTES, Openness

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "deploy" / "containers"
DASHBOARD_HEALTH = "/_stcore/health"
USER = 10001
OTHER_VARIABLES = {"DRIFTWHEEL_LOG_LEVEL", "DRIFTWHEEL_API_KEYS"}
SMALL = {
    "project": "support",
    "model": {"base": "base"},
    "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
}
"""The shortest settings file."""


def problem_of_command(words: Sequence[str]) -> str | None:
    """Say what is wrong with the words behind `driftwheel`, or None; the verb's own parser decides."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parser, rest = parser_of([*words])
            parser.parse_args(rest)
        except (SystemExit, KeyError, ValueError) as error:
            return f"`driftwheel {shlex.join(words)}`: {said.getvalue().strip() or error}"
    return None


def problem_of_environment(environment: Mapping[str, str], folder: Path) -> str | None:
    """Say what is wrong with the variables that a process of driftwheel is given, or None."""
    for name in environment:
        if name.startswith("DRIFTWHEEL") and not name.startswith(ENVIRONMENT_PREFIX) and name not in OTHER_VARIABLES:
            return f"nobody reads {name}"
    path = folder / "driftwheel.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    try:
        load_settings(path, environ=environment)
    except ConfigError as error:
        return str(error)
    return None


def probe_is_answered(path: str) -> bool:
    """Say whether a part answers a probe at a path, without a key."""
    return path == DASHBOARD_HEALTH or (path in ROUTES and ROUTES[path].openness is Openness.ANYBODY)


def containerfile(name: str) -> str:
    """Return the text of a Containerfile."""
    return (CONTAINERS / f"{name}.Containerfile").read_text(encoding="utf-8")


def environment_of_image(name: str) -> dict[str, str]:
    """Return what ENV of a Containerfile sets."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", containerfile(name), re.MULTILINE)
    return dict(part.split("=", 1) for part in block.replace("\\\n", " ").split())


def ports_of_image(name: str) -> set[int]:
    """Return what EXPOSE of a Containerfile names."""
    (ports,) = re.findall(r"^EXPOSE (.*)$", containerfile(name), re.MULTILINE)
    return {int(port) for port in ports.split()}


def image_of(tag: str) -> str | None:
    """Return which Containerfile makes an image of ours, by the tag that its first lines give it."""
    names = (path.name.removesuffix(".Containerfile") for path in sorted(CONTAINERS.glob("*.Containerfile")))
    return next((name for name in names if f" -t {tag} ." in containerfile(name)), None)


def strings(tree: object) -> Iterator[str]:
    """Give every text in a tree of lists and mappings, keys too."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from (*strings(key), *strings(value))
    elif isinstance(tree, Sequence):
        for value in tree:
            yield from strings(value)
