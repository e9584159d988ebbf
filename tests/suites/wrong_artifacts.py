"""Wrong artifacts are promoted under load on real vLLM: is each one stopped before a user meets it, and by what?

    python -m tests.suites.wrong_artifacts [--adapters-only] [--only NAME ...]

Each claims the fingerprint of the right one, as a mixed-up build would, and has a manifest that fits its bytes unless
the fault is that it does not.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from driftwheel.control import controls
from driftwheel.files import artifacts
from driftwheel.records.probe_answers import Fingerprint
from tests.support.edited_builds import edit_json, edit_tensors, manifest_json, rebuild
from tests.support.real_world import RealWorld, ask_directly
from tests.support.tiny_models import build_tiny_adapter, build_tiny_model

WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
PER_SECOND = 5.0


@dataclass(frozen=True)
class Fault:
    """What is planted, and a word of the only message that names it rightly."""

    name: str
    plant: Callable[[Path], None]
    words: str
    is_adapter: bool = True
    is_late: bool = False
    """Planted after the version was recorded."""


def _tensors(change: Callable[[dict[str, Any]], Any], file: str = ADAPTER_WEIGHTS) -> Callable[[Path], None]:
    return lambda folder: rebuild(folder, edit_tensors(change, file))


def _json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: rebuild(folder, edit_json(name, change))


def _of_another_run(folder: Path) -> None:
    manifest = manifest_json(folder)
    build_tiny_adapter(folder, Path(manifest["base_model"]), 77, manifest["dtype"])


def _other_names(tensors: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[name.replace("model.model.layers", "model.model.decoder.layers")] = tensors.pop(name)


def _swapped_factors(tensors: dict[str, Any]) -> None:
    """Transpose the change of each square layer: what it adds to its output, it should have read."""
    for name in [name for name in tensors if "lora_A" in name]:
        other = name.replace("lora_A", "lora_B")
        if tensors[name].shape[1] == tensors[other].shape[0]:
            tensors[name], tensors[other] = tensors[other].T, tensors[name].T


def _one_layer_lost(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if ".layers.0." in name]:
        del tensors[name]


def _no_numbers(tensors: dict[str, Any]) -> None:
    for tensor in tensors.values():
        tensor.fill_(float("nan"))


def _truncated(folder: Path) -> None:
    def cut(aside: Path) -> None:
        content = (aside / ADAPTER_WEIGHTS).read_bytes()
        (aside / ADAPTER_WEIGHTS).write_bytes(content[: len(content) // 2])

    rebuild(folder, cut)


def _one_byte(folder: Path) -> None:
    path = folder / ADAPTER_WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def _other_base(folder: Path) -> None:
    manifest = manifest_json(folder)
    other = build_tiny_model(folder.with_name("other-base"), 9, manifest["dtype"])
    facts = {"base_model": str(other), "base_identity": artifacts.read_manifest(other).content_hash}
    artifacts.write_json(folder / artifacts.MANIFEST, manifest | facts)


def _other_model(folder: Path) -> None:
    build_tiny_model(folder, 9, "float32")


def _transposed(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.self_attn.q_proj.weight"] = tensors["model.layers.0.self_attn.q_proj.weight"].T


def _overflow(tensors: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        factor = 1e7 if "up_proj" in name else 1e-7 if "down_proj" in name else 1.0
        tensors[name] = (tensor * factor).half()


def _half_overflow(folder: Path) -> None:
    _tensors(_overflow, WEIGHTS)(folder)
    _json("config.json", lambda content: content.update(dtype="float16"))(folder)


def _swapped_ids(content: dict[str, Any]) -> None:
    vocabulary = content["model"]["vocab"]
    order = sorted(vocabulary, key=lambda token: int(vocabulary[token]))
    for first, second in zip(order[300:400:2], order[301:400:2], strict=True):
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


def _other_template(folder: Path) -> None:
    def change(aside: Path) -> None:
        path = aside / "chat_template.jinja"
        path.write_text(path.read_text(encoding="utf-8").replace("<|im_start|>assistant", "assistant"), "utf-8")

    rebuild(folder, change)


WRONG = "not the model that was judged"
FAULTS = (
    Fault("adapter of another run", _of_another_run, WRONG),
    Fault("adapter with other module names", _tensors(_other_names), "answers as its base does"),
    Fault(
        "adapter with half its alpha",
        _json("adapter_config.json", lambda content: content.update(lora_alpha=content["lora_alpha"] // 2)),
        WRONG,
    ),
    Fault("adapter with its factors transposed", _tensors(_swapped_factors), WRONG),
    Fault("adapter without its first layer", _tensors(_one_layer_lost), WRONG),
    Fault("adapter of NaN", _tensors(_no_numbers), "gives no token"),
    Fault("adapter truncated", _truncated, "refused"),
    Fault(
        "adapter of a greater rank than it says",
        _json("adapter_config.json", lambda content: content.update(r=64)),
        "refused",
    ),
    Fault("folder built again after publication", _of_another_run, "holds another artifact", is_late=True),
    Fault("one byte changed after publication", _one_byte, "does not match its manifest", is_late=True),
    Fault("adapter on another base", _other_base, WRONG),
    Fault("another model of the same shape", _other_model, WRONG, is_adapter=False),
    Fault("one square weight transposed", _tensors(_transposed, WEIGHTS), WRONG, is_adapter=False),
    Fault("float16 overflow", _half_overflow, "gave no token", is_adapter=False),
    Fault(
        "fifty pairs of token ids swapped", _json("tokenizer.json", _swapped_ids), "as other tokens", is_adapter=False
    ),
    Fault("other chat template", _other_template, "as other tokens", is_adapter=False),
)


def make_world(folder: Path, start_timeout_seconds: float = 120) -> tuple[RealWorld, Path, Path]:
    """Return a loop with an adapter live, and the right artifacts: an adapter that is not live, and a whole model."""
    world = RealWorld(folder, {"start_timeout_seconds": start_timeout_seconds})
    base = build_tiny_model(folder / "base", 0, "float32")
    paths = {f"v{n}": build_tiny_adapter(folder / f"v{n}", base, n, "float32") for n in range(2)}
    world.publish_known(paths, ask_directly(world.settings, paths))
    controls.promote(world.ledger, world.settings.alias_key, "v0")
    world.start_settled()
    return world, paths["v1"], base


def try_fault(world: RealWorld, number: int, fault: Fault, right: Path) -> tuple[str, float, int]:
    """Promote one wrong artifact under load; return what is wrong with its end, its seconds, and the answers given."""
    folder = world.folder / f"wrong-{number}"
    shutil.copytree(right, folder)
    fingerprint = world.known["v1"].fingerprint
    if not fault.is_adapter:
        fingerprint = Fingerprint(probes=fingerprint.base_probes or ())
    if not fault.is_late:
        fault.plant(folder)
    world.record(f"wrong-{number}", folder, fingerprint)
    if fault.is_late:
        fault.plant(folder)
    began_at = time.monotonic()
    controls.promote(world.ledger, world.settings.alias_key, f"wrong-{number}")
    answers = asyncio.run(world.stream(PER_SECOND, lambda: time.monotonic() > began_at + 0.5 and world.is_settled()))
    seconds = time.monotonic() - began_at
    alias = world.alias()
    met = [a for a in answers if a.version_id != "v0"]
    if alias.observed_version_id != "v0" or met:
        return f"{alias.observed_version_id} serves, {len(met)} answers are its own", seconds, len(answers)
    if found := world.faults_of(answers):
        return f"stopped, but {found[0]}", seconds, len(answers)
    said = str(alias.observed_error)
    return ("" if fault.words in said else f"was stopped by: {said}"), seconds, len(answers)


def main() -> None:
    """Try every fault and exit 1 if one was met by a user or stopped for another reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters-only", action="store_true", help="only those for which no engine must start")
    parser.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS], metavar="NAME", help="these")
    arguments = parser.parse_args()
    chosen = [fault for fault in FAULTS if fault.name in (arguments.only or [fault.name])]
    chosen = [fault for fault in chosen if fault.is_adapter or not arguments.adapters_only]
    stopped = 0
    with tempfile.TemporaryDirectory(prefix="wrong-") as folder:
        world, adapter, base = make_world(Path(folder))
        try:
            for number, fault in enumerate(chosen):
                complaint, seconds, answers = try_fault(world, number, fault, adapter if fault.is_adapter else base)
                stopped += not complaint
                state = complaint or f"stopped after {seconds:.1f} s: {fault.words!r}; {answers} answers, all by v0"
                sys.stdout.write(f"{fault.name:<42} {state}\n")
                sys.stdout.flush()
        finally:
            world.stop()
    low = binomtest(stopped, len(chosen)).proportion_ci(0.95, method="exact").low
    sys.stdout.write(
        f"{stopped} of {len(chosen)} stopped before a user met them, with the reason named (at least {low:.0%})\n"
    )
    sys.exit(stopped < len(chosen))


if __name__ == "__main__":
    main()
