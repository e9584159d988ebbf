from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ArtifactError, ConfigError, GateError
from driftwheel.files import artifacts
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import Message, said
from tests.support.shipped_templates import make_tokenizer, names
from tests.support.versions import add_versions
from train.chat_template import RENDER_ERRORS, shipped
from train.prompts.prompt_file import Prompt, Shot, with_prompt
from train.prompts.prompted import PROMPT, TEMPLATE, prompted_template, require_same_model, write_prompted

NEEDS_PARTS = "llava_next"
"""A template for images, which renders no text that is not a list of parts."""
HARD = 'Say "card" {{ x }} {% raw %} {# no #} \\n \\u00e9 \u00e9 \U0001f98a\nand no more'
SHOTS = (Shot(prompt="is %} it on?", completion="yes"), Shot(prompt="'and' \"this\"?", completion="no\nnot"))
PROMPTS = (Prompt(instructions=HARD, examples=SHOTS), Prompt(instructions="Be brief."), Prompt(examples=SHOTS))
ASKED: tuple[list[Message], ...] = (
    [said("user", "my card")],
    [said("system", "In French."), said("user", "my card")],
    [said("user", "hi"), said("assistant", "yes?"), said("user", "my card")],
)


def rendered(tokenizer: Any, template: str, conversation: list[Message]) -> str | None:
    try:
        text: str = tokenizer.apply_chat_template(
            conversation, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except RENDER_ERRORS:
        return None
    return text


@pytest.mark.parametrize("name", names())
def test_each_template_with_a_prompt_renders_what_it_renders_after_the_prompt(name: str) -> None:
    template = shipped(name).read_text(encoding="utf-8")
    tokenizer = make_tokenizer(template)
    texts = []
    for prompt in PROMPTS:
        for asked in ASKED:
            with_it = rendered(tokenizer, prompted_template(template, prompt), asked)
            assert with_it == rendered(tokenizer, template, with_prompt(prompt, asked))
            texts.append(with_it)
    assert any(texts) == (name != NEEDS_PARTS)


def test_a_line_end_before_a_template_stays() -> None:
    assert prompted_template("\n{{ messages[0].content }}", PROMPTS[1]).endswith(
        "{% endif +%}\n{{ messages[0].content }}"
    )


@pytest.fixture
def version(ledger: Ledger, tmp_path: Path) -> ModelVersion:
    path = tmp_path / "artifacts" / "run_1-none"
    with artifacts.writing(path, {"run_id": "run_1", "template_hash": "t"}) as folder:
        (folder / TEMPLATE).write_bytes(b"{{ messages[0].content }}\r\n")
        (folder / "model.safetensors").write_bytes(b"weights")
    add_versions(ledger, "v1")
    digest = artifacts.read_manifest(path).content_hash
    return ledger.change(ledger.get(ModelVersion, "v1"), path=str(path), manifest_hash=digest)


def test_the_artifact_has_the_versions_own_files_and_its_prompt(
    tmp_path: Path, ledger: Ledger, version: ModelVersion
) -> None:
    made = write_prompted(tmp_path, version, PROMPTS[0])
    manifest = artifacts.verify(made)
    assert manifest.run_id == "run_1"
    assert (made / "model.safetensors").samefile(Path(version.path) / "model.safetensors")
    assert (made / TEMPLATE).read_bytes().endswith(b"{{ messages[0].content }}\r\n")
    assert (made / PROMPT).is_file()
    assert write_prompted(tmp_path, version, PROMPTS[0]) == made
    assert write_prompted(tmp_path, version, PROMPTS[1]) != made
    require_same_model(ledger, version.project, made, manifest)


def test_other_weights_or_a_version_that_was_refused_are_no_prompt_of_a_version(
    tmp_path: Path, ledger: Ledger, version: ModelVersion
) -> None:
    made = write_prompted(tmp_path, version, PROMPTS[0])
    manifest = artifacts.read_manifest(made)
    files = manifest.files | {"model.safetensors": replace(manifest.files["model.safetensors"], sha256="0")}
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not the file of"):
        require_same_model(ledger, version.project, made, replace(manifest, files=files))
    ledger.change(version, status=ModelVersionStatus.REJECTED)
    with pytest.raises(GateError, match="no version that is published"):
        require_same_model(ledger, version.project, made, manifest)


def test_an_adapter_and_a_version_with_a_prompt_take_none(
    tmp_path: Path, ledger: Ledger, version: ModelVersion
) -> None:
    made = write_prompted(tmp_path, version, PROMPTS[0])
    with pytest.raises(ConfigError, match="has a prompt already"):
        write_prompted(tmp_path, replace(version, path=str(made)), PROMPTS[1])
    with artifacts.writing(tmp_path / "adapter", {"kind": "adapter"}) as folder:
        (folder / TEMPLATE).write_text("x")
    with pytest.raises(ConfigError, match="is an adapter beside a base model"):
        write_prompted(tmp_path, replace(version, path=str(tmp_path / "adapter")), PROMPTS[1])
