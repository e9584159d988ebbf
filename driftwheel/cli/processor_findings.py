"""What the doctor says of the processor: its extensions, and the number type and threads that were measured here."""

from importlib.metadata import PackageNotFoundError

from driftwheel.cli.finding import Finding
from driftwheel.machine.processor import core_count, this_processor
from driftwheel.machine.training_speed import kept_path, kept_speeds, machine_key
from driftwheel.settings.settings import Settings


def processor_findings(settings: Settings | None, *, has_gpu: bool) -> list[Finding]:
    """Return the processor's line, and where it trains the line of what was measured of it."""
    found = this_processor()
    extensions = ", ".join(found.extensions) or "no extension that makes products fast"
    line = Finding("processor", True, f"{found.name}, {core_count()} cores: {extensions}")
    return [line] if has_gpu else [line, Finding("training speed", True, _speed(settings), ("train",))]


def _speed(settings: Settings | None) -> str:
    """Say what was measured of number types and threads, which only a process with torch in it can do."""
    try:
        known = kept_speeds().get(machine_key())
    except PackageNotFoundError:
        return "is measured where torch is installed"
    told = "not measured yet: the first training does it, or `driftwheel doctor --model NAME`"
    if known is not None:
        told = f"{known.told} (remove {kept_path()} to measure again)"
    is_set = settings is not None and settings.train.bf16 is not None
    return f"train.bf16 is set to {str(settings.train.bf16).lower()}; {told}" if settings and is_set else told
