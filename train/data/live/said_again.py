"""Tells labels that only repeat what the live Dataset holds from fresh ones: they add trust, and no row."""

from collections.abc import Sequence
from dataclasses import replace

from driftwheel.settings.data import DatasetSettings
from train.data.examples import Example
from train.data.live.traffic_rows import LabelledRow
from train.data.splitting.clean_rows import answer_as_learned
from train.data.splitting.splits import Splits
from train.data.splitting.tally import Tally

SAID_AGAIN = "labelled again as the live dataset has it"


def without_said_again(
    settings: DatasetSettings, rows: Sequence[LabelledRow], old: Splits, tally: Tally
) -> tuple[list[LabelledRow], Splits]:
    """Return the labelled requests that say something new, and the live Dataset's rows with the trust they have now.

    A row that somebody trusted vouches for counts as verified from now on; it was learned, so that it judges nobody.
    """
    held = {id: e for examples in old.values() for e in examples for id in e.requests}
    again = [row for row in rows if _is_held(settings, row, held.get(str(row.row.request_id)))]
    vouched = {held[str(row.row.request_id)].id for row in again if row.is_verified}
    if again:
        tally.dropped[SAID_AGAIN] += len(again)
    ids = {row.row.request_id for row in again}

    def trusted(example: Example) -> Example:
        return replace(example, author=None) if example.author and example.id in vouched else example

    now = {name: [trusted(e) for e in examples] for name, examples in old.items()}
    return [row for row in rows if row.row.request_id not in ids], now


def _is_held(settings: DatasetSettings, row: LabelledRow, example: Example | None) -> bool:
    if example is None:
        return False
    answer = answer_as_learned(settings, row.row.answer, Tally()).strip()
    return answer in {known.strip() for known in example.answers}
