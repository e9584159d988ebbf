"""The demo's steps in order: first version, steady traffic, shift, retrain, swap, rollback.

Each sends its traffic, waits for what the loop makes of it, and keeps what was measured.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from driftwheel.control.retrain_limits import UNFINISHED
from driftwheel.errors import DriftwheelError, EngineError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import Dataset, DecisionStatus, ModelVersion, RetrainDecision, Traffic
from driftwheel.store.alias import get_alias
from driftwheel.store.tables import TABLES
from examples.support.claim_tables import print_minutes, print_table
from examples.support.claims import hold_against_bars
from examples.support.demo_loop import (
    RETRAIN_TIMEOUT_SECONDS,
    Demo,
    alarms,
    retrain_decision,
    signals,
    until,
    wait_for_checks,
    wait_until_ready,
)
from examples.support.load import Reply, mean_grade
from examples.support.prepare import SEEDS, held_out_requests, shuffle_answers
from examples.support.task import Asked
from examples.support.world import Phase

SETTLE_SECONDS = 3.0
"""Load goes on for so long after a swap: an engine that was stopped too early would fail requests now."""


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
        judged_by = "grade" if "criterion" in card else "accuracy"
        demo.measured.tuned = card[judged_by]
        prompts = {name.replace("_", "-"): entry[judged_by] for name, entry in baseline.items()}
        demo.measured.base = max(prompts.values())
        said = demo.task.bars.said
        demo.say(f"{version['id']}: {said(card[judged_by])} on {card['items']} held-out items")
        demo.say("base model: " + ", ".join(f"{name} {said(value)}" for name, value in prompts.items()))
        demo.verb("promote", version["id"], "--no-wait")
    return demo.ledger.get(ModelVersion, version["id"])


def drawn(demo: Demo, rows: int, phase: Phase, seed: str | None = None) -> Sequence[Asked]:
    """Return so many requests of a phase, by its own seed or another one."""
    return demo.task.requests(rows, SEEDS[seed or phase], phase)


async def steady_traffic(demo: Demo) -> None:
    """Send steady traffic with feedback; nothing may alarm."""
    with demo.step("steady traffic"):
        held_out = await demo.client.send(held_out_requests(demo.task, "steady"))
        demo.measured.old_v1 = mean_grade(held_out)
        demo.measured.steady_rows = demo.task.sizes.steady_windows * demo.settings.monitor.window_rows
        rows = demo.measured.steady_rows - len(held_out)
        await demo.client.send(drawn(demo, rows, "steady"), speaking=demo.task.speaking)
        await wait_for_checks(demo, demo.measured.steady_rows)
        demo.measured.steady_checks = len({s.check_id for s in signals(demo, demo.measured.v1)})
        demo.measured.steady_alarms = len(alarms(demo, demo.measured.v1))
        demo.say(f"{demo.task.bars.said(demo.measured.old_v1)} on {len(held_out)} held-out requests")
        demo.say(f"{demo.measured.steady_alarms} alarms in {demo.measured.steady_checks} windows")


async def shifted_traffic(demo: Demo) -> RetrainDecision:
    """Send shifted traffic window by window until the policy decides to retrain."""
    with demo.step("shifted traffic"):
        window_rows = demo.settings.monitor.window_rows
        held_out = await demo.client.send(held_out_requests(demo.task, "shifted"))
        demo.measured.new_v1 = mean_grade(held_out)
        sent, stream = len(held_out), drawn(demo, demo.task.sizes.shifted_windows * window_rows, "shifted")
        demo.say(f"{demo.task.bars.said(demo.measured.new_v1)} on {len(held_out)} held-out shifted requests")
        while stream:
            await wait_for_checks(demo, demo.measured.steady_rows + sent)
            if (found := shift_alarms(demo)) and demo.measured.windows_to_alarm is None:
                demo.measured.windows_to_alarm, kinds = found
                demo.say(f"alarm ({kinds}) in window {demo.measured.windows_to_alarm} after the shift")
            if decision := retrain_decision(demo):
                demo.say(f"{decision.id}: {'; '.join(decision.reasons)}")
                return decision
            batch, stream = stream[:window_rows], stream[window_rows:]
            sent += len(await demo.client.send(batch, speaking=demo.task.speaking, seed=sent))
    raise EngineError("the policy did not decide to retrain; `driftwheel status` and the decisions page say why")


def shift_alarms(demo: Demo) -> tuple[int, str] | None:
    """Return which window after the shift alarmed first, and what kinds of drift; a false alarm before it is none."""
    v1, before = demo.measured.v1, demo.task.sizes.steady_windows
    checks = list(dict.fromkeys(s.check_id for s in signals(demo, v1)))
    found = [s for s in alarms(demo, v1) if s.check_id in checks[before:]]
    if not found:
        return None
    return checks.index(found[0].check_id) + 1 - before, ", ".join(sorted({f"{s.kind}" for s in found}))


async def retrain_and_swap(demo: Demo, decision: RetrainDecision) -> None:
    """Let the worker go around, with load on the gateway from publication to the swap's end."""
    with demo.step("retrain, gate, swap under load"):
        deadline = time.monotonic() + RETRAIN_TIMEOUT_SECONDS
        load = drawn(demo, 600, "shifted", seed="load")
        await until(lambda: "roll_out" in steps_begun(demo, decision) or has_ended(demo, decision), deadline)
        async with demo.client.load(load, per_second=demo.task.load_per_second) as replies:
            await until(lambda: has_ended(demo, decision), deadline)
            await asyncio.sleep(SETTLE_SECONDS)
        demo.swap_replies += replies
        lasted_seconds = max(r.started_at for r in replies) - replies[0].started_at
        demo.measured.requests_per_second = len(replies) / max(1e-9, lasted_seconds)
        current = demo.ledger.get(RetrainDecision, decision.id)
        if current.status is not DecisionStatus.PROMOTED:
            raise EngineError(f"{decision.id} ended as {current.status}: {current.error}")
        demo.measured.v2 = get_alias(demo.ledger, demo.settings.project, demo.settings.serve.alias).version_id
        verdict = demo.ledger.get(ModelVersion, demo.measured.v2).verdict
        demo.say(f"gate: {verdict.verdict}: {verdict.reason}")
        rate = f"{demo.measured.requests_per_second:.1f} a second"
        demo.say(f"swap: {len(replies)} requests at {rate}, {failures(replies)} failed")


