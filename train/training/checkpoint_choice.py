"""Who chooses a training's checkpoint: its validation rows, of which the replayed ones never outvote the new ones.

A retrain goes on from what the old rows taught, so that their loss is least at the first step; and validation holds
more of them than of what people have said since. Counted row by row they would keep a checkpoint that has not learned
what the retrain is for.
"""

from collections.abc import Collection, Sequence

import structlog

from train.data.examples import NEW

log = structlog.get_logger()


def validation_weights(taught: Collection[str], rows: Sequence[tuple[str, int]]) -> list[float] | None:
    """Return each validation row's weight, or None if no row may choose; `taught` are the training rows' slices.

    Rows are pairs of a slice and the number of tokens that count in the loss. Replayed rows together weigh as much as
    the new ones together, or less where they have fewer tokens: the gate too asks both, what was won on the new and
    what was lost on the old. Where new rows are learned and none validates, nobody can say when to stop.
    """
    if NEW not in taught:
        return [1.0] * len(rows) or None
    new = sum(tokens for slice_, tokens in rows if slice_ == NEW)
    old = sum(tokens for slice_, tokens in rows if slice_ != NEW)
    if not new:
        if rows:
            log.warning("no new row is held out for validation: the last step is kept", replayed_rows=len(rows))
        return None
    of_replayed = min(1.0, new / old) if old else 1.0
    return [1.0 if slice_ == NEW else of_replayed for slice_, _ in rows]
