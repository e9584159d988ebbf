"""Versions are swapped under streamed load on real vLLM: does any client lose an answer, or get one of another version?

    python -m tests.suites.swaps [--ways adapter blue_green in_place] [--adapter-swaps 100] [--other-swaps 5]

Who answered is decided by the answer itself (tests/support/real_world.py) and held against the gateway's header, the
engine's own word and the row in the ledger.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from driftwheel.control import controls
from tests.support.real_world import Known, RealWorld, Streamed, ask_directly
from tests.support.tiny_models import build_tiny_adapter, build_tiny_model

ADAPTERS, MODELS = 8, 2
PAUSE_SECONDS = 0.7
"""Between two swaps, so that each version answers some requests."""
LIMIT_SECONDS = 2.0
SETTINGS: dict[str, dict[str, Any]] = {
    "adapter": {},
    "blue_green": {"swap": "blue_green", "keep_warm_seconds": 0},
    "in_place": {"swap": "in_place"},
}


def make_artifacts(folder: Path, way: str) -> dict[str, Path]:
    """Write the artifacts that one way swaps between, each with an answer of its own to every question."""
    if way == "adapter":
        base = build_tiny_model(folder / "base", 0, "float32")
        return {f"v{n}": build_tiny_adapter(folder / f"v{n}", base, n, "float32") for n in range(ADAPTERS)}
    return {f"v{n}": build_tiny_model(folder / f"v{n}", n, "float32") for n in range(MODELS)}


def make_world(folder: Path, way: str, artifacts: dict[str, Path], known: dict[str, Known]) -> RealWorld:
    """Publish the versions, and start a gateway with the first one live."""
    world = RealWorld(folder, SETTINGS[way])
    world.publish_known(artifacts, known)
    controls.promote(world.ledger, world.settings.alias_key, "v0")
    world.start_settled()
    return world


def swap_under_load(world: RealWorld, swaps: int, per_second: float) -> tuple[list[Streamed], list[tuple[str, float]]]:
    """Swap from version to version while clients stream; return the answers, and each swap's version and start."""
    began: list[tuple[str, float]] = []
    is_over, failed = threading.Event(), []

    def run() -> None:
        try:
            time.sleep(PAUSE_SECONDS)
            for number in range(1, swaps + 1):
                version_id = f"v{number % len(world.known)}"
                began.append((version_id, world.swap(version_id)))
                if error := world.alias().observed_error:
                    failed.append(f"{version_id}: {error}")
                time.sleep(PAUSE_SECONDS)
        finally:
            is_over.set()

    thread = threading.Thread(target=run)
    thread.start()
    answers = asyncio.run(world.stream(per_second, is_over.is_set))
    thread.join()
    if failed or len(began) < swaps:
        raise SystemExit(f"{len(began)} of {swaps} swaps, refused: {failed}")
    return answers, began


def first_answers(answers: Sequence[Streamed], began: Sequence[tuple[str, float]]) -> tuple[list[float], list[float]]:
    """Return for each swap the seconds from the command to its version's first token and first whole answer."""
    first_token, first_answer = [], []
    ends = [at for _, at in began[1:]] + [float("inf")]
    for (version_id, at), end in zip(began, ends, strict=True):
        of_version = [a for a in answers if a.version_id == version_id and a.is_whole and at <= a.first_token_at < end]
        first_token.append(min((a.first_token_at for a in of_version), default=float("inf")) - at)
        first_answer.append(min((a.ended_at for a in of_version), default=float("inf")) - at)
    return first_token, first_answer


def measure(way: str, swaps: int, per_second: float, artifacts: dict[str, Path], known: dict[str, Known]) -> bool:
    """Run one way to swap and print what came of it; say whether its bar was met."""
    with tempfile.TemporaryDirectory(prefix="swaps-") as folder:
        world = make_world(Path(folder), way, artifacts, known)
        try:
            faults, median_seconds = measure_world(world, way, swaps, per_second)
        finally:
            world.stop()
    return not faults and (way != "adapter" or median_seconds <= LIMIT_SECONDS)


def measure_world(world: RealWorld, way: str, swaps: int, per_second: float) -> tuple[list[str], float]:
    """Swap and print what came of it; return what was wrong, and the median seconds to the first whole answer."""
    answers, began = swap_under_load(world, swaps, per_second)
    faults = world.faults_of(answers)
    log_text = world.log_path.read_text()
    seconds = max(a.ended_at for a in answers) - min(a.asked_at for a in answers)
    token, whole = first_answers(answers, began)
    bound = binomtest(len(faults), len(answers)).proportion_ci(0.95, method="exact").high
    ready = log_text.count("engine ready"), log_text.count("weights reloaded")
    say(f"{way}: {swaps} swaps in {seconds:.0f} s; {ready[0]} engines or slots made ready, {ready[1]} reloads")
    say(
        f"  {len(answers)} streamed answers, {len(answers) / seconds:.1f} a second: {len(faults)} failed, cut off or "
        f"of another version than said (at most {bound:.2%})"
    )
    for fault in faults[:5]:
        say(f"    {fault}")
    say(f"  from the command to the first token {spread(token)} s, to the first whole answer {spread(whole)} s")
    say(f"  an answer took {spread([a.ended_at - a.asked_at for a in answers])} s")
    return faults, float(np.median(whole))


def spread(seconds: Sequence[float]) -> str:
    """Return median, 95 % quantile and maximum."""
    found = np.asarray(seconds)
    return f"{np.median(found):.2f} (95 %: {np.quantile(found, 0.95):.2f}, most {found.max():.2f})"


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and exit 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=[*SETTINGS], default=[*SETTINGS])
    parser.add_argument("--adapter-swaps", type=int, default=100)
    parser.add_argument("--other-swaps", type=int, default=5)
    parser.add_argument("--per-second", type=float, default=20.0)
    arguments = parser.parse_args()
    counts = {way: arguments.adapter_swaps if way == "adapter" else arguments.other_swaps for way in arguments.ways}
    results = []
    for ways in (["adapter"], ["blue_green", "in_place"]):
        if chosen := [way for way in ways if way in counts]:
            with tempfile.TemporaryDirectory(prefix="models-") as folder:
                artifacts = make_artifacts(Path(folder), chosen[0])
                asking = RealWorld(Path(folder) / "asking")
                known = ask_directly(asking.settings, artifacts)
                asking.stop()
                results += [measure(way, counts[way], arguments.per_second, artifacts, known) for way in chosen]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
