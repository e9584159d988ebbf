"""Every benchmark and every suite runs in a short form, so that none rots; what it prints is read, its speed is not."""

import csv
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.support.world import messages

ROOT = Path(__file__).resolve().parents[2]
COUNT = r"([\d,]+)"


@dataclass(frozen=True)
class Short:
    """The options of a short form, and patterns that its output must hold."""

    options: str
    says: tuple[str, ...]


SHORT = {
    "benchmarks.canary": Short(
        "--runs 2 --clean 1 --looks 500 --real 1",
        (
            r"crash \(every request fails\).*: [012] of 2 = ",
            r"500 mishaps of each kind: \d+ of 500 = ",
            r"clean, 180 s .*: [01] of 1 = ",
            r"real crash 1: out \d+\.\d s .*; [1-9]\d* answers to clients, 0 of them failed",
        ),
    ),
    "benchmarks.gate": Short(
        "--loops 4",
        (
            r"one test set:\n  better on the same items +[0-4] of 4: ",
            r"look +2: 95 % interval [0-4] of 4: ",
            r"by calculation [78]\d\.\d%",
            r"all gains: better on the same items \d+ of 24: ",
        ),
    ),
    "benchmarks.gate_of_grades": Short(
        "--loops 3 --prompts 40",
        (
            r"chrF, equal:\n  a better mean +[0-3] of 3: ",
            r"judge, rare losses:(\n  .*){5}\n  the gate  +0 of 3: ",
            r"chrF, [\d,]+ items: [0-3] of 3: ",
            r"slice of 200 items, the gate +blocks [0-2] of 2: ",
        ),
    ),
    "benchmarks.gateway": Short(
        "--only direct driftwheel --rounds 1 --seconds 0.2 --home {home}",
        (
            r"driftwheel answers, [1-9]\d* MiB",
            r"driftwheel +│ +[1-9][\d,]*\.\d │ +- │ +[1-9][\d,]* │ +\d+\.\d\d │ +\d+\.\d\d │ +0 │\n",
            r"driftwheel +│ +[1-9]\d*\.\d │ +- │ +[1-9]\d* │( +\d+\.\d\d │){2} +0 │( +\d+\.\d\d │){3}\n",
        ),
    ),
    "benchmarks.drift": Short(
        "--streams 1 --steady 2 --only sentence",
        (
            r"answers: a sentence added to all +│ \d +│ 1 +│ 1 of 1 +│ 0 +│ yes +│",
            r"80% +│ 0 of 2 +│ 0\.0% to 65\.8% +│",
        ),
    ),
    "benchmarks.quality": Short(
        "--streams 2",
        (
            r"all labelled, at once +│ retrain +│ accuracy +│ [012] +│",
            r"steady, corrections only +│ nothing +│ no accuracy +│ [012] +│",
        ),
    ),
    "benchmarks.leaks": Short(
        "--data {data} --rows 60 --share 0.05 --show 1",
        (
            r"Banking77",
            r"exact +│ +[1-9]\d* +│ +100\.0% ",
            r"driftwheel: of 60 unplanted rows \d+ are flagged",
            r"MinHash: of 60 unplanted rows \d+ are flagged",
        ),
    ),
    "benchmarks.near_duplicates": Short(
        "--data {data} --rows 400 --planted 40",
        (
            r"\d+ rows of \d+ characters: \d+ s, \d+ s of CPU, \d\.\d\d GiB, [1-9]\d* clusters; load ",
            r"near duplicates found: [1-9]\d* of \d+; prefixes: [1-9]\d* of \d+",
        ),
    ),
    "benchmarks.memory": Short(
        "--sizes 3M --methods lora",
        (
            r"\n3M +lora +[1-9]\d* +\d+ +\d+ +\d+ +[1-9][\d,]* +[1-9][\d,]* +[01]\.\d\d\n",
            r"estimate / measured: .* over 1 trainings",
        ),
    ),
    "benchmarks.distributed": Short(
        "--steps 2 --ways replicated --home {home}",
        (
            r"1 process +│ +\d+\.\d{6} ",
            r"2 gloo, replicated +│ +\d+\.\d{6} +│ +\d\.\de[-+]\d\d",
            r"largest difference of any logged loss: \d\.\de[-+]\d\d",
        ),
    ),
    "benchmarks.training": Short(
        "--model-size 1m --rows 16 --rounds 1 --only trl-packed driftwheel products --data {data} --home {home}",
        (
            r"│ trl-packed +│ +[1-9][\d,]* \(.*│ +1\.00 .*│ +\d+\.\d{4} +│",
            r"│ driftwheel +│ +[1-9][\d,]* \(.*│ +\d+\.\d{4} +│",
            r"│ products +│ +[1-9][\d,]* \(",
        ),
    ),
    "benchmarks.equal_steps": Short(
        "--seeds 1 --steps 2 --rows 64 --base-steps 2 --only support --data {data} --home {home}",
        (
            r"support, seed 0: plain TRL \d\.\d{4}, driftwheel \d\.\d{4}",
            r"│ support +│ \d\.\d{4} \(.*│ \d\.\d{4} \(.*│ \d\.\d{3} \[0\.000, inf\] +│ +\d+\.\d +│ +\d+\.\d +│",
        ),
    ),
    "tests.suites.attack": Short(
        "--share 0.01 --idle-seconds 1 --only huge_headers",
        (
            r"huge_headers +1 +closed after at most +\d+\.\d s  \{'(431|503|closed)': 1\}",
            r"memory grew by \d+\.\d MB",
            r"good client, attack: +[1-9]\d* requests, p50 \d+\.\d\d ms",
            r"good requests that failed: 0\n",
        ),
    ),
    "tests.suites.auth": Short(
        "--count 200",
        (r"200 requests in \d+ s: [1-9]\d* that must be refused, [1-9]\d* that must not", r"bypasses 0 "),
    ),
    "benchmarks.real_model": Short(
        "--data {data} --home {home} --random --no-engine --steps 2 --rows 200",
        (
            r"merged +accuracy \d+\.\d%, \d+ of \d+ answers as trained .*, reading twice \d+\.\d% and",
            r"quantized +accuracy \d+\.\d%, \d+ of \d+ answers as merged",
            r"most memory of a process so far: \d+\.\d\d GiB",
        ),
    ),
    "benchmarks.dashboard": Short(
        "--rows 1000 --long 2 --runs 1",
        (
            *(
                rf"{name} +│ +\d+\.\d\d +│ +\d+\.\d{{3}} +│ +[\d,]+ +│"
                for name in ("overview, shared", "traffic", "label")
            ),
            r"a word that nobody has +│ +\d+\.\d{3} +│",
        ),
    ),
    "benchmarks.watching": Short(
        "--short 1000 --long 2000 --looks 2",
        tuple(rf"{name} +│ +\d+\.\d +│ +\d+\.\d +│ +\d+\.\d\d +│" for name in ("idle", "full", "scrape")),
    ),
}
"""What runs here, by its command line."""

