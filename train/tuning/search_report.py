"""Reports on a search: its summary file, which the dashboard draws, its text for a person, and a picture."""

from dataclasses import asdict, dataclass
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from driftwheel.errors import StorageError
from driftwheel.files.artifacts import write_json
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.tuning.search_space import TrialValues, as_flags, search_space, with_values

SUMMARY = "search.json"
INTERRUPTED = "interrupted"
"""Attribute of a study: the numbers of its trials that a killed process left, which were asked for again."""

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
FEWEST_FOR_IMPORTANCE = 4
"""Of fewer finished trials it would be chance."""


def search_path(root: Path, name: str) -> Path:
    """Return a search's folder."""
    return root / "searches" / name


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial that ended."""

    number: int
    state: str
    """`complete`, `pruned`, `fail`, or `interrupted` where a killed process left it."""
    eval_loss: float | None
    """Its validation loss; of a trial that did not finish the least that it reached."""
    last_step: int | None
    """The step of its last validation."""
    values: TrialValues
    run_id: str | None
    seconds: float | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class BestTrial(TrialResult):
    """The trial with the least validation loss."""

    flags: str
    """What turns the settings file into its settings on the command line."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for settings as it stands; its fields are the keys of search.json."""

    id: str
    dataset_id: str
    sampler: str
    space: dict[str, object]
    trials: list[TrialResult]
    importance: dict[str, float]
    """Each setting's share in the spread of the loss; empty for few trials."""
    best: BestTrial | None


def write_summary(settings: Settings, study: Study, dataset_id: str) -> Search:
    """Write a search's summary as it stands now, and return it."""
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    space = search_space(settings.tune, settings.train)
    search = Search(
        id=study.study_name,
        dataset_id=dataset_id,
        sampler=settings.tune.sampler,
        space={k: v if isinstance(v, list) else v.model_dump() for k, v in space.items()},
        trials=[_result(study, trial) for trial in study.get_trials(states=ENDED)],
        importance=_importance(study, complete),
        best=_best(settings.path, settings.train, study) if complete else None,
    )
    write_json(search_path(settings.root, study.study_name) / SUMMARY, asdict(search))
    return search


def _result(study: Study, trial: FrozenTrial) -> TrialResult:
    steps = trial.intermediate_values
    is_interrupted = trial.number in study.user_attrs.get(INTERRUPTED, [])
    return TrialResult(
        number=trial.number,
        state="interrupted" if is_interrupted else trial.state.name.lower(),
        eval_loss=trial.value if trial.value is not None else min(steps.values(), default=None),
        last_step=max(steps, default=None),
        values=trial.params,
        run_id=trial.user_attrs.get("run_id"),
        seconds=round(trial.duration.total_seconds(), 2) if trial.duration else None,
        error=trial.user_attrs.get("error"),
    )


def _best(path: Path, train: TrainSettings, study: Study) -> BestTrial:
    best = study.best_trial
    return BestTrial(**vars(_result(study, best)), flags=as_flags(path, with_values(train, best.params)))


def _importance(study: Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Return each setting's share in the spread of the loss (PED-ANOVA, Watanabe et al. 2023); {} for few trials."""
    from optuna.importance import get_param_importances

    varied = {key for t in complete for key in t.params if t.params[key] != complete[0].params.get(key)}
    losses = {t.value for t in complete}
    if len(complete) < FEWEST_FOR_IMPORTANCE or len(losses) < 2 or not varied:
        return {}
    return {k: round(v, 4) for k, v in get_param_importances(study, params=sorted(varied)).items()}


def as_text(search: Search) -> str:
    """Return a search as lines for a person: trials from the best on, importance, and how to go on."""
    order = {"complete": 0, "pruned": 1}
    known = [(order.get(t.state, 2), t.eval_loss, t) for t in search.trials if t.eval_loss is not None]
    lines = [f"{search.id} on {search.dataset_id}: {len(search.trials)} trials"]
    for _, loss, t in sorted(known, key=lambda found: found[:2]):
        values = "  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in t.values.items())
        lines.append(f"{t.number:>4}  {t.state:<11}  validation loss {loss:.4f}  {values}")
    if search.importance:
        lines.append("importance  " + "  ".join(f"{k} {v:.0%}" for k, v in search.importance.items()))
    if best := search.best:
        lines.append(f"best: trial {best.number}, already trained as {best.run_id}")
        lines.append(f"publish it:  driftwheel publish --run {best.run_id}")
        lines.append(f"or keep its settings:  driftwheel train {best.flags}")
    return "\n".join(lines)


def write_picture(study: Study, path: Path) -> None:
    """Draw a search into one HTML file that needs no network: the trials, their parallel coordinates, importance.

    Raises StorageError if the file cannot be written.
    """
    from optuna import visualization

    complete = study.get_trials(states=(TrialState.COMPLETE,))
    figures = [visualization.plot_optimization_history(study, target_name="validation loss")]
    if len({key for t in complete for key in t.params}) > 1:
        figures.append(visualization.plot_parallel_coordinate(study, target_name="validation loss"))
    figures.append(visualization.plot_intermediate_values(study))
    if _importance(study, complete):
        figures.append(visualization.plot_param_importances(study, target_name="validation loss"))
    parts = [f.to_html(full_html=False, include_plotlyjs=number == 0) for number, f in enumerate(figures)]
    page = f"<!doctype html><meta charset='utf-8'><title>{study.study_name}</title>{''.join(parts)}"
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; name another file") from error
