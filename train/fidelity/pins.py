"""Hashes of template, tokenizer and generation defaults, which no later form of a model may change."""

import hashlib
import json
from pathlib import Path
from typing import Any

from driftwheel.errors import ParityError
from driftwheel.files.artifacts import Pins
from driftwheel.identity import content_hash
from train.base_model import load_generation_defaults, load_tokenizer

PINS = {
    "template_hash": "chat template",
    "tokenizer_hash": "tokenizer",
    "generation_hash": "generation defaults",
}


def read_pins(folder: Path, weights: str | None = None, revision: str | None = None) -> Pins:
    """Return the pins of a folder's tokenizer and of the generation defaults that go with `weights`.

    `weights` is the folder or hub name of the base model where the folder holds an adapter only; `folder` may be a
    hub name too.
    """
    tokenizer = load_tokenizer(str(folder), revision=None if weights else revision)
    return pins_of(tokenizer, weights or str(folder), revision)


def pins_of(tokenizer: Any, weights: str, revision: str | None) -> Pins:
    """Return the pins of a tokenizer beside the generation defaults of a folder or hub name."""
    return Pins(
        template_hash=hashlib.sha256(tokenizer.chat_template.encode()).hexdigest(),
        tokenizer_hash=content_hash(_tokenizer_content(tokenizer)),
        generation_hash=content_hash(_generation_defaults(weights, revision)),
    )


def check_pins(hop: str, pinned: Pins, found: Pins) -> None:
    """Raise ParityError naming the hop unless every pin recorded in training is found again."""
    for key, name in PINS.items():
        before, now = getattr(pinned, key), getattr(found, key)
        if before is not None and before != now:
            raise ParityError(
                hop,
                name,
                f"it was {before[:12]} in training and is {str(now)[:12]} now; put the trained {name} back and build "
                "this step again",
            )


def _tokenizer_content(tokenizer: Any) -> dict[str, object]:
    """Return what decides on token ids; not the file's bytes, which each save may lay out anew."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # left over from the last call, and saved with the file
        content.pop(state, None)
    return {"content": content, "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}


def _generation_defaults(weights: str, revision: str | None) -> dict[str, object]:
    """Return how a model answers if a request says nothing: its end tokens, and its sampling."""
    chosen: dict[str, object] = load_generation_defaults(weights, revision=revision).to_diff_dict()
    return {key: value for key, value in chosen.items() if key not in ("transformers_version", "_from_model_config")}
