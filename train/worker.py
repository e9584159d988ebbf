"""The steps of a retrain in their order, from labelled traffic to a rolled-out version.

    python -m train worker --config driftwheel.yaml

`STEPS` is the one place that knows the order. Each step gets what those before it made, adds its own part, and finds
finished work instead of redoing it. `workflow.py` carries a decision through all of them, whatever dies in between;
the verbs run some of them in their own process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from driftwheel.errors import ConflictError, GateError, ParityError
from driftwheel.files import artifacts
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.nouns import Dataset, ModelVersionStatus, TrainingRun
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.artifact import GateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias, live_version
from driftwheel.store.ledger import Ledger
from driftwheel.text.grades import Criterion
from train.data.live.traffic_dataset import dataset_from_traffic
from train.evaluate import evaluate
from train.evaluation.baseline import best_answers, best_outcome, lacks_grades
from train.evaluation.finished import load_evaluation
from train.evaluation.general_tasks import forgotten
from train.fidelity.hops import is_too_coarse
from train.fidelity.parity_table import Parity, find_parity
from train.finetune import finetune
from train.gate import decide, without_grades
from train.merge import merge
from train.parity import parity
from train.preference.prefer import preference_dataset
from train.processes.process_tuning import tune_process
from train.publish import publish
from train.quantize import quantize
from train.retrain_state import Job, Progress
from train.roll_out import roll_out, wait_for_word
from train.runs import merged_path
from train.verdict.evidence import count_looks, read_items, require_one_criterion, what_stays_fixed
from train.verdict.paired_tables import Item, Outcomes
from train.warm_start import starting_weights
from train.weights.scheme_choice import finer_scheme, why_not_first

log = structlog.get_logger()


def _build_dataset(job: Job, progress: Progress) -> Progress:
    """Turn labelled traffic, new rows of files and a replay share into a Dataset, or take the one that was chosen."""
    if job.dataset_id is not None:
        chosen = job.ledger.get(Dataset, job.dataset_id, project=job.settings.project)
        return Progress(dataset_id=chosen.id, train_rows=chosen.train_rows, test_rows=chosen.test_rows)
    dataset = dataset_from_traffic(job.settings, job.ledger, str(job.decision_id))
    if job.settings.train.objective != "sft":
        dataset = preference_dataset(job.settings, job.ledger, dataset, has_corrections=True)
    return Progress(dataset_id=dataset.id, train_rows=dataset.train_rows, test_rows=dataset.test_rows)


def _finetune(job: Job, progress: Progress) -> Progress:
    """Fine-tune on the dataset, from the base model or from the weights that are live."""
    tune_process()
    run = finetune(starting_weights(job.settings, job.ledger), job.ledger, progress.need("dataset_id"))
    return Progress(run_id=run.id, metrics=run.metrics)


def _merge(job: Job, progress: Progress) -> Progress:
    """Merge the adapter into the base model, unless it is served beside it."""
    if job.settings.merge.kind == "adapter":
        return Progress()
    return Progress(merged=str(merge(job.settings, job.ledger, progress.need("run_id"))))


def _quantize(job: Job, progress: Progress) -> Progress:
    """Write the artifact that will be served."""
    return Progress(artifact=str(quantize(job.settings, job.ledger, progress.need("run_id"))))


def _parity(job: Job, progress: Progress) -> Progress:
    """Compare each form of the files with what was trained, on the same prompts."""
    run_id, artifact = progress.need("run_id"), Path(progress.need("artifact"))
    found = _measure_fine_enough(job, run_id, artifact)
    return Progress(artifact=str(found.artifact), parity=tuple(found.rows))


def _evaluate(job: Job, progress: Progress) -> Progress:
    """Score that artifact, served, on the dataset's test split."""
    artifact = Path(progress.need("artifact"))
    done = evaluate(
        job.settings,
        job.ledger,
        artifact=artifact,
        dataset_id=progress.need("dataset_id"),
        with_baseline=job.with_baseline,
        parity=find_parity(job.settings.root, artifact),
    )
    return Progress(evaluation=str(done.folder), accuracy=done.scorecard.accuracy, grade=done.scorecard.grade)


def _gate(job: Job, progress: Progress) -> Progress:
    """Decide on it beside the live version on the same items."""
    evaluation, dataset_id = Path(progress.need("evaluation")), progress.need("dataset_id")
    # Before the live version is read: a move in between is then seen as one.
    alias = find_alias(job.ledger, *job.settings.alias_key)
    verdict = decide_against_live(job.settings, job.ledger, evaluation=evaluation, dataset_id=dataset_id)
    return Progress(verdict=verdict, seen_fence=None if alias is None else alias.fence)


def _publish_version(job: Job, progress: Progress) -> Progress:
    """Record the ModelVersion, published or rejected."""
    version = publish(
        job.settings,
        job.ledger,
        run_id=progress.need("run_id"),
        artifact=Path(progress.need("artifact")),
        evaluation=Path(progress.need("evaluation")),
        verdict=progress.verdict or GateVerdict(),
        decision_id=job.decision_id,
        override=job.override,
    )
    return Progress(version_id=version.id, number=version.number, status=version.status.value)


def _roll_out(job: Job, progress: Progress) -> Progress:
    """Make a published version the desired one, if a person lets it, and wait until the gateway serves it."""
    if progress.status != ModelVersionStatus.PUBLISHED:
        return Progress(rolled_out=False, reason=progress.verdict.reason if progress.verdict else "")
    settings, version_id = job.settings, progress.need("version_id")
    try:
        if job.decision_id is not None:
            wait_for_word(settings.policy, job.ledger, job.decision_id)
        key = settings.alias_key
        fence = roll_out(settings.serve, job.ledger, key, version_id, seen_fence=progress.seen_fence)
    except ConflictError as error:
        return Progress(rolled_out=False, reason=str(error))
    return Progress(rolled_out=True, fence=fence)


