"""Finds the checkpoint that a training resumes from."""

import shutil
from pathlib import Path

CHECKPOINT_MARK = "complete"
"""Written into a checkpoint after everything else, so that one cut off by a kill is never resumed from."""


def last_complete_checkpoint(run_path: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, and remove those that were not."""
    complete: list[tuple[int, Path]] = []
    for folder in (run_path / "checkpoints").glob("checkpoint-*"):
        if (folder / CHECKPOINT_MARK).is_file():
            complete.append((int(folder.name.rpartition("-")[2]), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return max(complete)[1] if complete else None
