"""The oldest open RetrainDecision goes once around the training half of the circle.

    python -m train worker --config driftwheel.yaml

`STEPS` is the order. Each step is durable (a DBOS step in the folder's own SQLite, or in PostgreSQL): a
worker killed at any point continues there at its next start and repeats no finished step. Heavy steps run
as child processes through an Executor, so that their memory returns and a pause can stop them.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import DBOSPortableJSONSerializer

from driftwheel import controls
from driftwheel.errors import DriftwheelError
from driftwheel.records import (
    DecisionStatus,
    DecisionVerdict,
    ModelVersionStatus,
    RetrainDecision,
    Step,
    utc_now,
)
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from driftwheel.system import only_process
from train.data.traffic_dataset import dataset_from_traffic
from train.processes.executor import Executor
from train.publish import judge_candidate, publish

WORKFLOW_FORMAT = "2"
"""DBOS resumes only jobs of the same format; raise it when the steps change incompatibly."""

POLL_SECONDS = 0.5
State = dict[str, Any]
log = structlog.get_logger()


@dataclass(frozen=True)
class Job:
    """What a step may use."""

    settings: Settings
    ledger: Ledger
    executor: Executor
    decision_id: str

    def run_verb(self, *arguments: str) -> State:
        """Run `python -m train VERB ...` as a child and return the JSON object that it prints last."""
        argv = [sys.executable, "-m", "train", *arguments, "--config", str(self.settings.path), "--json"]
        log_path = self.settings.root / "logs" / f"{self.decision_id}-{arguments[0]}.log"
        output = self.executor.run(
            argv,
            log_path=log_path,
            is_held=lambda: controls.is_paused(self.settings, self.ledger),
            can_stand=arguments[0] != "finetune" or self.settings.train.num_processes == 1,
            environment={"OMP_WAIT_POLICY": "PASSIVE"},  # the engine that serves meanwhile needs the cores too
        )
        result: State = json.loads(output.strip().splitlines()[-1])
        return result


def build_dataset(job: Job, state: State) -> State:
    """Turn labelled traffic and a replay share into a Dataset."""
    dataset = dataset_from_traffic(job.settings, job.ledger, job.decision_id)
    return {"dataset_id": dataset.id, "train_rows": dataset.train_rows, "test_rows": dataset.test_rows}


def finetune(job: Job, state: State) -> State:
    """Fine-tune the base model on the dataset."""
    run = job.run_verb("finetune", "--dataset", state["dataset_id"])
    return {"run_id": run["id"], "metrics": run["metrics"]}


def merge(job: Job, state: State) -> State:
    """Merge the adapter into the base model, unless it is served beside it."""
    if job.settings.merge.kind == "adapter":
        return {"merged": None}
    return {"merged": job.run_verb("merge", "--run", state["run_id"])["path"]}


def quantize(job: Job, state: State) -> State:
    """Write the artifact that will be served."""
    return {"artifact": job.run_verb("quantize", "--run", state["run_id"])["path"]}


def parity(job: Job, state: State) -> State:
    """Compare each form of the files with what was trained, on the same prompts."""
    result = job.run_verb("parity", "--run", state["run_id"], "--artifact", state["artifact"])
    return {"parity": result["rows"]}


def evaluate(job: Job, state: State) -> State:
    """Score that artifact, served, on the dataset's test split."""
    result = job.run_verb("evaluate", "--artifact", state["artifact"], "--dataset", state["dataset_id"])
    return {"evaluation": result["folder"], "accuracy": result["scorecard"]["accuracy"]}


def gate(job: Job, state: State) -> State:
    """Judge it against the live version on the same items."""
    return {
        "verdict": judge_candidate(
            job.settings, job.ledger, evaluation=Path(state["evaluation"]), dataset_id=state["dataset_id"]
        )
    }


def publish_version(job: Job, state: State) -> State:
    """Record the ModelVersion, published or rejected."""
    version = publish(
        job.settings,
        job.ledger,
        run_id=state["run_id"],
        artifact=Path(state["artifact"]),
        evaluation=Path(state["evaluation"]),
        verdict=state["verdict"],
        decision_id=job.decision_id,
    )
    return {"version_id": version.id, "number": version.number, "status": version.status.value}


def roll_out(job: Job, state: State) -> State:
    """Make a published version the desired one and wait until the gateway serves it."""
    if state["status"] != ModelVersionStatus.PUBLISHED:
        return {"rolled_out": False, "reason": state["verdict"]["reason"]}
    alias = controls.promote(job.settings, job.ledger, state["version_id"])
    return {"rolled_out": True, "fence": controls.wait_until_observed(job.settings, job.ledger, alias).fence}


StepFunction = Callable[[Job, State], State]
STEPS: tuple[StepFunction, ...] = (
    build_dataset,
    finetune,
    merge,
    quantize,
    parity,
    evaluate,
    gate,
    publish_version,
    roll_out,
)