def steps_begun(demo: Demo, decision: RetrainDecision) -> set[str]:
    """Return the steps of the retrain that have begun, and tell those that have ended since the last look."""
    steps = demo.ledger.find(Step, decision_id=decision.id, newest_first=False)
    for step in steps:
        if step.status != "running" and step.name not in demo.retrain_seconds:
            seconds = ((step.finished_at or utc_now()) - step.created_at).total_seconds()
            demo.retrain_seconds[step.name] = seconds
            demo.say(f"{step.name}: {step.status} in {seconds:.0f} s")
    return {step.name for step in steps}


def has_ended(demo: Demo, decision: RetrainDecision) -> bool:
    """Say whether the retrain is over, in whichever way; tell the steps that have ended."""
    status = demo.ledger.get(RetrainDecision, decision.id).status
    steps_begun(demo, decision)  # after the status, so that the last step is told too
    return status not in UNFINISHED


def failures(replies: Sequence[Reply]) -> int:
    """Return how many replies failed or were cut off."""
    return sum(r.error is not None for r in replies)


async def measure_recovery(demo: Demo) -> None:
    """Ask v2 the same held-out requests."""
    with demo.step("quality after the swap"):
        demo.measured.new_v2 = mean_grade(await demo.client.send(held_out_requests(demo.task, "shifted")))
        demo.measured.old_v2 = mean_grade(await demo.client.send(held_out_requests(demo.task, "steady")))
        said = demo.task.bars.said
        demo.say(f"shifted {said(demo.measured.new_v2)}, old {said(demo.measured.old_v2)}")


async def bad_candidate(demo: Demo) -> None:
    """Train a candidate on answers to other requests and send it through the same gate."""
    with demo.step("planted bad candidate"):
        live = demo.ledger.get(ModelVersion, demo.measured.v2)
        good = demo.ledger.get(Dataset, live.dataset_id)
        shuffled = shuffle_answers(Path(good.path) / "train.jsonl", demo.settings.path.parent / "shuffled.jsonl")
        bad = await asyncio.to_thread(demo.verb, "data", "build", "--source", str(shuffled))
        run = await asyncio.to_thread(demo.verb, "train", "--dataset", bad["id"], overrides=demo.task.short_run)
        # Judged on the live version's test items: on shuffled ones of its own it could look good.
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
        load = drawn(demo, 600, "steady", seed="load")
        async with demo.client.load(load, per_second=demo.task.load_per_second) as replies:
            # Some answers of v2 first, so that the last of them can be told from the first of v1.
            await asyncio.sleep(2)
            asked_at = time.monotonic()
            await asyncio.to_thread(demo.verb, "rollback")
            await asyncio.sleep(SETTLE_SECONDS)
            forward_at = time.monotonic()
            await asyncio.to_thread(demo.verb, "promote", demo.measured.v2)
            await asyncio.sleep(SETTLE_SECONDS)
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
    found = hold_against_bars(demo.measured, demo.task.bars)
    print_minutes(demo.console, demo.seconds, demo.retrain_seconds)
    print_table(demo.console, found)
    await after()
    await demo.client.close()
    return 0 if all(c.is_met for c in found if c.is_required) else 1
