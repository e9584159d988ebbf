"""Finds texts that are to be forgotten in files and in values of the ledger, however they are escaped there."""

import html
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORGOTTEN = "(forgotten)"
SHORTEST = 12
"""Characters of a text that is looked for wherever it may stand; a shorter one, such as `yes`, would be everybody's."""
READABLE = {".json", ".jsonl", ".html", ".md", ".txt", ".log", ".csv", ".yaml", ".1"}
WHOLE_FOLDERS = ("reports", "evaluations")
"""Their folders are of one piece, and are made again when they are needed."""
LEFT_OUT = ("datasets", "artifacts")
"""Datasets are written anew, and an artifact is a model, which is named."""
MODEL_FILES = {"config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"}
"""What a folder of a model has: its other files are the model's, too, and what a user asked is in none of them, but may
well read like a part of them, as `<|im_start|>` does."""
LINES = {".jsonl", ".log", ".1", ".md", ".txt", ".csv"}


@dataclass(frozen=True)
class Needles:
    """Texts that are looked for, and their forms in JSON and HTML."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, texts: Collection[str]) -> "Needles":
        """Look for texts that are long enough to be somebody's."""
        return cls(
            tuple(sorted({text.strip() for text in texts if len(text.strip()) >= SHORTEST}, key=len, reverse=True))
        )

    def forms(self) -> list[bytes]:
        """Return what a file that holds one of them has in it."""
        found = set[str]()
        for text in self.texts:
            found |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
            found.add(json.dumps(json.dumps(text)[1:-1])[1:-1])
        return [form.encode("utf-8", "surrogatepass") for form in found]

    def are_in(self, value: Any) -> bool:
        """Say whether a JSON value holds one of them."""
        if isinstance(value, str):
            return any(text in value or _begins(value, text) for text in self.texts)
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        return any(self.are_in(part) for part in parts)

    def scrub(self, value: Any) -> Any:
        """Return a JSON value in which whatever holds one of them is `(forgotten)`."""
        if isinstance(value, str):
            return FORGOTTEN if self.are_in(value) else value
        if isinstance(value, list | tuple):
            return [self.scrub(member) for member in value]
        if isinstance(value, dict):
            return {key: self.scrub(member) for key, member in value.items()}
        return value


def _begins(value: str, text: str) -> bool:
    """Say whether a value is the beginning of a text, as an excerpt is."""
    cut = value.removesuffix("...").removesuffix("…")
    return len(cut) >= SHORTEST and text.startswith(cut)


def scrub_files(root: Path, needles: Needles, *, dry_run: bool) -> list[Path]:
    """Return the files of the storage folder that hold one of the texts, and take it out of them.

    A report or an evaluation goes whole, of a file of lines those lines, and another file goes.
    """
    forms = needles.forms()
    found = list[Path]()
    if not forms:
        return found
    for path in _readable(root):
        if not path.is_file():
            continue  # its folder has gone meanwhile
        held = path.read_bytes()
        if any(form in held for form in forms):
            found.append(path)
            if not dry_run:
                _take_out(root, path, held, forms)
    return found


def _readable(root: Path) -> Iterator[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.relative_to(root).parts[0] not in LEFT_OUT]
    models = {path.parent for path in found if path.name in MODEL_FILES}
    for path in found:
        if path.suffix in READABLE and models.isdisjoint(path.parents) and path.is_file():
            yield path


def _take_out(root: Path, path: Path, held: bytes, forms: Sequence[bytes]) -> None:
    kind, *rest = path.relative_to(root).parts
    if kind in WHOLE_FOLDERS and len(rest) > 1:
        shutil.rmtree(root / kind / rest[0])
    elif path.suffix in LINES:
        kept = [line for line in held.splitlines(keepends=True) if not any(form in line for form in forms)]
        path.write_bytes(b"".join(kept))
    else:
        path.unlink()
