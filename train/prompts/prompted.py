"""Puts a prompt into the chat template of a version's model: the same weights, served behind other words.

Whoever reads such a folder renders conversations after the prompt without being told anything, so that an engine, the
proof of a swap, a canary and a rollback treat a prompt as they treat any version.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from driftwheel.errors import ArtifactError, ConfigError, GateError
from driftwheel.files import artifacts
from driftwheel.files.artifacts import ArtifactManifest
from driftwheel.identity import content_hash
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from train.prompts.prompt_file import BETWEEN, FIRST, Prompt

TEMPLATE, PROMPT = "chat_template.jinja", "prompt.json"
"""The files in which such a folder differs from the version's."""


def prompted_template(template: str, prompt: Prompt) -> str:
    """Return a template that renders a conversation as the given one renders it after the prompt."""
    own, is_told = "messages[0]", f"messages and messages[0]['role'] in {list(FIRST)}"
    if prompt.instructions:
        before = _literal(prompt.instructions + BETWEEN)
        own = f"{{'role': messages[0]['role'], 'content': {before} ~ messages[0]['content']}}"
    system = [said("system", prompt.instructions)] if prompt.instructions else []
    # On one line, and `+%}`: a line's end would be a part of each prompt, and `-%}` would eat the template's first one.
    return (
        f"{{% if {is_told} %}}{{% set messages = [{own}] + {_literal(prompt.turns)} + messages[1:] %}}"
        f"{{% else %}}{{% set messages = {_literal([*system, *prompt.turns])} + messages %}}{{% endif +%}}{template}"
    )


def _literal(value: object) -> str:
    # Jinja reads a string's escapes as Python does, which are JSON's but for pairs of surrogates.
    return json.dumps(value, ensure_ascii=False)


def write_prompted(root: Path, version: ModelVersion, prompt: Prompt) -> Path:
    """Write the artifact of a version behind a prompt, if it is not there yet, and return its folder.

    Its other files are the version's own. Raises ConfigError for a version that shares its template with others or
    has a prompt already, ArtifactError for one whose files were changed.
    """
    source, manifest = Path(version.path), artifacts.verify(Path(version.path))
    if manifest.kind is not None:
        raise ConfigError(
            f"v{version.number} is an {manifest.kind} beside a base model, whose template it shares; publish its run "
            "with merge.kind merged first"
        )
    if manifest.prompted_from is not None:
        raise ConfigError(f"v{version.number} has a prompt already; name with --version the one that it was made of")
    target = root / "artifacts" / f"prompt-{content_hash([manifest.content_hash, as_json(prompt)])[:32]}"
    if artifacts.is_complete(target):
        return target
    if TEMPLATE not in manifest.files:
        raise ConfigError(f"{source} has no {TEMPLATE}, which a prompt is written into; publish its run again")
    # Bytes, as a text file's reader would change line ends, which are a part of each prompt.
    text = prompted_template((source / TEMPLATE).read_bytes().decode("utf-8"), prompt)
    facts = {name: value for name, value in as_json(manifest).items() if name not in ("files", "content_hash")}
    facts |= {"prompted_from": manifest.content_hash, "template_hash": hashlib.sha256(text.encode()).hexdigest()}
    with artifacts.writing(target, facts) as aside:
        for name in manifest.files.keys() - {TEMPLATE}:
            _share(source / name, aside / name)
        (aside / TEMPLATE).write_bytes(text.encode("utf-8"))
        artifacts.write_json(aside / PROMPT, as_json(prompt))
    return target


def _share(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def require_same_model(ledger: Ledger, project: str, artifact: Path, manifest: ArtifactManifest) -> None:
    """Raise GateError unless an artifact with a prompt is, but for its template, a published version's.

    So it needs no parity table of its own: its weights are, byte by byte, those that were compared with the trained.
    """
    made_of = ledger.find(ModelVersion, project=project, manifest_hash=str(manifest.prompted_from))
    if not any(version.status is ModelVersionStatus.PUBLISHED for version in made_of):
        raise GateError(f"{artifact} was made of no version that is published; `driftwheel prompt publish` makes one")
    found = artifacts.read_manifest(Path(made_of[0].path))
    differing = [
        name
        for name in sorted(found.files.keys() | manifest.files.keys())
        if name not in (TEMPLATE, PROMPT) and found.files.get(name) != manifest.files.get(name)
    ]
    if differing:
        raise ArtifactError(f"{artifact / differing[0]} is not the file of v{made_of[0].number}; make the prompt anew")
