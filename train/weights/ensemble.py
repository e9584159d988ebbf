"""Combines several runs on one base into one model, by what each changed of the base.

    python -m train merge --runs RUN_A RUN_B --method ties --weights 0.5 0.5

What a run changed is its merged weights minus the base's, whatever method trained it (Ilharco et al. 2023). PEFT's
`add_weighted_adapter` combines the factors of adapters instead: its `linear` also multiplies one run's A with the
other's B, and its other ways cut the result back to a low rank. Here nothing is cut, because the result is a whole
model anyway.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from driftwheel.errors import ConfigError, ConflictError
from driftwheel.files import artifacts
from driftwheel.identity import content_hash, new_id, utc_now
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer, load_weights
from train.runs import weights_path
from train.weights.whole_model import base_of, whole_model

Way = Literal["linear", "ties", "dare_linear", "dare_ties"]
WAYS: tuple[Way, ...] = get_args(Way)
METHOD = "ensemble"
"""What the row of such a run has as its method."""


def ensemble(
    settings: Settings,
    ledger: Ledger,
    run_ids: Sequence[str],
    *,
    way: Way = "linear",
    weights: Sequence[float] = (),
    density: float = 0.5,
) -> TrainingRun:
    """Combine runs into a new run of whole weights, or find that done; the newest run's Dataset will judge it.

    `weights` are the runs' shares (equal if none are given), `density` the share of changes that TIES and DARE keep.
    Raises ConfigError for weights that mean nothing, ConflictError for runs that do not fit together.
    """
    runs = [ledger.get(TrainingRun, run_id) for run_id in run_ids]
    shares = list(weights) or [1 / len(runs)] * len(runs)
    _check(runs, shares, density)
    chosen = {
        "model": runs[0].settings["model"],
        "base_identity": runs[0].settings["base_identity"],
        "merged_from": {"run_ids": list(run_ids), "way": way, "weights": shares, "density": density},
        "seed": settings.train.seed,
    }
    run = _find_or_add(settings, ledger, runs, chosen)
    if run.status is TrainingRunStatus.SUCCEEDED and artifacts.is_complete(weights_path(run)):
        return run
    model = load_weights(run.base_model, "float32", revision=run.settings["model"]["revision"])
    tuned = [whole_model(settings.root, settings.base, r, weights_path(r)) for r in runs]
    _add_changes(model, tuned, shares, way, density, run.seed)
    facts = {"run_id": run.id, "dataset_id": run.dataset_id, "base_model": run.base_model, **chosen["merged_from"]}
    with artifacts.writing(weights_path(run), facts) as folder:
        model.save_pretrained(folder)
        load_tokenizer(str(weights_path(runs[0]))).save_pretrained(folder)
    return ledger.change(run, status=TrainingRunStatus.SUCCEEDED, finished_at=utc_now())


def _check(runs: Sequence[TrainingRun], shares: Sequence[float], density: float) -> None:
    if len({run.id for run in runs}) < 2:
        raise ConfigError("name at least two different runs with --runs")
    if len(shares) != len(runs):
        raise ConfigError(f"{len(shares)} weights for {len(runs)} runs; give each run one")
    if not all(0 < share < math.inf for share in shares) or not 0 < density <= 1:
        raise ConfigError("every weight must be above 0, and --density above 0 and at most 1")
    for run in runs:
        if run.status is not TrainingRunStatus.SUCCEEDED:
            raise ConflictError(
                f"{run.id} is {run.status}: only runs that succeeded can be combined; `driftwheel runs` lists them"
            )
        if run.settings["base_identity"] != runs[0].settings["base_identity"]:
            raise ConflictError(f"{run.id} and {runs[0].id} started from different models; combine runs of one base")
        if _template_hash(run) != _template_hash(runs[0]):
            raise ConflictError(f"{run.id} and {runs[0].id} learned other chat templates; combine runs of one template")


def _template_hash(run: TrainingRun) -> str | None:
    folder = weights_path(run)
    return artifacts.read_manifest(folder).template_hash if artifacts.is_complete(folder) else None


def _find_or_add(
    settings: Settings, ledger: Ledger, runs: Sequence[TrainingRun], chosen: dict[str, Any]
) -> TrainingRun:
    settings_hash = content_hash(chosen)
    found = ledger.find(TrainingRun, project=settings.project, settings_hash=settings_hash, limit=1)
    if found:
        return found[0]
    at = utc_now()
    run_id = new_id("run", [settings.project, settings_hash], at)
    newest = max(runs, key=lambda run: run.created_at)
    run = TrainingRun(
        id=run_id,
        project=settings.project,
        created_at=at,
        dataset_id=newest.dataset_id,
        base_model=base_of(settings.root, settings.base, newest).source,
        method=METHOD,
        settings=chosen,
        settings_hash=settings_hash,
        seed=settings.train.seed,
        path=str(settings.root / "runs" / run_id),
    )
    ledger.add(run)
    return run


def _add_changes(
    model: Any, tuned: Sequence[Any], shares: Sequence[float], way: Way, density: float, seed: int
) -> None:
    """Add the runs' combined changes to the base's weights in place."""
    import torch

    # DARE drops changes at random, and the same runs shall make the same model.
    torch.manual_seed(seed)
    others = [dict(other.named_parameters()) for other in tuned]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            changes = torch.stack([other[name] - weight for other in others])
            if changes.any():
                weight += combine(changes, shares, way, density)


def combine(changes: Any, shares: Sequence[float], way: Way, density: float) -> Any:
    """Return one change of a weight from several, stacked along the first dimension.

    TIES keeps the largest changes, elects a sign for each number and averages those that have it (Yadav et al. 2023,
    section 3); shares weigh in the election and in the average. DARE keeps a random part, enlarged so that its sum
    stays the same in the mean (Yu et al. 2024, section 3).
    """
    import torch
    from peft.utils.merge_utils import calculate_majority_sign_mask, prune

    if way != "linear" and density < 1:
        kind = {"method": "random", "rescale": True} if way.startswith("dare") else {"method": "magnitude"}
        changes = torch.stack([prune(change, density, **kind) for change in changes])
    share = torch.tensor(shares).reshape(-1, *[1] * (changes.dim() - 1))
    if not way.endswith("ties"):
        return (share * changes).sum(0)
    share = share * calculate_majority_sign_mask(share * changes)
    # Where no run has the elected sign, both sums are zero and the weight stays the base's.
    return (share * changes).sum(0) / share.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
