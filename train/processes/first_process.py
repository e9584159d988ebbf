"""Rank of a process in a joint training: only the first process writes files and rows."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from driftwheel.files import artifacts


def is_first_process() -> bool:
    """Say whether this process is the one that writes: the first of those that train together, or the only one."""
    # torchrun sets RANK; a training that runs alone has none.
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def folder_to_write(target: Path, facts: Mapping[str, object]) -> Iterator[Path]:
    """Give the first process the folder that becomes the artifact, and the others one that is thrown away."""
    if is_first_process():
        with artifacts.writing(target, facts) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
