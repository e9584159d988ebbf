"""Searches for the settings with the least validation loss: each trial of the Optuna study is a TrainingRun.

The study is durable: Optuna keeps each trial in the project's database, and the same command continues where a
killed search stood. A finished trial is never trained again, a trial that died goes on from its checkpoint.
"""

from collections.abc import Sequence
from typing import Any

import optuna
import structlog
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.pool import NullPool

from driftwheel.errors import ConfigError, DataError
from driftwheel.identity import content_hash
from driftwheel.machine.system import only_process
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TuneSettings
from driftwheel.store.database import with_driver
from driftwheel.store.ledger import Ledger
from driftwheel.store.sqlite import safe_sqlite_module
from train.base_model import identity
from train.finetune import find_or_add_run, finetune
from train.processes.number_type import with_number_type
from train.tuning.pruning import pruner
from train.tuning.search_report import ENDED, INTERRUPTED, Search, search_path, write_summary
from train.tuning.search_space import Space, TrialValues, grid, is_whole, search_space, with_values

log = structlog.get_logger()


def study_id(settings: Settings, dataset_id: str) -> str:
    """Return the id under which the same question to the same data finds its earlier trials."""
    space = search_space(settings.tune, settings.train)
    fixed = {k: v for k, v in settings.train.model_dump(mode="json").items() if k not in space}
    asked = {
        "project": settings.project,
        "dataset": dataset_id,
        "base": identity(settings.base),
        "train": fixed,
        "space": {k: v if isinstance(v, list) else v.model_dump() for k, v in space.items()},
        "tune": settings.tune.model_dump(include={"sampler", "pruner"}),
    }
    return f"study_{content_hash(asked)[:12]}"


def tune(settings: Settings, ledger: Ledger, dataset_id: str) -> Search:
    """Search until `tune.trials` trials are done, and return the search as it stands then.

    Raises ConfigError if no trial could be trained, ConflictError if another process runs this search.
    """
    dataset = ledger.get(Dataset, dataset_id)
    name = study_id(settings, dataset_id)
    conflict = f"another process runs the search {name}; wait for it or stop it"
    with only_process(search_path(settings.root, name) / "lock", conflict):
        study = open_study(settings, name)
        _take_up(study)
        if settings.tune.sampler == "grid":
            _enqueue_grid(grid(search_space(settings.tune, settings.train)), study, settings.tune.trials)
        search = write_summary(settings, study, dataset_id)
        while len(_ended(study)) < settings.tune.trials and not _is_exhausted(settings.tune, study):
            _run_trial(settings, ledger, dataset, study)
            search = write_summary(settings, study, dataset_id)
    if search.best is None:
        errors = [t.error for t in search.trials if t.error]
        raise ConfigError(f"no trial of {name} could be trained to its end; the last said: {errors[-1]}")
    return search


def _enqueue_grid(points: Sequence[TrialValues], study: Study, trials: int) -> None:
    if len(points) > trials:
        log.warning(
            "the grid has more points than tune.trials, and the last ones are not tried; "
            f"`--trials {len(points)}` tries all",
            points=len(points),
            trials=trials,
        )
    for point in points:
        study.enqueue_trial(point, skip_if_exists=True)


def open_study(settings: Settings, name: str) -> Study:
    """Open a study in the project's database, or make it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = settings.database_or("tune.db")
    # No connection is kept: a trial takes minutes, in which the server may restart, and Optuna closes none itself.
    options: dict[str, Any] = {"poolclass": NullPool}
    if url.startswith("sqlite"):
        settings.root.mkdir(parents=True, exist_ok=True)
        options = {"module": safe_sqlite_module(), "connect_args": {"timeout": 30}}
    storage = optuna.storages.RDBStorage(with_driver(url), engine_kwargs=options)
    known = name in optuna.study.get_all_study_names(storage)
    # A sampler that began with the same seed again after a restart would draw the same values again.
    drawn = len(optuna.load_study(study_name=name, storage=storage).trials) if known else 0
    seed = settings.train.seed + drawn
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    is_pruned = settings.tune.pruner == "median"
    return optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        direction="minimize",
        # A grid's points are enqueued beforehand; its sampler has nothing to draw.
        sampler=samplers.get(settings.tune.sampler, optuna.samplers.RandomSampler)(seed=seed),
        pruner=optuna.pruners.MedianPruner() if is_pruned else optuna.pruners.NopPruner(),
    )


def _take_up(study: Study) -> None:
    """Ask again for the trials that a killed process left running."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.set_user_attr(INTERRUPTED, [*study.user_attrs.get(INTERRUPTED, []), trial.number])
        # Optuna would leave a killed process's trial RUNNING for ever, and never ask for its values again.
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial({**trial.system_attrs.get("fixed_params", {}), **trial.params})


def _ended(study: Study) -> list[FrozenTrial]:
    interrupted = study.user_attrs.get(INTERRUPTED, [])
    return [t for t in study.get_trials(states=ENDED) if t.number not in interrupted]


def _is_exhausted(settings: TuneSettings, study: Study) -> bool:
    return settings.sampler == "grid" and not study.get_trials(states=(TrialState.WAITING,))


def _run_trial(settings: Settings, ledger: Ledger, dataset: Dataset, study: Study) -> None:
    trial = study.ask()
    drawn = with_values(settings.train, suggest(trial, search_space(settings.tune, settings.train)))
    train = with_number_type(drawn)
    chosen = settings.model_copy(update={"train": train})
    run = find_or_add_run(chosen, ledger, dataset, study_id=study.study_name)
    trial.set_user_attr("run_id", run.id)
    try:
        run = finetune(chosen, ledger, dataset.id, callbacks=[pruner(trial)], study_id=study.study_name)
        loss = loss_of(run)
    except optuna.TrialPruned as stop:
        trial.set_user_attr("error", str(stop))
        study.tell(trial, state=TrialState.PRUNED)
    except (ConfigError, DataError) as error:
        # Such as a learning rate at which the loss is no number, or a rank that does not fit the memory.
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, loss)


def loss_of(run: TrainingRun) -> float:
    """Return what a trial is judged by; raises DataError if no row of its Dataset may choose."""
    if run.metrics.eval_loss is None:
        raise DataError(
            f"{run.dataset_id} holds out no row that may judge a trial, as replayed ones alone may not; build a "
            "Dataset with more labels"
        )
    return run.metrics.eval_loss


def suggest(trial: Trial, space: Space) -> TrialValues:
    """Return a trial's values."""
    values: TrialValues = {}
    for key, choices in space.items():
        if isinstance(choices, list):
            values[key] = trial.suggest_categorical(key, choices)
        elif is_whole(choices):
            step = int(choices.step or 1)
            values[key] = trial.suggest_int(key, int(choices.low), int(choices.high), step=step, log=choices.log)
        else:
            values[key] = trial.suggest_float(key, choices.low, choices.high, step=choices.step, log=choices.log)
    return values
