"""Benchmark: how fast bad canaries are rolled back and how often good ones are, simulated and through the gateway.

    python -m benchmarks.canary [--runs 1000] [--clean 4000] [--looks 100000] [--real 5]

Requests come at random (Poisson); the truth comes from the generator, never from the tests. The verdict is asked for
after every mishap, which is more often than the rollout does, and POLL_SECONDS are added for its delay.
"""

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from driftwheel.control import controls
from driftwheel.records.nouns import DeploymentStage
from driftwheel.settings.serving import ServeSettings
from serve.release.canary_rule import BUDGET, RATIOS, Action, Outcome, Tally, decide
from serve.release.reconciler import POLL_SECONDS
from tests.support.fake_world import World

SERVE = ServeSettings()
PER_SECOND, SHARE = 20.0, 0.1
LIVE_ERRORS, INVALID, DISLIKED = 0.01, 0.02, 0.02
"""What the live version, and a clean canary, does by chance."""
CHUNK = 2000
EVENTS = 500
"""Mishaps of each kind in a simulation of counts alone."""


def out_after(
    rng: np.random.Generator,
    seconds: float,
    *,
    errors: float = LIVE_ERRORS,
    slower: float = 1.0,
    per_second: float = PER_SECOND,
    share: float = SHARE,
) -> float | None:
    """Simulate one canary; return when it was rolled back, or None if it was not."""
    tally = Tally(SERVE.canary_slowdown)
    tally.begin(share)
    count = rng.poisson(per_second * seconds)
    times = np.sort(rng.uniform(0, seconds, count)).tolist()
    on_canary = (rng.random(count) < share).tolist()
    luck = rng.random((count, 3)).tolist()
    latencies = np.exp(rng.normal(-1, 0.7, count)).tolist()
    for number, (at, is_canary, (error, invalid, dislike), latency) in enumerate(
        zip(times, on_canary, luck, latencies, strict=True)
    ):
        before = sum(map(sum, tally.periods[0].mishaps.values()))
        outcome = Outcome(
            is_canary,
            str(number),
            error < (errors if is_canary else LIVE_ERRORS),
            latency * (slower if is_canary else 1.0),
            invalid >= INVALID,
        )
        tally.add(outcome)
        if dislike < DISLIKED:
            tally.dislike(outcome)
        if sum(map(sum, tally.periods[0].mishaps.values())) > before and is_rolled_back(tally):
            return float(at) + POLL_SECONDS
    return None


def is_rolled_back(tally: Tally) -> bool:
    """Ask the rollout's own question, with its default settings."""
    return (
        decide(
            tally.periods, seconds=0.0, false_rollback=SERVE.canary_false_rollback, min_requests=1, min_seconds=math.inf
        ).action
        is Action.ROLL_BACK
    )


def interval(count: int, of: int) -> str:
    """Return a count with Clopper and Pearson's 95 % interval."""
    low, high = binomtest(count, of).proportion_ci(0.95)
    return f"{count} of {of} = {count / of:.3%} [{low:.3%}, {high:.3%}]"


def bad(runs: int, seed: int) -> None:
    """Print how fast bad canaries are out."""
    kinds = {
        "crash (every request fails), 10 % of 20/s, within 5 s": (5.0, {"errors": 1.0}),
        "crash, 10 % of 50/s, within 5 s": (5.0, {"errors": 1.0, "per_second": 50.0}),
        "30 % errors, 10 % of 20/s, within 60 s": (60.0, {"errors": 0.3}),
        "5 % errors, 10 % of 20/s, within 600 s": (600.0, {"errors": 0.05}),
        "twice as slow, 10 % of 20/s, within 60 s": (60.0, {"slower": 2.0}),
    }
    for name, (limit, how) in kinds.items():
        rng = np.random.default_rng(seed)
        found = [out_after(rng, 3 * limit, **how) for _ in range(runs)]
        times = np.array([math.inf if at is None else at for at in found])
        in_time = int((times <= limit).sum())
        median, late = np.quantile(times, [0.5, 0.99], method="inverted_cdf")
        print(f"{name}: {interval(in_time, runs)}; out after {median:.1f} s (median), {late:.1f} s (99 %)", flush=True)


def clean(runs: int, seed: int, seconds: float = 180.0) -> None:
    """Print how often a clean canary is rolled back, request by request."""
    rng = np.random.default_rng(seed)
    wrong = sum(out_after(rng, seconds) is not None for _ in range(runs))
    print(f"clean, {seconds:.0f} s of 20/s each, looked at after every mishap: {interval(wrong, runs)}", flush=True)


def clean_counts(runs: int, seed: int) -> None:
    """Print how often clean canaries are rolled back within EVENTS mishaps of each kind, simulating counts alone."""
    rng, wrong = np.random.default_rng(seed), 0
    for done in range(0, runs, CHUNK):
        size = min(CHUNK, runs - done)
        is_out = np.zeros(size, bool)
        for budget in BUDGET.values():
            canary = np.cumsum(rng.random((size, EVENTS)) < SHARE, axis=1)
            live = np.arange(1, EVENTS + 1) - canary
            evidence = log_evidence_of(canary, live, SHARE)
            is_out |= (evidence >= -math.log(SERVE.canary_false_rollback * budget)).any(axis=1)
        wrong += int(is_out.sum())
    declared = SERVE.canary_false_rollback
    print(f"clean, {EVENTS} mishaps of each kind: {interval(wrong, runs)}; declared {declared:.3%}", flush=True)


def log_evidence_of(canary: "np.ndarray", live: "np.ndarray", share: float) -> "np.ndarray":
    """Return `serve.canary.log_evidence` for arrays of counts; a test holds the two together."""
    total = np.zeros(canary.shape)
    for weight, ratio in RATIOS:
        theta = 1.0 if math.isinf(ratio) else ratio * share / (ratio * share + 1 - share)
        rest = np.where(live > 0, 0.0, 1.0) if theta == 1.0 else ((1 - theta) / (1 - share)) ** live
        total += weight * rest * np.exp(np.minimum(canary * math.log(theta / share), 600.0))
    return np.log(total)


def real(runs: int) -> None:
    """Print how fast the gateway process takes a crashing canary out, and what its users got."""
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            try:
                seconds, answers, failed = one_crash(world)
            finally:
                world.stop()
        print(
            f"real crash {number + 1}: out {seconds:.1f} s after the canary began; {answers} answers to clients, "
            f"{failed} of them failed",
            flush=True,
        )


def one_crash(world: World) -> tuple[float, int, int]:
    """Serve a version that fails every request to 10 % of 20 requests a second."""
    world.publish("v1")
    world.publish("v2", fails_share=1.0)
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start()
    world.until(world.is_settled)
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[SHARE])
    world.until(lambda: world.stages().get("v2") is DeploymentStage.CANARY)
    began_at = time.monotonic()
    answers = asyncio.run(world.load(PER_SECOND, 30, lambda: world.alias().observed_error is not None))
    return time.monotonic() - began_at, len(answers), sum(answer.status != 200 for answer in answers)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("runs", 1000), ("clean", 4000), ("looks", 100_000), ("real", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args(argv)
    print(f"seed {arguments.seed}, declared chance of a false rollback {SERVE.canary_false_rollback}")
    bad(arguments.runs, arguments.seed)
    clean_counts(arguments.looks, arguments.seed)
    clean(arguments.clean, arguments.seed)
    real(arguments.real)


if __name__ == "__main__":
    main()
