"""The papers' pages, and the shell blocks on them with what is said about how each is run.

A comment stands in the line above a block: `<!-- run: KIND; REASON -->`.

* `story`: really run, in a folder where the page's earlier blocks have been run.
* `gateway`: really run, against the real gateway in front of a fake engine.
* `extras`: `pip install -e '.[NAME]'`, whose name must be an extra of the project.
* `parse; REASON`: only parsed, by the verb's own parser. REASON is a key of PARSED_ONLY.
* `skip; REASON`: another program's command. REASON is a key of OTHER_PROGRAMS.
* No comment: every line is `make TARGET` or the activation of the environment.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARSED_ONLY = {
    "engine": "starts vLLM for minutes; tests/loop, tests/integration and the demo run these verbs",
    "forever": "runs until it is stopped; tests/loop runs all of them below `driftwheel up`",
    "other model": "asks a model that somebody else serves; unit tests run it against a server of theirs",
    "id": "takes an id that only the reader has",
    "hub": "downloads a model",
    "store": "needs an object store; tests/unit/driftwheel/test_stored_artifacts.py runs these verbs on one",
    "cluster": "needs several devices or machines; tests/integration/test_together.py trains in two processes",
}
OTHER_PROGRAMS = {
    "cluster": "Ray's own commands, on the machines of a cluster",
    "images": "takes a container engine and gigabytes; tests/deploy builds and runs the gateway's image",
    "kubernetes": "needs a cluster; tests/deploy checks the manifests",
    "server": "PostgreSQL's own command, against somebody's server",
}
KINDS = {"story": {""}, "gateway": {""}, "extras": {""}, "parse": set(PARSED_ONLY), "skip": set(OTHER_PROGRAMS)}
SHELLS = ("sh", "bash", "console", "shell")
MARK = re.compile(r"<!-- run: (?P<kind>\w+)(?:; (?P<reason>[^>]*?))? -->")
FENCE = re.compile(r"^```(?P<language>[\w-]*)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Shell lines of a page."""

    page: str
    line: int
    kind: str
    reason: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments; a line that ends in a backslash goes on."""
        joined = self.text.replace("\\\n", " ")
        return [words for line in _whole_lines(joined) if (words := shlex.split(line, comments=True))]

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return the pages that tell a reader what to type; decisions and the changelog tell what was."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p for p in found if p.parent.name != "decisions")]


def blocks(page: Path) -> list[Block]:
    """Return a page's shell blocks in order."""
    return list(blocks_in(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")))


def blocks_in(name: str, text: str) -> Iterator[Block]:
    """Give the shell blocks in the text of a page."""
    lines, number = text.splitlines(), 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        end = next(n for n in range(number + 1, len(lines)) if lines[n].startswith("```"))
        if fence["language"] in SHELLS:
            mark = MARK.fullmatch(lines[number - 1].strip()) if number else None
            kind, reason = (mark["kind"], mark["reason"] or "") if mark else ("", "")
            body = "\n".join(lines[number + 1 : end])
            yield Block(page=name, line=number + 1, kind=kind, reason=reason, text=body)
        number = end + 1


def _whole_lines(text: str) -> Iterator[str]:
    """Give lines, joined where a quotation goes over several of them."""
    held = ""
    for line in text.splitlines():
        held = f"{held}\n{line}" if held else line
        try:
            shlex.split(held, comments=True)
        except ValueError:
            continue
        yield held
        held = ""
    if held:
        yield held
