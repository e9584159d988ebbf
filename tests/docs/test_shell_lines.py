"""Every shell line of every page is run, or parsed by the verb's own parser where tests/docs/papers.py says why."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from docs.generate import parser_of
from driftwheel.machine.system import free_port
from examples.support.build_base import make_model, make_tokenizer
from examples.support.world import answer, messages, unlabelled_text
from tests.docs.papers import KINDS, PARSED_ONLY, ROOT, Block, blocks, blocks_in, pages
from tests.support.fake_world import ALIAS, KEY, World

pytestmark = pytest.mark.timeout(900)
ACTIVATIONS = ([".", ".venv/bin/activate"], [".", ".venv-gpu/bin/activate"])
HUB_NAME, LOCAL_NAME = "Qwen/Qwen3-0.6B", "base"
FEW_STEPS = {
    "DRIFTWHEEL__TRAIN__MAX_STEPS": "2",
    "DRIFTWHEEL__TRAIN__EVAL_STEPS": "2",
    "DRIFTWHEEL__TRAIN__MAX_LENGTH": "128",
    "DRIFTWHEEL__TRAIN__PER_DEVICE_TRAIN_BATCH_SIZE": "4",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # two threads on a busy machine wait for each other longer than such steps take
    "DRIFTWHEEL_API_KEYS": KEY,
}
"""What makes a story short; the commands stay as the page has them, but for the model's name on the hub."""
SELF_STARTERS = ("README.md", "docs/quickstart.md")
"""Pages whose story begins with the data file alone; the others begin where README's story ends."""
INLINE = re.compile(r"`((?:driftwheel|make) (?!VERB|TARGET|(?:bench|suite)-NAME)[^`]+)`")
"""A command in a sentence, if it is not about commands in general."""
ALL = [block for page in pages() for block in blocks(page)]
STORIES = sorted({block.page for block in ALL if block.kind == "story"} - {"README.md"})


