"""One command turns the whole circle on real parts and prints what it measured.

    driftwheel demo [--keep] [--home DIR]

Base model -> dataset -> fine-tune -> merge -> quantize -> evaluate -> publish -> vLLM -> traffic -> drift ->
decision -> dataset -> retrain -> gate -> swap under load -> recovered -> bad candidate refused -> rollback.
Everything goes through the verbs and the HTTP interface that a user has.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from driftwheel.cli.command import open_ledger
from driftwheel.cli.process import run_command
from driftwheel.errors import DriftwheelError, EngineError
from driftwheel.records import (
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
    Step,
    Traffic,
    utc_now,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import get_alias
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from examples.support import claims
from examples.support.claims import Measured
from examples.support.load import Client, Reply, accuracy
from examples.support.prepare import (
    HELD_OUT_ROWS,
    SEEDS,
    SHIFTED_WINDOWS,
    STEADY_WINDOWS,
    held_out_messages,
    prepare,
    shuffle_labels,
)
from examples.support.world import messages

KEYS_VARIABLE = "DRIFTWHEEL_API_KEYS"
FEEDBACK_SHARE, LOAD_PER_SECOND = 0.8, 12.0
RETRAIN_TIMEOUT_SECONDS = 1500.0


@dataclass
class Demo:
    """The loop under way and what was measured so far."""

    console: Console
    settings: Settings
    ledger: Ledger
    client: Client
    seconds: dict[str, float] = field(default_factory=dict)
    retrain_seconds: dict[str, float] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    swap_replies: list[Reply] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce and time a step."""
        self.console.rule(f"[bold]{name}", align="left")
        started_at = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - started_at

    def verb(self, *arguments: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Run `driftwheel VERB ... --json` as a user would and return what it printed."""
        self.console.print(f"$ driftwheel {' '.join(arguments)}", style="cyan", markup=False, soft_wrap=True)
        flags = [part for override in overrides for part in ("--set", override)]
        argv = [
            sys.executable,
            "-m",
            "driftwheel.cli.main",
            *arguments,
            "--config",
            str(self.settings.path),
            "--json",
            *flags,
        ]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise DriftwheelError(f"`driftwheel {arguments[0]}` failed; its message stands above")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result

    def say(self, text: str) -> None:
        """Print one line of result."""
        self.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


def first_version(demo: Demo) -> ModelVersion:
    """Fine-tune, merge, quantize, evaluate and publish v1, and make it the desired version."""
    with demo.step("dataset"):
        dataset = demo.verb("data", "build")
        demo.say(f"{dataset['id']}: {dataset['train_rows']} train, {dataset['test_rows']} test rows")
    with demo.step("fine-tune v1"):
        run = demo.verb("train", "--dataset", dataset["id"])
    with demo.step("merge, quantize, evaluate, publish v1"):
        version = demo.verb("publish", "--run", run["id"])
        card = version["scorecard"]
        baseline = card["baseline"]
        demo.measured.tuned = card["accuracy"]
        prompts = {name.replace("_", "-"): entry["accuracy"] for name, entry in baseline.items()}
        demo.measured.base = max(prompts.values())
        demo.say(f"{version['id']}: {card['accuracy']:.1%} on {card['items']} held-out items")
        demo.say("base model: " + ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in prompts.items()))
        demo.verb("promote", version["id"], "--no-wait")
    return demo.ledger.get(ModelVersion, version["id"])


async def wait_until_ready(demo: Demo) -> None:
    """Wait until the gateway gives a real token."""
    deadline = time.monotonic() + demo.settings.serve.start_timeout_seconds
    async with httpx2.AsyncClient() as http:
        while time.monotonic() < deadline:
            try:
                if (await http.get(f"{demo.client.url}/readyz")).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.5)
    raise EngineError(f"the gateway was not ready in time; see {demo.settings.root / 'logs'}")


async def wait_for_checks(demo: Demo, rows: int) -> None:
    """Wait until the monitor has looked at every full window of the live version's traffic."""
    windows = rows // demo.settings.monitor.window_rows
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len({s.check_id for s in signals(demo, demo.measured.v1)}) >= windows:
            return
        await asyncio.sleep(0.5)
    raise EngineError(f"the monitor did not check {windows} windows in time; see {demo.settings.root / 'logs'}")


def signals(demo: Demo, version_id: str) -> list[DriftSignal]:
    """Return the version's decisive signals, oldest first."""
    return demo.ledger.find(
        DriftSignal, project=demo.settings.project, version_id=version_id, feature="all", newest_first=False
    )


def alarms(demo: Demo, version_id: str) -> list[DriftSignal]:
    """Return the version's alarms, oldest first."""
    return [s for s in signals(demo, version_id) if s.verdict is DriftVerdict.DRIFTED]


async def steady_traffic(demo: Demo) -> None:
    """Send steady traffic with feedback; nothing may alarm."""
    with demo.step("steady traffic"):
        held_out = await demo.client.send(held_out_messages("steady"))
        demo.measured.old_v1 = accuracy(held_out)
        rows = STEADY_WINDOWS * demo.settings.monitor.window_rows - HELD_OUT_ROWS
        await demo.client.send(messages(rows, SEEDS["steady"], "steady"), feedback_share=FEEDBACK_SHARE)
        demo.measured.steady_rows = rows + HELD_OUT_ROWS
        await wait_for_checks(demo, demo.measured.steady_rows)
        demo.measured.steady_checks = len({s.check_id for s in signals(demo, demo.measured.v1)})
        demo.measured.steady_alarms = len(alarms(demo, demo.measured.v1))
        demo.say(f"accuracy {demo.measured.old_v1:.1%} on {HELD_OUT_ROWS} held-out messages")
        demo.say(f"{demo.measured.steady_alarms} alarms in {demo.measured.steady_checks} windows")


async def shifted_traffic(demo: Demo) -> RetrainDecision:
    """Send shifted traffic window by window until the policy decides to retrain."""
    with demo.step("shifted traffic"):
        window_rows, v1 = demo.settings.monitor.window_rows, demo.measured.v1
        demo.measured.new_v1 = accuracy(held_out := await demo.client.send(held_out_messages("shifted")))
        sent, stream = len(held_out), messages(SHIFTED_WINDOWS * window_rows, SEEDS["shifted"], "shifted")
        demo.say(f"accuracy {demo.measured.new_v1:.1%} on {HELD_OUT_ROWS} held-out shifted messages")
        while stream:
            await wait_for_checks(demo, demo.measured.steady_rows + sent)
            if (found := alarms(demo, v1)) and demo.measured.windows_to_alarm is None:
                checks = list(dict.fromkeys(s.check_id for s in signals(demo, v1)))
                shift_started = demo.measured.steady_rows // window_rows
                demo.measured.windows_to_alarm = checks.index(found[0].check_id) + 1 - shift_started
                kinds = ", ".join(sorted({f"{s.kind}" for s in found}))
                demo.say(f"alarm ({kinds}) in window {demo.measured.windows_to_alarm} after the shift")
            if decision := retrain_decision(demo):
                demo.say(f"{decision.id}: {'; '.join(decision.reasons)}")
                return decision
            batch, stream = stream[:window_rows], stream[window_rows:]
            sent += len(await demo.client.send(batch, feedback_share=FEEDBACK_SHARE, seed=sent))
    raise EngineError("the policy did not decide to retrain; `driftwheel status` and the decisions page say why")


def retrain_decision(demo: Demo) -> RetrainDecision | None:
    """Return the newest decision to retrain."""
    found = demo.ledger.find(RetrainDecision, project=demo.settings.project, verdict=DecisionVerdict.RETRAIN, limit=1)
    return found[0] if found else None


async def retrain_and_swap(demo: Demo, decision: RetrainDecision) -> None:
    """Let the worker go around, with load on the gateway from publication to the swap's end."""
    with demo.step("retrain, gate, swap under load"):
        settings, spent = demo.settings, demo.retrain_seconds
        deadline = time.monotonic() + RETRAIN_TIMEOUT_SECONDS
        load_messages = messages(600, SEEDS["load"], "shifted")

        def has_reached(name: str) -> bool:
            steps = demo.ledger.find(Step, decision_id=decision.id, newest_first=False)
            for step in steps:
                if step.status != "running" and step.name not in spent:
                    spent[step.name] = ((step.finished_at or utc_now()) - step.created_at).total_seconds()
                    demo.say(f"{step.name}: {step.status} in {spent[step.name]:.0f} s")
            current = demo.ledger.get(RetrainDecision, decision.id)
            return any(s.name == name for s in steps) or current.status not in (
                DecisionStatus.OPEN,
                DecisionStatus.RUNNING,
            )

        await until(lambda: has_reached("roll_out"), deadline)
        async with demo.client.load(load_messages, per_second=LOAD_PER_SECOND) as replies:
            await until(lambda: has_reached("nothing"), deadline)
            await asyncio.sleep(3)
        demo.swap_replies += replies
        current = demo.ledger.get(RetrainDecision, decision.id)
        demo.measured.requests_per_second = len(replies) / max(
            1e-9, max(r.started_at for r in replies) - replies[0].started_at
        )
        if current.status is not DecisionStatus.PROMOTED:
            raise EngineError(f"{decision.id} ended as {current.status}: {current.error}")
        demo.measured.v2 = get_alias(demo.ledger, settings.project, settings.serve.alias).version_id
        verdict = demo.ledger.get(ModelVersion, demo.measured.v2).verdict
        demo.say(f"gate: {verdict['verdict']}: {verdict['reason']}")
        rate = f"{demo.measured.requests_per_second:.1f} a second"
        demo.say(f"swap: {len(replies)} requests at {rate}, {failures(replies)} failed")


async def until(condition: Callable[[], bool], deadline: float) -> None:
    """Wait for a condition; raises EngineError at the deadline."""
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise EngineError("the retrain did not end in time; `driftwheel status` says where it stands")
        await asyncio.sleep(0.5)


def failures(replies: Sequence[Reply]) -> int:
    """Return how many replies failed or were cut off."""
    return sum(r.error is not None for r in replies)


async def measure_recovery(demo: Demo) -> None:
    """Ask v2 the same held-out messages."""
    with demo.step("accuracy after the swap"):
        demo.measured.new_v2 = accuracy(await demo.client.send(held_out_messages("shifted")))
        demo.measured.old_v2 = accuracy(await demo.client.send(held_out_messages("steady")))
        demo.say(f"shifted {demo.measured.new_v2:.1%}, old {demo.measured.old_v2:.1%}")


async def bad_candidate(demo: Demo) -> None:
    """Train a candidate on shuffled labels and send it through the same gate."""
    with demo.step("planted bad candidate"):
        live = demo.ledger.get(ModelVersion, demo.measured.v2)
        good = demo.ledger.get(Dataset, live.dataset_id)
        shuffled = shuffle_labels(Path(good.path) / "train.jsonl", demo.settings.path.parent / "shuffled.jsonl")
        bad = await asyncio.to_thread(demo.verb, "data", "build", "--source", str(shuffled))
        run = await asyncio.to_thread(
            demo.verb, "train", "--dataset", bad["id"], overrides=["train.max_steps=60", "train.eval_steps=60"]
        )
        version = await asyncio.to_thread(demo.verb, "publish", "--run", run["id"], "--dataset", good.id)
        demo.measured.bad_verdict, demo.measured.bad = version["verdict"]["verdict"], version["id"]
        demo.say(f"gate: {version['verdict']['verdict']}: {version['verdict']['reason']}")
        try:
            await asyncio.to_thread(demo.verb, "promote", version["id"])
            demo.measured.is_bad_promoted = True
        except DriftwheelError:
            demo.measured.is_bad_promoted = False
            demo.say("promote was refused")


async def back_and_forward(demo: Demo) -> None:
    """Roll back to v1 and go forward to v2, both under load."""
    with demo.step("rollback and forward, under load"):
        load_messages = messages(600, SEEDS["load"], "steady")
        async with demo.client.load(load_messages, per_second=LOAD_PER_SECOND) as replies:
            await asyncio.sleep(2)
            asked_at = time.monotonic()
            await asyncio.to_thread(demo.verb, "rollback")
            await asyncio.sleep(3)
            forward_at = time.monotonic()
            await asyncio.to_thread(demo.verb, "promote", demo.measured.v2)
            await asyncio.sleep(3)
        demo.swap_replies += replies
        still_v2 = [r.ended_at for r in replies if r.version_id == demo.measured.v2 and r.started_at < forward_at]
        demo.measured.rollback_seconds = max([*still_v2, asked_at]) - asked_at
        served = {r.version_id for r in replies}
        demo.measured.has_rolled_back = {demo.measured.v1, demo.measured.v2} <= served
        demo.say(f"last answer by v2 {demo.measured.rollback_seconds:.1f} s after the command")
        demo.say(f"{len(replies)} requests, {failures(replies)} failed")


async def turn(demo: Demo, after: Callable[[], Awaitable[None]]) -> int:
    """Turn the circle with the loop's processes running; return the exit status."""
    with demo.step("serve v1"):
        await wait_until_ready(demo)
    await steady_traffic(demo)
    decision = await shifted_traffic(demo)
    await retrain_and_swap(demo, decision)
    await measure_recovery(demo)
    await bad_candidate(demo)
    await back_and_forward(demo)
    table = TABLES[Traffic]
    demo.measured.bad_requests = demo.ledger.count(Traffic, table.c.version_id == demo.measured.bad)
    demo.measured.requests, demo.measured.failures = len(demo.swap_replies), failures(demo.swap_replies)
    demo.measured.circle_seconds = sum(demo.seconds.values())
    found = claims.judge(demo.measured)
    claims.print_minutes(demo.console, demo.seconds, demo.retrain_seconds)
    claims.print_table(demo.console, found)
    await after()
    await demo.client.close()
    return 0 if all(c.is_met for c in found if c.is_required) else 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's arguments."""
    parser.add_argument("--keep", action="store_true", help="leave the loop and its dashboard running at the end")
    parser.add_argument("--home", type=Path, help="folder for the demo's files (a new one by default)")


def run(arguments: argparse.Namespace) -> None:
    """Turn the circle and exit with its status."""
    console = Console(stderr=False, soft_wrap=False)
    home = arguments.home or Path.cwd() / ".driftwheel" / f"demo-{time.strftime('%Y%m%dT%H%M%S')}"
    started_at = time.monotonic()
    console.rule("[bold]set-up: base model and data", align="left")
    settings = prepare(console, home.resolve())
    console.print(f"set-up took {(time.monotonic() - started_at) / 60:.1f} minutes")
    os.environ.setdefault(KEYS_VARIABLE, secrets.token_urlsafe(24))
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    client = Client(url, os.environ[KEYS_VARIABLE], settings.serve.alias)
    demo = Demo(console, settings, open_ledger(settings), client)
    demo.measured.v1 = first_version(demo).id
    with running(settings) as up:

        async def keep() -> None:
            console.print(f"dashboard: http://{settings.dashboard.host}:{settings.dashboard.port}")
            while arguments.keep and up.poll() is None:
                await asyncio.sleep(1)

        status = asyncio.run(turn(demo, keep))
    sys.exit(status)


@contextmanager
def running(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `driftwheel up` beside the block, and stop it whatever ends the block, a SIGTERM too."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    up = subprocess.Popen([sys.executable, "-m", "driftwheel.cli.main", "up", "--config", str(settings.path)])
    try:
        yield up
    finally:
        up.terminate()
        up.wait()
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None, command: str = "driftwheel demo") -> int:
    """Parse the arguments and run the demo; `command` is what the user typed to get here."""
    parser = argparse.ArgumentParser(prog=command, description="Turn the whole circle on this machine.")
    add_arguments(parser)
    return run_command("demo", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
