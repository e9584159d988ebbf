"""What a retrain's steps work with, and what those so far have made of it."""

from dataclasses import dataclass, fields, replace

from driftwheel.errors import GateError
from driftwheel.records.gate_verdict import GateVerdict, Override
from driftwheel.records.json_form import only_with
from driftwheel.records.nouns import RetrainDecision
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.records.scorecard import ParityRow
from driftwheel.records.storage_path import StoragePath
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger


@dataclass(frozen=True)
class Job:
    """What a step may use."""

    settings: Settings
    ledger: Ledger
    decision_id: str | None = None
    """None where a person publishes a run by hand."""
    with_baseline: bool = False
    """Ask the base model too, plainly and with examples."""
    override: Override | None = None
    """Publish it whatever the gate says."""
    dataset_id: str | None = None
    """The Dataset that a person chose for it; None builds one of the labelled traffic."""

    def planned(self) -> "Job":
        """Return the job as a person planned its retrain, if anybody did.

        Where nothing is live, its version must beat the base model, which is asked too.
        """
        if self.decision_id is None:
            return self
        plan = self.ledger.get(RetrainDecision, self.decision_id).known.plan
        if plan is None:
            return self
        settings = self.settings.planned(plan)
        is_first = live_version(self.ledger, settings.project, settings.serve.alias) is None
        return replace(self, settings=settings, with_baseline=is_first, dataset_id=plan.dataset_id)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the steps so far have made; None is what none of them has made yet. Paths are strings, as in JSON."""

    dataset_id: str | None = only_with("dataset_id")
    train_rows: int | None = only_with("train_rows")
    test_rows: int | None = only_with("test_rows")
    run_id: str | None = only_with("run_id")
    metrics: RunMetrics | None = only_with("metrics")
    merged: StoragePath | None = only_with("merged")
    """None too where the adapter is served beside its base."""
    artifact: StoragePath | None = only_with("artifact")
    parity: tuple[ParityRow, ...] | None = only_with("parity")
    evaluation: StoragePath | None = only_with("evaluation")
    accuracy: float | None = only_with("accuracy")
    grade: float | None = only_with("grade")
    verdict: GateVerdict | None = only_with("verdict")
    seen_fence: int | None = only_with("seen_fence")
    """Of the alias when the candidate was judged beside the live version."""
    version_id: str | None = only_with("version_id")
    number: int | None = only_with("number")
    status: str | None = only_with("status")
    rolled_out: bool | None = only_with("rolled_out")
    fence: int | None = only_with("fence")
    reason: str | None = only_with("reason")
    """Why it was not rolled out."""

    def plus(self, added: "Progress") -> "Progress":
        """Return this with what a step added."""
        known = {f.name: getattr(added, f.name) for f in fields(added)}
        return replace(self, **{name: value for name, value in known.items() if value is not None})

    def need(self, name: str) -> str:
        """Return a part that a step before this one made; raises GateError if none did."""
        value = getattr(self, name)
        if value is None:
            raise GateError(f"no step has made {name} yet: run the steps before this one first")
        return str(value)
