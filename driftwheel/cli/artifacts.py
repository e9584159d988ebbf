"""Store versions' files where other machines find them, or fetch them from there.

driftwheel artifacts put|fetch [VERSION ...]

`storage.artifacts` names the place. Publishing stores a version by itself; `put` is for what was published before
there was such a place, and for what it lost.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, named_version, opened
from driftwheel.errors import ConfigError
from driftwheel.files.object_store import ObjectStore
from driftwheel.files.stored_artifacts import put_artifact
from driftwheel.files.version_files import bring, store_of
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, act, help_text in (
        ("put", _put, "store versions' files; what is there already is not sent again"),
        ("fetch", _fetch, "have versions' files on this machine, checked"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(act=act)
        action.add_argument("versions", nargs="*", metavar="VERSION", help="id or short name (all published ones)")
        add_common_arguments(action)
        if name == "put":
            action.add_argument("--again", action="store_true", help="send also what is there, such as changed bytes")


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def _put(arguments: argparse.Namespace) -> None:
    def put(version: ModelVersion, store: ObjectStore) -> None:
        put_artifact(store, Path(version.path), again=arguments.again)

    _each(arguments, "stored in", put)


def _fetch(arguments: argparse.Namespace) -> None:
    storage = opened(arguments)[0].storage
    _each(arguments, "here, from", lambda version, _: bring(storage, version))


def _each(arguments: argparse.Namespace, done: str, act: Callable[[ModelVersion, ObjectStore], None]) -> None:
    """Do something with each version that is named, and say so."""
    settings, ledger = opened(arguments)
    store = store_of(settings.storage)
    if store is None:
        raise ConfigError("storage.artifacts names no place: set it to a folder or to s3://BUCKET/PREFIX")
    project = settings.project
    versions = [named_version(ledger, project, name) for name in arguments.versions]
    if not arguments.versions:
        versions = ledger.find(ModelVersion, project=project, status=ModelVersionStatus.PUBLISHED, newest_first=False)
    for version in versions:
        act(version, store)
        line = json.dumps({"version": version.id, "artifact": version.manifest_hash, "store": store.url})
        sys.stdout.write((line if arguments.json else f"{version.id} is {done} {store.url}") + "\n")
