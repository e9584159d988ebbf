"""The arguments of a training, passed in this process or through a file to other processes."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, StorageError
from driftwheel.files import artifacts
from driftwheel.records.nouns import TrainingRun
from driftwheel.settings.settings import Settings

RUN_FIELDS = ("id", "project", "dataset_id", "base_model", "method", "settings", "settings_hash", "seed", "path")
"""What a process needs to know of its run; the rest, such as its times, is the ledger's."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training of a run's settings on the rows of a folder."""

    settings: Settings
    rows_path: Path
    """Folder with train.jsonl and validation.jsonl: a Dataset's, or a fold's."""
    run: TrainingRun
    checkpoint: Path | None
    """The checkpoint to resume from."""
    callbacks: Sequence[Any] = ()
    """Further callbacks of transformers' Trainer; no other process can be told of them."""

    def write(self, path: Path) -> None:
        """Write the job file; raises ConfigError for a job that only this process can do."""
        if self.callbacks:
            raise ConfigError("a search trains each trial in one process; set train.num_processes to 1 for it")
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            # A folder of a run is shown to others, and its processes never open the ledger.
            "settings": self.settings.without_secrets(),
            "settings_path": str(self.settings.path),
            "rows_path": str(self.rows_path),
            "run": {name: getattr(self.run, name) for name in RUN_FIELDS},
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
        }
        artifacts.write_json(path, told)

    @classmethod
    def read(cls, path: Path) -> "TrainingJob":
        """Read a job file; raises StorageError where this machine does not see it."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StorageError(
                f"{os.uname().nodename} does not see {path}; every node must reach storage.root under the same path: "
                "put it on a filesystem that they share"
            ) from error
        return cls(
            settings=Settings(**told["settings"], path=Path(told["settings_path"])),
            rows_path=Path(told["rows_path"]),
            run=TrainingRun(**told["run"]),
            checkpoint=Path(told["checkpoint"]) if told["checkpoint"] else None,
        )
