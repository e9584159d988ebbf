"""Reads what a version learned: the training rows of its Dataset, with which its traffic is compared."""

import json
from functools import lru_cache
from pathlib import Path

import structlog

from driftwheel.records.nouns import Dataset
from driftwheel.text.conversations import last_text, text_of
from monitor.background import Background, LearnedText, background_of

log = structlog.get_logger()
MOST_TEXTS = 20_000
"""Evenly drawn from more: their words are known well enough by then, and a look-up costs as much as there are texts."""


def learned_by(dataset: Dataset) -> Background | None:
    """Return the training texts of a Dataset, prepared once for each process; None where their file cannot be read."""
    path = Path(dataset.path) / "train.jsonl"
    try:
        return _prepared(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        # A loop goes on without its training file: then the traffic is compared with the reference alone.
        log.debug("no training texts to compare with", dataset=dataset.id, path=str(path), error=str(error))
        return None


@lru_cache(maxsize=2)
def _prepared(path: Path, changed_at: int) -> Background | None:
    """Read and prepare a file; `changed_at` makes another file of it."""
    lines = path.read_bytes().splitlines()
    step = max(1, -(-len(lines) // MOST_TEXTS))
    rows = [json.loads(line) for line in lines[::step] if line.strip()]
    texts = [LearnedText(last_text(row["prompt"]), text_of(row["completion"][-1]), row.get("label")) for row in rows]
    return background_of(texts) if texts else None