def run(block: Block, folder: Path, environment: dict[str, str], before: str = "") -> None:
    """Run a block as a person would, line by line, until one fails."""
    text = block.text.replace(HUB_NAME, LOCAL_NAME)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", f"{before}\n{text}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "200", **_free_ports(), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}\n{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _free_ports() -> dict[str, str]:
    """Return settings for ports that nobody listens on: `doctor` asks for the usual ones, which others may use here."""
    return {f"DRIFTWHEEL__{section}__PORT": str(free_port()) for section in ("SERVE", "MONITOR", "DASHBOARD")}


def problem_of(words: list[str]) -> str:
    """Say what is wrong with a command of driftwheel, or nothing; its own parser decides, and nothing is run."""
    parser, rest = parser_of(words[1:])
    try:
        parser.parse_args(rest)
    except SystemExit:
        return f"`{shlex.join(words)}` is not what the parser takes"
    return ""


def is_make_target(words: list[str]) -> bool:
    """Say whether `make` has what a command asks of it; benchmarks and suites are modules."""
    named = [word for word in words[1:] if "=" not in word]
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    modules = {"bench": "benchmarks", "suite": "tests.suites"}
    return bool(named) and all(
        name in rules
        or (name.partition("-")[0] in modules and _is_module(modules[name.partition("-")[0]], name.partition("-")[2]))
        for name in named
    )


def _is_module(package: str, name: str) -> bool:
    return importlib.util.find_spec(f"{package}.{name}") is not None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has: examples and a base model, here a small untrained one."""
    folder = tmp_path_factory.mktemp("reader")
    tokenizer = make_tokenizer(unlabelled_text(100, 0))
    make_model(tokenizer).save_pretrained(folder / LOCAL_NAME)
    tokenizer.save_pretrained(folder / LOCAL_NAME)
    rows = [json.dumps({"prompt": e.text, "completion": answer(e)}) for e in messages(400, 0, "steady")]
    (folder / "tickets.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name in ("configs", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def started(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after the story of the README: a settings file, a Dataset and a training run."""
    folder = tmp_path_factory.mktemp("started") / "loop"
    shutil.copytree(data, folder, symlinks=True)
    for block in blocks(ROOT / "README.md"):
        if block.kind == "story":
            run(block, folder, FEW_STEPS)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The real gateway in front of a fake engine."""
    opened = World(tmp_path_factory.mktemp("world"))
    try:
        opened.publish("v1")
        _promote(opened)
        yield opened
    finally:
        opened.stop()


def _promote(world: World) -> None:
    argv = [sys.executable, "-m", "driftwheel.cli.main", "promote", "v1", "--no-wait", "--config"]
    subprocess.run([*argv, str(world.config_path)], check=True, stdout=subprocess.DEVNULL)
    world.start()
    world.until(world.is_settled)


def test_the_readme_story_is_what_a_newcomer_can_type(started: Path) -> None:
    assert (started / "driftwheel.yaml").is_file()
    assert list((started / ".driftwheel" / "runs").glob("*/adapter*")) or list((started / ".driftwheel").glob("runs/*"))


@pytest.mark.parametrize("page", STORIES)
def test_the_lines_of_a_story_run(page: str, data: Path, started: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loop"
    shutil.copytree(data if page in SELF_STARTERS else started, folder, symlinks=True)
    for block in ALL:
        if block.page == page and block.kind == "story":
            run(block, folder, FEW_STEPS)


def test_the_lines_for_a_gateway_are_answered_by_it(world: World) -> None:
    body = json.dumps({"model": ALIAS, "messages": [{"role": "user", "content": "hello"}]}).encode()
    asked = Request(f"{world.url}/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
    with urlopen(asked, timeout=60) as response:
        environment = {**FEW_STEPS, "KEY": KEY, "REQUEST_ID": response.headers["x-request-id"]}
    before = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }'
    for block in ALL:
        if block.kind == "gateway":
            assert "localhost:8000" in block.text, f"{block.place} does not ask the gateway"
            text = block.text.replace("localhost:8000", world.url.removeprefix("http://"))
            moved = Block(page=block.page, line=block.line, kind=block.kind, reason="", text=text)
            run(moved, world.folder, environment, before)


def test_every_block_says_how_it_is_run() -> None:
    assert [b.place for b in ALL if b.kind and b.reason not in KINDS.get(b.kind, set())] == []
    plain = [(b.place, words) for b in ALL if not b.kind for words in b.commands if words not in ACTIVATIONS]
    assert [(place, words) for place, words in plain if words[0] != "make"] == [], "they need a comment `run: ...`"
    assert [(place, words) for place, words in plain if not is_make_target(words)] == []


def test_what_is_not_run_is_parsed_by_the_verbs_own_parser() -> None:
    parsed = [(b.place, words) for b in ALL if b.kind == "parse" for words in b.commands]
    assert [(place, words) for place, words in parsed if words[0] != "driftwheel"] == []
    assert [f"{place}: {problem}" for place, words in parsed if (problem := problem_of(words))] == []
    assert len(parsed) <= 40, "too much is only parsed"
    assert {b.reason for b in ALL if b.kind == "parse"} == set(PARSED_ONLY), "a reason that nothing needs goes"


def test_commands_of_other_programs_are_not_ours() -> None:
    skipped = [(b.place, words) for b in ALL if b.kind == "skip" for words in b.commands]
    assert [entry for entry in skipped if entry[1][0] in ("driftwheel", "make", "curl", "python")] == []
    assert len(skipped) <= 4


def test_extras_that_a_page_installs_are_there() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for block in (b for b in ALL if b.kind == "extras"):
        for words in block.commands:
            assert words[:3] == ["pip", "install", "-e"], block.place
            assert set(words[3].strip(".[]").split(",")) <= set(declared), block.place


def test_commands_in_sentences_are_real_ones() -> None:
    found = [
        (page.name, shlex.split(text, comments=True))
        for page in [*pages(), ROOT / "benchmarks" / "RESULTS.md"]
        for text in INLINE.findall(page.read_text(encoding="utf-8"))
    ]
    assert found
    assert [(name, words) for name, words in found if words[0] == "make" and not is_make_target(words)] == []
    assert [(name, words) for name, words in found if words[0] == "driftwheel" and not _is_begun_well(words)] == []


def _is_begun_well(words: list[str]) -> bool:
    """Say whether a sentence's command could go on: its parser misses nothing but arguments that must still come."""
    parser, rest = parser_of([word for word in words[1:] if word != "..."])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        parser.parse_args(rest)
    return not re.search("error: (?!the following arguments are required|say what to do)", said.getvalue())


def test_no_command_hides_in_an_indented_block() -> None:
    hidden = re.compile(r"^(    |\t)(driftwheel|make|curl|pip) ", re.MULTILINE)
    assert [page.name for page in pages() if hidden.search(page.read_text(encoding="utf-8"))] == []


def test_a_verb_that_does_not_exist_is_noticed() -> None:
    planted = "<!-- run: parse; engine -->\n```sh\ndriftwheel serve gateway\ndriftwheel monitor watch\n```\n"
    (block,) = blocks_in("planted.md", planted)
    assert [bool(problem_of(words)) for words in block.commands] == [True, True]
    assert not _is_begun_well(["driftwheel", "serve", "gateway"])
    assert not is_make_target(["make", "bench-nothing"])
