"""The gateway dies at each named point of a swap, as by a power cut: what is served after the restart?

    python -m tests.suites.rollout_crashes [--times 10] [--point "before flip"]

A swap from v1 through a canary to v2 is cut by SIGKILL at a point of `tests.support.fake_gateway.POINTS`; the gateway
is started again. Within 30 s every client must get one version, the rows must name that one as live and no other as
unfinished, and the loop must go on: here to v2, because nothing is wrong with it.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import binomtest

from driftwheel.control import controls
from driftwheel.records.nouns import Deployment, DeploymentStage
from tests.support.fake_gateway import POINTS
from tests.support.fake_world import World

LIMIT_SECONDS = 120.0
SERVE = {"canary_seconds": 0.5, "canary_min_requests": 1, "keep_warm_seconds": 3600}
FINISHED = (DeploymentStage.RETIRED, DeploymentStage.SHADOW)


def crash(world: World, point: str, rng: random.Random) -> tuple[float, str]:
    """Cut one swap at a point; return the seconds from the restart until one version serves, and what is wrong."""
    world.publish("v1")
    world.publish("v2")
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start()
    world.until(world.is_settled)
    assert world.process is not None
    world.process.terminate()
    world.process.wait(60)
    # Steps of v1's own start come first in the process that is to die; the second call is the swap's.
    count = 2 if "canary" not in point and "share" not in point and "drain" not in point else 1
    controls.promote(world.ledger, world.settings.alias_key, "v1")
    world.start(crash_at=f"{point}:{count}")
    world.until(lambda: world.stages().get("v1") is DeploymentStage.LIVE)
    world.until(world.is_settled)
    time.sleep(rng.uniform(0, 0.3))
    controls.promote(world.ledger, world.settings.alias_key, "v2", canary_shares=[0.5])
    asyncio.run(world.load(20, 120, lambda: world.process is None or world.process.poll() is not None))
    if world.process.poll() is None:
        return 0.0, f"never came to {point!r}"
    world.start()
    began_at, fault = time.monotonic(), "never asked"
    while time.monotonic() - began_at < LIMIT_SECONDS and fault:
        asyncio.run(world.load(20, 0.3))  # a canary goes on only with requests
        fault = wrong_with(world)
    return time.monotonic() - began_at, fault


def wrong_with(world: World) -> str:
    """Say what does not fit between rows and answers, or nothing."""
    alias = world.alias()
    live = [row.version_id for row in world.ledger.find(Deployment, stage=DeploymentStage.LIVE.value)]
    answers = asyncio.run(world.load(20, 0.5))
    served = {answer.version_id for answer in answers if answer.status == 200}
    if {answer.status for answer in answers} != {200}:
        return f"clients got {sorted({answer.status for answer in answers})}"
    unfinished = {v: stage for v, stage in world.stages().items() if stage not in (DeploymentStage.LIVE, *FINISHED)}
    if unfinished:
        return f"unfinished {unfinished}"
    if live != [alias.version_id] or served != {alias.version_id} or alias.observed_version_id != alias.version_id:
        return f"desired {alias.version_id}, observed {alias.observed_version_id}, live rows {live}, served {served}"
    return ""


def main(argv: Sequence[str] | None = None) -> None:
    """Cut, restart, and print; exits 1 if one end was neither old nor new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--point", action="append", choices=POINTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args(argv)
    rng, wrong, times = random.Random(arguments.seed), 0, []
    for point in arguments.point or POINTS:
        seconds = []
        for _ in range(arguments.times):
            with tempfile.TemporaryDirectory() as folder:
                world = World(Path(folder), dict(SERVE))
                try:
                    took, fault = crash(world, point, rng)
                finally:
                    world.stop()
            seconds.append(took)
            wrong += bool(fault)
            if fault:
                print(f"  {point}: {fault}", flush=True)
        times += seconds
        print(f"{point}: {len(seconds)} crashes, settled after at most {max(seconds):.1f} s", flush=True)
    high = binomtest(wrong, len(times)).proportion_ci(0.9).high
    print(
        f"seed {arguments.seed}: {wrong} of {len(times)} ended wrong (95 % upper bound {high:.2%}); "
        f"longest {max(times):.1f} s"
    )
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, "tried": len(times), "failed": wrong}))
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
