"""What the doctor says of the GPUs: driver, builds, free memory and who holds the rest, kernels of each scheme."""

from driftwheel.cli.finding import Finding
from driftwheel.machine.accelerator import Accelerator, Gpu, GpuProcess
from driftwheel.quantization import AUTO, SCHEMES, scheme_of, usable_schemes
from driftwheel.settings.artifact import QuantizeSettings

GIB = 1 << 30
COMPUTING = ("train", "serve")


def gpu_findings(quantize: QuantizeSettings, found: Accelerator) -> list[Finding]:
    """Return the lines on what there is to compute on; one line where there is no sign of a GPU."""
    if not found.gpus and not found.problems():
        return [Finding("gpu", True, f"none: CPU engine, {scheme_of(AUTO, has_gpu=False).name}, small models")]
    lines = [Finding("gpu", bool(gpu.total_bytes), _gpu(gpu), COMPUTING) for gpu in found.gpus]
    lines += [Finding("gpu builds", False, problem, COMPUTING) for problem in found.problems()]
    if found.driver:
        cuda = ".".join(map(str, found.cuda)) if found.cuda else "unknown"
        lines.append(Finding("gpu driver", True, f"{found.driver}, runs CUDA up to {cuda}"))
    lines += [Finding("gpu memory", True, _holder(process, found)) for process in found.processes]
    if found.has_gpu:
        lines.append(_kernels(quantize, found))
        if len(found.gpus) > 1:
            lines.append(Finding("gpus", True, f"train.num_processes {len(found.gpus)} trains on all"))
    elif found.gpus and not found.problems():
        lines.append(
            Finding("gpu builds", False, "a GPU is there and the CPU's builds are installed: `make setup-gpu`")
        )
    return lines


def _gpu(gpu: Gpu) -> str:
    if not gpu.total_bytes:
        return f"device {gpu.index} is there and says nothing of its memory"
    capability = ".".join(map(str, gpu.capability)) if gpu.capability else "unknown"
    free, total = gpu.free_bytes / GIB, gpu.total_bytes / GIB
    return f"{gpu.index}: {gpu.name}, {free:.0f} of {total:.0f} GiB free, compute capability {capability}"


def _holder(process: GpuProcess, found: Accelerator) -> str:
    index = next(gpu.index for gpu in found.gpus if gpu.uuid == process.uuid)
    held = "an unknown part" if process.used_bytes is None else f"{process.used_bytes / GIB:.1f} GiB"
    return f"{held} of GPU {index} is held by process {process.process_id} ({process.name})"


def _kernels(quantize: QuantizeSettings, found: Accelerator) -> Finding:
    """Say which schemes vLLM serves with kernels of their own here, and whether the chosen one is among them."""
    usable = usable_schemes(found.capability, frozenset())
    chosen = scheme_of(quantize.scheme, has_gpu=True)
    name = chosen.kernels_of or chosen.name
    lacking = [scheme.name for scheme in SCHEMES.values() if (scheme.kernels_of or scheme.name) not in usable]
    text = f"{', '.join(usable)}" + (f"; without kernels here: {', '.join(lacking)}" if lacking else "")
    if name in usable:
        return Finding("gpu kernels", True, f"{text}; quantize.scheme is {chosen.name}")
    advice = f"quantize.scheme {chosen.name} has no kernels on this GPU: set it to {usable[0]}"
    return Finding("gpu kernels", False, f"{text}; {advice}", ("serve",))
