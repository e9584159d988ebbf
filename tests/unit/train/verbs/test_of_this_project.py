"""A verb takes no record of another project that shares the database."""

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from driftwheel.errors import NotFoundError
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.whole_loop import add_version
from train.verbs import prompt, publish


@pytest.mark.parametrize(
    ("verb", "words", "named"),
    [
        (prompt, ["publish", "prompt.txt", "--dataset", "dataset_theirs"], "no dataset 'dataset_theirs'"),
        (publish, ["--run", "run_theirs"], "no run 'run_theirs'"),
    ],
    ids=["prompt", "publish"],
)
def test_what_is_another_projects_is_not_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: ModuleType, words: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text("Be brief.")
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        add_version(ledger, settings)
        ledger.add(replace(ledger.get(Dataset, "dataset_1"), id="dataset_theirs", project="theirs"))
        run = ledger.get(TrainingRun, "run_1")
        ledger.add(replace(run, id="run_theirs", project="theirs", dataset_id="dataset_theirs", settings_hash="other"))
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    with pytest.raises(NotFoundError, match=named):
        verb.main(parser.parse_args([*words, "--config", str(settings.path)]))