ELSEWHERE = {
    "benchmarks.banking77": "tests/benchmarks/test_banking77.py",
    "benchmarks.contestant": "benchmarks/training.py",
    "benchmarks.gateways.client": "benchmarks/gateway.py",
    "benchmarks.gateways.upstream": "benchmarks/gateway.py",
    "benchmarks.label_schemes": "tests/unit/train/data/live/test_label_odds.py",
    "benchmarks.matrix_products": "benchmarks/training.py",
    "benchmarks.parity": "tests/integration/test_serving_benchmarks.py",
    "benchmarks.pretrained": "benchmarks/real_model.py",
    "benchmarks.quantization": "tests/integration/test_serving_benchmarks.py",
    "tests.suites.alias_races": "tests/unit/serve/test_faults_process.py",
    "tests.suites.chaos": "tests/integration/test_chaos.py",
    "tests.suites.dashboard_races": "tests/browser/test_races.py",
    "tests.suites.differential": "tests/integration/test_serving.py",
    "tests.suites.disk_full": "tests/integration/test_durability.py",
    "tests.suites.durability": "tests/integration/test_durability.py",
    "tests.suites.engine_faults": "tests/unit/serve/test_faults_process.py",
    "tests.suites.hostile": "tests/unit/serve/test_hostile.py",
    "tests.suites.poisoning": "tests/unit/train/data/test_poisoning.py",
    "tests.suites.power_cuts": "tests/integration/test_durability.py",
    "tests.suites.rollout_crashes": "tests/unit/serve/test_faults_process.py",
    "tests.suites.several_gateways": "tests/integration/test_several_gateways.py",
    "tests.suites.soak": "tests/integration/test_soak.py",
    "tests.suites.swaps": "tests/integration/test_real_swaps.py",
    "tests.suites.wrong_artifacts": "tests/integration/test_real_swaps.py",
}
"""What runs as a part of another test, because it shares a server, or of another benchmark: the file that runs it."""

MISSES_A_BAR_AT_TIMES = {"tests.suites.attack", "benchmarks.distributed"}
"""Their exit code says that a bar was missed, and a bar on time may be, on a machine that does more than this."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the shape of Banking77, with rows of the example's."""
    folder = tmp_path_factory.mktemp("banking77")
    for name, count, seed in (("train", 300, 1), ("test", 60, 2)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [(e.text, e.intent) for e in messages(count, seed, "steady")]
            csv.writer(file).writerows([("text", "category"), *rows])
    return folder


@pytest.mark.parametrize("module", SHORT)
def test_a_short_form_runs_and_says_what_it_found(module: str, data: Path, tmp_path: Path) -> None:
    short = SHORT[module]
    options = short.options.format(data=data, home=tmp_path / "home").split()
    argv = [sys.executable, "-m", module, *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    printed = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0 or (module in MISSES_A_BAR_AT_TIMES and done.returncode == 1), printed
    assert "Traceback" not in done.stderr, printed
    for pattern in short.says:
        assert re.search(pattern, done.stdout), f"{pattern!r} is not in {printed}"


def test_no_benchmark_and_no_suite_is_without_a_short_form() -> None:
    files = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests" / "suites").rglob("*.py")]
    programs = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in files
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert programs == {*SHORT, *ELSEWHERE}
    assert not SHORT.keys() & ELSEWHERE.keys()


def test_papers_name_only_benchmarks_and_suites_that_exist() -> None:
    papers = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "RESULTS.md"]
    current = [path for path in papers if path.name != "CHANGELOG.md" and path.parent.name != "decisions"]
    folders = {"bench": "benchmarks", "suite": "tests.suites"}
    named = re.compile(r"\b(bench|suite)-([a-z_0-9]+)")
    found = {
        f"{folders[kind]}.{name}" for path in current for kind, name in named.findall(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 20
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    of_several = {f"benchmarks.{name}" for name in re.findall(r"^bench-(\w+):", makefile, re.MULTILINE)}
    assert found - {*SHORT, *ELSEWHERE} - of_several == set()


@pytest.mark.parametrize("module", ELSEWHERE)
def test_what_runs_elsewhere_is_named_there(module: str) -> None:
    text = (ROOT / ELSEWHERE[module]).read_text(encoding="utf-8")
    name = module.rpartition(".")[2]
    assert re.search(rf"\b{re.escape(module)}\b|import [\w, ]*\b{name}\b|\"{name}\"", text)
