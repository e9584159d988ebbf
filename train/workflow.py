"""The worker: runs each retrain as a durable workflow, in which DBOS remembers the finished steps.

A worker killed at any point continues there at its next start and repeats no finished step. Heavy steps run as child
processes through an Executor, so that their memory returns and a pause can stop them.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from driftwheel.control import controls
from driftwheel.control.retrain_limits import AT_WORK
from driftwheel.errors import CancelledError, ConflictError, DriftwheelError, StorageError, TimeLimitError
from driftwheel.identity import utc_now
from driftwheel.machine.child_secrets import JUDGE_KEY, PARAPHRASE_KEY, for_stage
from driftwheel.machine.system import only_process
from driftwheel.records.bookkeeping import Step
from driftwheel.records.by_whom import Action, process
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, RetrainDecision, TrainingRun, TrainingRunStatus
from driftwheel.records.storage_path import change_paths, lengthened, shortened
from driftwheel.settings.settings import Settings
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from train.processes.executor import Executor
from train.retrain_state import Job, Progress
from train.worker import STEPS, RetrainStep

WORKFLOW_FORMAT = "2"
"""DBOS resumes only jobs of the same format; raise it when the steps change incompatibly."""

POLL_SECONDS = 0.5
RETRY_SECONDS = (1, 2, 4, 8, 15, 30, 60, 60, 60, 60, 60, 60, 60, 60, 60)
"""Waits between the tries of a step to which the database or the disk said no: ten minutes, as a full disk or a
database under maintenance may take."""
Made = dict[str, Any]
"""A `Progress` as JSON, which is what DBOS and the timeline keep; paths are relative to the storage folder."""
log = structlog.get_logger()


class Worker:
    """Takes open decisions one at a time and runs each as a durable workflow."""

    def __init__(
        self, settings: Settings, ledger: Ledger, executor: Executor, steps: Sequence[RetrainStep] = STEPS
    ) -> None:
        self._settings, self._ledger, self._executor, self._steps = settings, ledger, executor, steps

        @DBOS.workflow(name=f"retrain-{settings.project}")
        def retrain(decision_id: str) -> Made:
            return self._run_steps(decision_id)

        self._workflow = retrain
        database = settings.database_or("worker.db")
        config: DBOSConfig = {
            "name": "driftwheel",
            "system_database_url": database,
            "application_version": WORKFLOW_FORMAT,
            # DBOS resumes only what the same executor began; several projects may share a database.
            "executor_id": settings.project,
            # JSON, and not the usual pickle: reading a job back must not run code, and a later release must be able to.
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
                try:
                    if (decision := self.next_decision()) is not None:
                        self._take(decision)
                except StorageError as error:  # nothing is lost: what is under way is found again
                    log.error("the ledger is not to be had; trying again", error=str(error))
                time.sleep(POLL_SECONDS)
        finally:
            DBOS.destroy()

    def next_decision(self) -> RetrainDecision | None:
        """Return the oldest decision that is open or was left running, or None while retraining is paused."""
        if controls.is_paused(self._ledger, self._settings.project):
            return None
        status = [DecisionStatus.OPEN, *AT_WORK]
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
            try:
                self._ledger.change(decision, status=DecisionStatus.RUNNING)
            except ConflictError:  # a person has cancelled it in this very moment, which must not end the worker
                return
        with SetWorkflowID(decision.id):
            handle = DBOS.start_workflow(self._workflow, decision.id)
        log.info("retrain started or resumed", decision=decision.id)
        try:
            made = self._progress(handle.get_result())
        except CancelledError as error:
            self._close(decision.id, DecisionStatus.CANCELLED, str(error))
        except DriftwheelError as error:
            self._close(decision.id, DecisionStatus.FAILED, str(error))
        except Exception as error:
            log.exception("retrain failed", decision=decision.id)
            self._close(decision.id, DecisionStatus.FAILED, f"{type(error).__name__}: {error}")
        else:
            status = DecisionStatus.PROMOTED if made.rolled_out else DecisionStatus.REFUSED
            self._close(decision.id, status, None if made.rolled_out else made.reason, made)

    def _close(self, decision_id: str, status: DecisionStatus, error: str | None, made: Progress | None = None) -> None:
        decision = self._ledger.get(RetrainDecision, decision_id)
        if decision.status is DecisionStatus.CANCELLED:  # by a person, whose word stands
            status, error = decision.status, decision.error
            self._end_runs(decision)
        links = _links(made) if made else {}
        before, after = {"status": decision.status}, {"status": status, **links}
        try:
            with self._ledger.write() as connection:
                self._ledger.change_with(connection, decision, status=status, error=error, **links)
                by, of = process("worker", error or ""), (decision.project, decision_id)
                note_with(self._ledger, connection, by, Action.END_RETRAIN, *of, before=before, after=after)
        except ConflictError:  # a person has cancelled it in this very moment
            self._close(decision_id, status, error, made)
            return
        log.info("retrain ended", decision=decision_id, status=status, error=error)

    def _end_runs(self, decision: RetrainDecision) -> None:
        """Let no run of a cancelled retrain seem to go on."""
        if decision.dataset_id is None:
            return
        runs, dataset_id = TrainingRunStatus.RUNNING, decision.dataset_id
        for run in self._ledger.find(TrainingRun, project=decision.project, dataset_id=dataset_id, status=runs):
            self._ledger.change(run, status=TrainingRunStatus.FAILED, error=decision.error, finished_at=utc_now())

    def _run_steps(self, decision_id: str) -> Made:
        made: Made = {}
        for step in self._steps:
            made |= DBOS.run_step({"name": step.name}, self._run_step, step.name, decision_id, made)
        return made

    def _run_step(self, name: str, decision_id: str, made: Made) -> Made:
        """Run a step; what the database or the disk refuses for a while is tried again, and fails no candidate."""
        for wait_seconds in RETRY_SECONDS:
            try:
                return self._try_step(name, decision_id, made)
            except StorageError as error:
                log.warning(
                    "trying again", step=name, decision=decision_id, wait_seconds=wait_seconds, error=str(error)
                )
                time.sleep(wait_seconds)
        return self._try_step(name, decision_id, made)

    def _try_step(self, name: str, decision_id: str, made: Made) -> Made:
        step = next(s for s in self._steps if s.name == name)
        self._refuse_cancelled(decision_id)
        while controls.is_paused(self._ledger, self._settings.project):
            self._refuse_cancelled(decision_id)
            time.sleep(POLL_SECONDS)
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
            added = (self._in_child if step.is_heavy else self._here)(step, decision_id, self._progress(made))
        except Exception as error:
            with contextlib.suppress(StorageError):  # why the step failed says more
                self._ledger.put_step(replace(row, status="failed", finished_at=utc_now(), error=str(error)))
            if isinstance(error, TimeLimitError):
                raise TimeLimitError(f"{error}; if it needs longer, raise policy.step_seconds.{name}") from error
            raise
        output: Made = change_paths(as_json(added), Progress, shortened, self._settings.root)
        self._ledger.put_step(replace(row, status="done", finished_at=utc_now(), output=output))
        if links := _links(added):
            self._link(decision_id, links)
        return output

    def _link(self, decision_id: str, links: dict[str, str]) -> None:
        try:
            self._ledger.change(self._ledger.get(RetrainDecision, decision_id), **links)
        except ConflictError:  # a person has cancelled it in this very moment, which is no reason to lose the link
            self._ledger.change(self._ledger.get(RetrainDecision, decision_id), **links)

    def _is_cancelled(self, decision_id: str) -> bool:
        return self._ledger.get(RetrainDecision, decision_id).status is DecisionStatus.CANCELLED

    def _refuse_cancelled(self, decision_id: str) -> None:
        if self._is_cancelled(decision_id):
            raise CancelledError(f"{decision_id} was cancelled")

    def _progress(self, made: Made) -> Progress:
        return msgspec.convert(change_paths(made, Progress, lengthened, self._settings.root), Progress)

    def _here(self, step: RetrainStep, decision_id: str, progress: Progress) -> Progress:
        return step.run(Job(self._settings, self._ledger, decision_id).planned(), progress)

    def _in_child(self, step: RetrainStep, decision_id: str, progress: Progress) -> Progress:
        """Run `python -m train step NAME` and return what it prints last."""
        made = json.dumps(as_json(progress))
        output = self._executor.run(
            self._settings.child_command("train", "step", step.name, made, "--decision", decision_id),
            log_path=self._settings.root / "logs" / f"{decision_id}-{step.name}.log",
            is_held=_kept(lambda: controls.is_paused(self._ledger, self._settings.project)),
            is_cancelled=_kept(lambda: self._is_cancelled(decision_id)),
            limit_seconds=self._settings.policy.limit_of(step.name),
            # A signal does not reach the other processes of a training on several GPUs.
            can_stand=step.name != "finetune" or self._settings.train.num_processes == 1,
            # The engine that serves meanwhile needs the cores too.
            environment={
                **for_stage(os.environ, (JUDGE_KEY, PARAPHRASE_KEY)),
                **self._settings.child_environment(),
                "OMP_WAIT_POLICY": "PASSIVE",
            },
        )
        return from_json(output.strip().split("\n")[-1], Progress)


def _kept(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return a question that is answered as before while the ledger is not to be had: no hiccup ends a training."""
    last = [False]

    def answer() -> bool:
        with contextlib.suppress(StorageError):
            last[0] = ask()
        return last[0]

    return answer


def _links(made: Progress) -> dict[str, str]:
    """Return the ids that a decision's row names."""
    found = {"dataset_id": made.dataset_id, "run_id": made.run_id, "version_id": made.version_id}
    return {name: value for name, value in found.items() if value is not None}


def only_worker(root: Path) -> AbstractContextManager[None]:
    """Hold the storage folder's worker lock; raises ConflictError if another worker has it."""
    conflict = f"another worker already runs on {root}; stop it first"
    return only_process(root / "worker.lock", conflict)
