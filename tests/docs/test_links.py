"""Every link of the papers leads to a file, a heading or an anchor; every file that they name is there.

mkdocs checks the links between the pages of the site; these tests also see the links that leave it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from docs import pictures
from tests.docs.papers import ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ANCHOR = re.compile(r'<a id="([\w-]+)">')
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|ya?ml|md|toml|json))`")
OUTSIDE = re.compile(r"^(https?|mailto):")
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+rel="(?:stylesheet|preload|icon)"[^>]+href="https?:'
)
OF_A_STORAGE_FOLDER = ("logs/",)
EXAMPLE = re.compile(r"NAME|YYYY")


def papers() -> list[Path]:
    """Return every paper of the tree."""
    return [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def anchors_of(text: str) -> set[str]:
    """Return what a link into a page may name."""
    headings = {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h.lower())).strip("-") for h in HEADING.findall(text)}
    return headings | set(ANCHOR.findall(text))


def broken_links(paper: Path, text: str) -> list[str]:
    """Return the links of a paper that lead nowhere."""
    found = []
    for target in LINK.findall(FENCED.sub("", text)):
        if OUTSIDE.match(target):
            continue
        name, _, anchor = target.partition("#")
        path = (paper.parent / name) if name else paper
        if not path.exists() or (anchor and anchor not in anchors_of(path.read_text(encoding="utf-8"))):
            found.append(f"{paper.name}: {target}")
    return found


def test_every_link_leads_somewhere() -> None:
    assert [link for paper in papers() for link in broken_links(paper, paper.read_text(encoding="utf-8"))] == []


def test_a_broken_link_is_noticed() -> None:
    planted = "[a](docs/nothing.md) [b](docs/glossary.md#nothing) [c](docs/glossary.md#fence)"
    assert len(broken_links(ROOT / "README.md", planted)) == 2


def test_every_file_that_a_page_names_is_there() -> None:
    pages = [paper for paper in papers() if paper.parent.name != "decisions" and paper.name != "CHANGELOG.md"]
    named = [(page.name, name) for page in pages for name in NAMED_FILE.findall(page.read_text(encoding="utf-8"))]
    assert named
    missing = [(page, name) for page, name in named if not (ROOT / name).exists() and not EXAMPLE.search(name)]
    assert [entry for entry in missing if not entry[1].startswith(OF_A_STORAGE_FOLDER)] == []


def terms(text: str) -> list[tuple[str, list[str]]]:
    """Return each word of the glossary with the files in which it says that the word is made."""
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith('| <a id="')]
    return [(re.findall(r"\*\*(.+)\*\*", row[0])[0], LINK.findall(row[-1])) for row in rows]


def test_each_word_of_the_glossary_stands_in_the_files_that_make_it() -> None:
    page = ROOT / "docs" / "glossary.md"
    found = terms(page.read_text(encoding="utf-8"))
    assert len(found) > 30
    strays = [
        (word, target)
        for word, targets in found
        for target in targets
        if not re.search(word.replace(" ", "[ _-]?"), (page.parent / target).read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert strays == []
    assert [word for word, targets in found if not targets] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_pictures_are_what_their_program_draws() -> None:
    drawn = {f"{name}.svg": draw() for name, draw in pictures.PICTURES.items()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in pictures.IMAGES.glob("*.svg")}
    assert kept == drawn, "run `make docs`"


def test_the_site_is_built_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 80
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
