"""systemd takes the units without a word, and finds them well enough shut off."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.absent import absent
from tests.support.deployed import problem_of_command

ROOT = Path(__file__).resolve().parents[3]
UNITS = {"driftwheel.service": "up", "driftwheel@.service": "%i"}
"""Each unit, and the verb that it runs."""
PROGRAM = "/opt/driftwheel/.venv/bin/driftwheel"
MOST_EXPOSURE = 40
"""Tenths of systemd's own points, of 100; an unit without any of these settings has 96."""


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit with a program that is on this machine, which systemd looks for."""
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze", install="Debian's package systemd")
    name: str = request.param
    text = (ROOT / "deploy" / "systemd" / name).read_text(encoding="utf-8")
    assert f"ExecStart={PROGRAM} {UNITS[name]}\n" in text
    path = tmp_path / name
    path.write_text(text.replace(PROGRAM, "/bin/true"), encoding="utf-8")
    return path


def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def test_the_unit_has_no_word_that_systemd_does_not_know(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome", "ProtectHouse"), encoding="utf-8")
    assert "ProtectHouse" in analyze("verify", str(unit)).stderr, "else this test could not fail"


def test_what_was_measured_is_kept_where_the_service_may_write(unit: Path) -> None:
    lines = unit.read_text(encoding="utf-8").splitlines()
    assert {"ProtectHome=yes", "CacheDirectory=driftwheel", "Environment=XDG_CACHE_HOME=/var/cache/driftwheel"} <= {
        *lines
    }


def test_the_service_can_reach_little_of_the_machine(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout[-500:]


def test_a_part_is_started_by_its_verb_and_shut_off_like_the_whole() -> None:
    whole, part = ((ROOT / "deploy" / "systemd" / name).read_text(encoding="utf-8") for name in UNITS)
    instances = re.findall(r"driftwheel@(\w+)", part)
    assert set(instances) == {"serve", "worker", "monitor", "dashboard"}
    assert [problem for verb in instances if (problem := problem_of_command([verb]))] == []
    settings = [
        {
            line
            for line in text.split("[Service]")[1].splitlines()
            if "=" in line and line[0] not in "#" and "Exec" not in line
        }
        for text in (whole, part)
    ]
    assert settings[0] == settings[1]
