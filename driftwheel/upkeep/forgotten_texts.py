"""Finds texts that are to be forgotten in files and in values of the ledger, however they are escaped there."""

import bisect
import html
import itertools
import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, AnyStr, Generic

from driftwheel.files.artifacts import MANIFEST

FORGOTTEN = "(forgotten)"
SHORTEST = 12
"""Characters of a text that is looked for wherever it may stand; a shorter one, such as `yes`, would be everybody's."""
READABLE = {".json", ".jsonl", ".html", ".md", ".txt", ".log", ".csv", ".yaml", ".1"}
REPORTS, EVALUATIONS = "reports", "evaluations"
LEFT_OUT = ("datasets", "artifacts")
"""Datasets are written anew, and an artifact is a model, which is named."""
MODEL_FILES = {"config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"}
"""What a folder of a model has: its other files are the model's, too, and what a user asked is in none of them, but may
well read like a part of them, as `<|im_start|>` does."""
LINES = {".jsonl", ".log", ".1", ".md", ".txt", ".csv"}


FEW = 50
"""Texts that are looked for one after another; more are looked up by how they begin, all at once."""


class Finder(Generic[AnyStr]):
    """Looks for many texts at once; what it costs grows with what is looked through, and hardly with the texts.

    A service's key may have asked a hundred thousand times, and one after another that is hours for each large log.
    """

    def __init__(self, texts: Collection[AnyStr]) -> None:
        """Look for texts, none of which is shorter than `SHORTEST`."""
        self._texts: list[AnyStr] = sorted(set(texts))
        self._starts: dict[AnyStr, dict[int, set[AnyStr]]] = {}
        for text in self._texts if len(self._texts) > FEW else ():
            self._starts.setdefault(text[:SHORTEST], {}).setdefault(len(text), set()).add(text)

    def is_in(self, held: AnyStr) -> bool:
        """Say whether one of the texts stands anywhere in it."""
        return next(self.places(held), None) is not None

    def places(self, held: AnyStr) -> Iterator[tuple[int, int]]:
        """Give where the texts begin and end in it."""
        if not self._starts:
            for text in self._texts:
                at = held.find(text)
                while at >= 0:
                    yield at, at + len(text)
                    at = held.find(text, at + 1)
            return
        for at in range(len(held) - SHORTEST + 1):
            found = self._starts.get(held[at : at + SHORTEST], {})
            yield from ((at, at + length) for length, texts in found.items() if held[at : at + length] in texts)

    def begins_with(self, cut: AnyStr) -> bool:
        """Say whether one of the texts begins so."""
        at = bisect.bisect_left(self._texts, cut)
        return at < len(self._texts) and self._texts[at].startswith(cut)


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

    @cached_property
    def forms(self) -> Finder[bytes]:
        """What a file that holds one of them has in it."""
        found = set[str]()
        for text in self.texts:
            found |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
            found.add(json.dumps(json.dumps(text)[1:-1])[1:-1])
        return Finder([form.encode("utf-8", "surrogatepass") for form in found])

    @cached_property
    def _plain(self) -> Finder[str]:
        return Finder(self.texts)

    def are_in(self, value: Any) -> bool:
        """Say whether a JSON value holds one of them, or the beginning of one, as an excerpt does."""
        if isinstance(value, str):
            cut = value.removesuffix("...").removesuffix("…")
            return self._plain.is_in(value) or (len(cut) >= SHORTEST and self._plain.begins_with(cut))
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


def scrub_files(root: Path, needles: Needles, *, dry_run: bool) -> list[Path]:
    """Return the files of the storage folder that hold one of the texts, and take it out of them.

    A report goes whole, of a file of lines those lines, and another file goes. Without its manifest an evaluation is
    made anew where somebody asks for its scores; its other answers stay, with which traffic is compared until then.
    """
    found = list[Path]()
    if not needles.texts:
        return found
    for path in _readable(root):
        if not path.is_file():
            continue  # its folder has gone meanwhile
        held = path.read_bytes()
        if needles.forms.is_in(held):
            found.append(path)
            if not dry_run:
                _take_out(root, path, held, needles.forms)
    return found


def _readable(root: Path) -> Iterator[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.relative_to(root).parts[0] not in LEFT_OUT]
    models = {path.parent for path in found if path.name in MODEL_FILES}
    for path in found:
        if path.suffix in READABLE and models.isdisjoint(path.parents) and path.is_file():
            yield path


def _take_out(root: Path, path: Path, held: bytes, forms: Finder[bytes]) -> None:
    kind, *rest = path.relative_to(root).parts
    if kind == EVALUATIONS and len(rest) > 1:
        (root / kind / rest[0] / MANIFEST).unlink(missing_ok=True)
    if kind == REPORTS and len(rest) > 1:
        shutil.rmtree(root / kind / rest[0])
    elif path.suffix in LINES:
        kept = _without_lines(held, forms)
        # Into the same file, which a process may be writing; it only gets shorter, so that a full disk loses nothing.
        with path.open("r+b") as file:
            file.seek(len(held))
            since = file.read()
            file.seek(0)
            file.write(kept + since)
            file.truncate()
    else:
        path.unlink()


def _without_lines(held: bytes, forms: Finder[bytes]) -> bytes:
    """Return the lines that hold none of the texts; of a text of several lines each of these goes."""
    lines = held.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(len(line) for line in lines)]
    gone = set[int]()
    for first, last in forms.places(held):
        gone.update(range(bisect.bisect_right(starts, first) - 1, bisect.bisect_left(starts, last)))
    return b"".join(line for number, line in enumerate(lines) if number not in gone)