class Worker:
    """Takes open decisions one at a time and runs each as a durable workflow."""

    def __init__(
        self, settings: Settings, ledger: Ledger, executor: Executor, steps: Sequence[StepFunction] = STEPS
    ) -> None:
        self._settings, self._ledger, self._executor, self._steps = settings, ledger, executor, steps

        @DBOS.workflow(name=f"retrain-{settings.project}")
        def retrain(decision_id: str) -> State:
            return self._run_steps(decision_id)

        self._workflow = retrain
        database = settings.storage.database_url or f"sqlite:///{settings.root / 'worker.db'}"
        config: DBOSConfig = {
            "name": "driftwheel",
            "system_database_url": database,
            "application_version": WORKFLOW_FORMAT,
            "executor_id": settings.project,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
        if database.startswith("sqlite"):
            config["db_engine_kwargs"] = {"module": safe_sqlite_module()}
        DBOS(config=config)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Resume what a dead worker left, then take open decisions until told to stop."""
        DBOS.launch()
        try:
            while not should_stop():
                if (decision := self.next_decision()) is not None:
                    self._take(decision)
                time.sleep(POLL_SECONDS)
        finally:
            DBOS.destroy()

    def next_decision(self) -> RetrainDecision | None:
        """Return the oldest decision that is open or was left running, or None while retraining is paused."""
        if controls.is_paused(self._settings, self._ledger):
            return None
        status = [DecisionStatus.OPEN, DecisionStatus.RUNNING]
        found = self._ledger.find(
            RetrainDecision,
            project=self._settings.project,
            verdict=DecisionVerdict.RETRAIN,
            status=status,
            newest_first=False,
            limit=1,
        )
        return found[0] if found else None

    def _take(self, decision: RetrainDecision) -> None:
        if decision.status is DecisionStatus.OPEN:
            self._ledger.change(decision, status=DecisionStatus.RUNNING)
        with SetWorkflowID(decision.id):
            handle = DBOS.start_workflow(self._workflow, decision.id)
        log.info("retrain started or resumed", decision=decision.id)
        try:
            state = handle.get_result()
        except DriftwheelError as error:
            self._close(decision.id, DecisionStatus.FAILED, str(error))
        except Exception as error:
            log.exception("retrain failed", decision=decision.id)
            self._close(decision.id, DecisionStatus.FAILED, f"{type(error).__name__}: {error}")
        else:
            is_promoted = state.get("rolled_out", False)
            status = DecisionStatus.PROMOTED if is_promoted else DecisionStatus.REFUSED
            self._close(decision.id, status, None if is_promoted else state.get("reason"), state)

    def _close(self, decision_id: str, status: DecisionStatus, error: str | None, state: State | None = None) -> None:
        decision = self._ledger.get(RetrainDecision, decision_id)
        known = {name: (state or {}).get(name) for name in ("dataset_id", "run_id", "version_id")}
        self._ledger.change(decision, status=status, error=error, **{k: v for k, v in known.items() if v})
        log.info("retrain ended", decision=decision_id, status=status, error=error)

    def _run_steps(self, decision_id: str) -> State:
        state: State = {}
        for step in self._steps:
            state |= DBOS.run_step({"name": step.__name__}, self._run_step, step.__name__, decision_id, state)
        return state

    def _run_step(self, name: str, decision_id: str, state: State) -> State:
        step = next(s for s in self._steps if s.__name__ == name)
        while controls.is_paused(self._settings, self._ledger):
            time.sleep(POLL_SECONDS)
        job = Job(self._settings, self._ledger, self._executor, decision_id)
        earlier = self._ledger.find(Step, id=f"{decision_id}/{name}")
        row = Step(
            id=f"{decision_id}/{name}",
            project=self._settings.project,
            decision_id=decision_id,
            name=name,
            status="running",
            attempt=earlier[0].attempt + 1 if earlier else 1,
        )
        self._ledger.put_step(row)
        log.info("step started", step=name, decision=decision_id, attempt=row.attempt)
        try:
            output = step(job, state)
        except Exception as error:
            self._ledger.put_step(replace(row, status="failed", finished_at=utc_now(), error=str(error)))
            raise
        self._ledger.put_step(replace(row, status="done", finished_at=utc_now(), output=output))
        self._link(decision_id, output)
        return output

    def _link(self, decision_id: str, output: State) -> None:
        links = {k: output[k] for k in ("dataset_id", "run_id", "version_id") if k in output}
        if links:
            self._ledger.change(self._ledger.get(RetrainDecision, decision_id), **links)


def only_worker(settings: Settings) -> AbstractContextManager[None]:
    """Hold the storage folder's worker lock; raises ConflictError if another worker has it."""
    conflict = f"another worker already runs on {settings.root}; stop it first"
    return only_process(settings.root / "worker.lock", conflict)
