"""Warm start: a training goes on from the merged weights of a run, those of the live version above all.

What is trained then is a new adapter on these weights, and not the old adapter on its base: so it is the same for every
variant of LoRA, for whole models, and for runs that were combined. The run remembers where it started, and with it the
version's lineage.
"""

import structlog

from driftwheel.records.nouns import ModelVersion, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from train.merge import merge
from train.runs import newest_run

log = structlog.get_logger()


def starting_weights(settings: Settings, ledger: Ledger) -> Settings:
    """Return the settings with the weights that a training begins with as their base model.

    For sft `train.start_from` chooses them; until a version is live they are the base's. dpo and kto go on from the run
    whose answers people judged.
    """
    live = live_version(ledger, settings.project, settings.serve.alias)
    if settings.train.objective == "sft" and (settings.train.start_from == "base" or live is None):
        if settings.train.start_from == "live":
            log.info("no version is live yet: the training starts from the base model", base=settings.model.base)
        return settings
    run = judged_run(ledger, settings.project, live)
    # A merged folder has no revision; the hub's would be looked for in it.
    merged = settings.model.model_copy(update={"base": str(merge(settings, ledger, run.id)), "revision": None})
    return settings.model_copy(update={"model": merged})


def judged_run(ledger: Ledger, project: str, live: ModelVersion | None) -> TrainingRun:
    """Return the run whose answers people judged: the live version's, or before the first version the newest."""
    return newest_run(ledger, project) if live is None else ledger.get(TrainingRun, live.run_id)