@dataclass(frozen=True)
class RetrainStep:
    """One step by its name, which the timeline shows."""

    name: str
    run: Callable[[Job, Progress], Progress]
    """Returns the part that the step adds."""
    is_heavy: bool = field(default=False, kw_only=True)
    """The worker runs it as a child process: its memory returns, and a pause, its limit or a person can stop it."""


STEPS: tuple[RetrainStep, ...] = (
    RetrainStep("build_dataset", _build_dataset, is_heavy=True),
    RetrainStep("finetune", _finetune, is_heavy=True),
    RetrainStep("merge", _merge, is_heavy=True),
    RetrainStep("quantize", _quantize, is_heavy=True),
    RetrainStep("parity", _parity, is_heavy=True),
    RetrainStep("evaluate", _evaluate, is_heavy=True),
    RetrainStep("gate", _gate, is_heavy=True),
    RetrainStep("publish_version", _publish_version),
    RetrainStep("roll_out", _roll_out),
)


def run_steps(job: Job, progress: Progress, first: str, last: str) -> Progress:
    """Run the steps from one to another in this process, in the order of `STEPS`, and return all that is made."""
    names = [step.name for step in STEPS]
    for step in STEPS[names.index(first) : names.index(last) + 1]:
        progress = progress.plus(step.run(job, progress))
    return progress


def build_artifact(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Merge and quantize what a run trained, as far as that is not done, and return the artifact's folder."""
    made = run_steps(Job(settings, ledger), Progress(run_id=run_id), "merge", "quantize")
    return Path(made.need("artifact"))


def measure_forms(settings: Settings, ledger: Ledger, run_id: str, artifact: Path | None = None) -> Parity:
    """Measure the hops from a run's trainer to its artifact's files; builds what is missing.

    Without an artifact `quantize.scheme: auto` takes a finer scheme where one changes the model too much. Raises
    ParityError naming the first form of the model that is not what was trained.
    """
    job, known = Job(settings, ledger), artifact or build_artifact(settings, ledger, run_id)
    is_merged = artifacts.is_complete(merged_path(ledger.get(TrainingRun, run_id)))
    if not is_merged and find_parity(settings.root, known) is None:
        run_steps(job, Progress(run_id=run_id), "merge", "merge")
    if artifact is None:
        return _measure_fine_enough(job, run_id, known)
    return parity(settings, ledger, run_id, known)


def _measure_fine_enough(job: Job, run_id: str, artifact: Path) -> Parity:
    """Measure an artifact, and where `auto` chose a scheme that is too coarse for the model, a finer one instead."""
    quantizing = job.settings.quantize
    passed_over: tuple[str, ...] = ()
    if reason := why_not_first(quantizing, artifacts.read_manifest(artifact).quantization):
        passed_over = (reason,)
    while True:
        try:
            return parity(job.settings, job.ledger, run_id, artifact, coarser=passed_over)
        except ParityError as error:
            scheme = artifacts.read_manifest(artifact).quantization
            finer = finer_scheme(quantizing, scheme) if is_too_coarse(error) else None
            if finer is None:
                raise
            log.warning("a scheme is too coarse for this model", run=run_id, scheme=scheme, next=finer.name)
            passed_over = (*passed_over, f"{scheme}: {error}")
            chosen = quantizing.model_copy(update={"scheme": finer.name})
            artifact = quantize(job.settings.model_copy(update={"quantize": chosen}), job.ledger, run_id)


def decide_against_live(settings: Settings, ledger: Ledger, *, evaluation: Path, dataset_id: str) -> GateVerdict:
    """Return the gate's verdict on a finished evaluation; the live version is evaluated if it was not yet."""
    candidate = load_evaluation(settings, ledger, evaluation)
    if candidate.scorecard.dataset_id != dataset_id:
        raise GateError(
            f"{evaluation} was scored on {candidate.scorecard.dataset_id}, not on {dataset_id}; evaluate it there"
        )
    dataset, live = ledger.get(Dataset, dataset_id), live_version(ledger, settings.project, settings.serve.alias)
    items = read_items(evaluation, dataset)
    criterion: Criterion = candidate.scorecard.criterion or "right"
    if live is None:
        base = best_answers(settings, dataset, candidate.scorecard)
        return _decide_first(settings.gate, candidate.scorecard, items, criterion, base)
    answered = evaluate(settings, ledger, artifact=Path(live.path), dataset_id=dataset_id)
    require_one_criterion(criterion, answered.scorecard)
    verdict = decide(
        settings.gate,
        items,
        read_items(answered.folder, dataset),
        earlier_looks=count_looks(ledger, settings.project, items, str(artifacts.read_manifest(evaluation).artifact)),
        fixed=what_stays_fixed(ledger, live, criterion),
        live_version_id=live.id,
        criterion=criterion,
        label_odds=dataset.report.label_odds,
    )
    general = forgotten(candidate.scorecard.general or {}, answered.scorecard.general or {})
    return replace(verdict, general=general)


def _decide_first(
    settings: GateSettings, card: Scorecard, items: Sequence[Item], criterion: Criterion, base: Outcomes
) -> GateVerdict:
    """Return the verdict on a first version beside the base model, whose best prompt it must beat."""
    for name, prompt in (card.baseline or {}).items():
        if lacks_grades(prompt, settings.max_ungraded):
            return without_grades(prompt.ungraded or 0, prompt.items, f"answers of the base model ({name})")
    baseline = best_outcome(card.baseline, card.criterion)
    return decide(settings, items, None, baseline=baseline, base=base, criterion=criterion)
