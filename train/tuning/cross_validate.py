"""Trains the settings on K folds of a Dataset, and judges them by the held-out loss with its spread.

    python -m train finetune --folds 5 --config driftwheel.yaml

Each fold is a TrainingRun. None stops early: the rows that would choose its checkpoint are the rows that judge it.
Instead the folds' curves are averaged, and the settings are judged at the step where the average is least.
"""

import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftwheel.files import artifacts
from driftwheel.identity import content_hash
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.ledger import Ledger
from train.data.tokens.learned_tokens import Learn
from train.finetune import finetune
from train.training.curves import CurvePoint, read_curves
from train.tuning.folds import folds_path, make_folds
from train.tuning.search_space import as_flags

RESULT = "result_{}.json"


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """How settings did on a Dataset's folds; losses are held-out ones, in nats a token."""

    dataset_id: str
    folds: int
    loss: float
    """Mean of the folds' losses."""
    standard_error: float
    step: int
    """Where the mean is least."""
    epochs: float
    is_last_step: bool
    losses: list[float]
    """Of each fold at that step."""
    run_ids: list[str]
    train: dict[str, Any]
    """The train section that was judged."""


def cross_validate(settings: Settings, ledger: Ledger, dataset_id: str, count: int) -> CrossValidation:
    """Train on each fold, and return the mean of the held-out losses with its standard error.

    The error is that of a mean of independent folds; folds share training rows, so that the true one is larger
    (Bengio & Grandvalet, JMLR 5, 2004).
    """
    dataset = ledger.get(Dataset, dataset_id)
    steady = settings.model_copy(update={"train": settings.train.model_copy(update={"early_stopping_patience": 0})})
    folds = make_folds(settings.dataset, settings.root, dataset, count, settings.train.learn)
    runs = [finetune(steady, ledger, dataset_id, fold=fold) for fold in folds]
    result = _judge(settings.train, dataset_id, runs)
    name = RESULT.format(content_hash(result.train)[:12])
    folder = folds_path(settings.root, settings.dataset.seed, dataset_id, count, settings.train.learn)
    artifacts.write_json(folder / name, asdict(result))
    return result


def _judge(train: TrainSettings, dataset_id: str, runs: list[TrainingRun]) -> CrossValidation:
    curves = [_validations(run) for run in runs]
    # Folds differ by a row or two, so that one may end a step before the others; its end stands beside theirs.
    last = max(own[-1].step for own in curves)
    by_step = [{**{p.step: p for p in own[:-1]}, last: own[-1]} for own in curves]
    steps = sorted(set[int].intersection(*(set(own) for own in by_step)))
    mean, step = min((statistics.fmean(_losses(by_step, step)), step) for step in steps)
    losses = _losses(by_step, step)
    return CrossValidation(
        dataset_id=dataset_id,
        folds=len(runs),
        loss=mean,
        standard_error=statistics.stdev(losses) / math.sqrt(len(losses)),
        step=step,
        epochs=by_step[0][step].epoch,
        is_last_step=step == last,
        losses=losses,
        run_ids=[run.id for run in runs],
        train=train.model_dump(mode="json"),
    )


def _validations(run: TrainingRun) -> list[CurvePoint]:
    """Return the points of a run's curves at which it was validated."""
    return [p for p in read_curves(Path(run.path)) if p.eval_loss is not None]


def _losses(curves: list[dict[int, CurvePoint]], step: int) -> list[float]:
    return [loss for own in curves if (loss := own[step].eval_loss) is not None]


def earlier_results(root: Path, seed: int, dataset_id: str, count: int, learn: Learn = "last") -> list[CrossValidation]:
    """Return every result on these folds, the least mean loss first."""
    paths = folds_path(root, seed, dataset_id, count, learn).glob(RESULT.format("*"))
    results = [CrossValidation(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return sorted(results, key=lambda result: result.loss)


def as_text(path: Path, result: CrossValidation, results: list[CrossValidation]) -> str:
    """Return one result fold by fold, all settings that were tried on these folds, and which to use."""
    lines = [f"{result.folds} folds of {result.dataset_id}, held-out loss in nats a token"]
    for number, (loss, run_id) in enumerate(zip(result.losses, result.run_ids, strict=True), 1):
        lines.append(f"  fold {number}  {loss:.4f}  {run_id}")
    ending = "the last step: longer may be better" if result.is_last_step else f"epoch {result.epochs:g}"
    lines.append(f"mean {result.loss:.4f}, standard error {result.standard_error:.4f}, least at {ending}")
    best = results[0]
    if len(results) > 1:
        lines.append(f"all {len(results)} settings tried on these folds, with the paired difference to the best:")
        lines += [f"  {_against(best, r)}  {_flags(path, r) or '(the settings file)'}" for r in results]
    flags = _flags(path, best)
    equal = sum(_difference(best, r)[0] <= _difference(best, r)[1] for r in results[1:])
    doubt = f"; {equal} other(s) are within one standard error of it" if equal else ""
    lines.append(f"use {'these' if flags else 'the settings file as it is'}{doubt}:  driftwheel train {flags}".rstrip())
    return "\n".join(lines)


def _difference(best: CrossValidation, other: CrossValidation) -> tuple[float, float]:
    """Return the mean of the folds' differences and its standard error."""
    differences = [b - a for a, b in zip(best.losses, other.losses, strict=True)]
    return statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(len(differences))


def _against(best: CrossValidation, other: CrossValidation) -> str:
    mean, error = _difference(best, other)
    against = f"+{mean:.4f} (s.e. {error:.4f})" if other is not best else "best".ljust(22)
    return f"{other.loss:.4f} (s.e. {other.standard_error:.4f})  {against}"


def _flags(path: Path, result: CrossValidation) -> str:
    return as_flags(path, TrainSettings(**result.train))
