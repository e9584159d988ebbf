"""Who vouches for what the live Dataset holds adds trust to its rows, and makes none of them fresh."""

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.conversations import said as turn
from train.data.examples import Example
from train.data.live.said_again import SAID_AGAIN, without_said_again
from train.data.live.traffic_rows import LabelledRow
from train.data.sources.formats import Row
from train.data.splitting.splits import Splits
from train.data.splitting.tally import Tally

SETTINGS = DatasetSettings(sources=["x"])


def labelled(request: str, answer: str, *, is_verified: bool = True) -> LabelledRow:
    row = Row(request, [turn("user", f"question {request}")], [turn("assistant", answer)], request_id=request)
    return LabelledRow(row=row, source="label", author="support/web", is_verified=is_verified, confirms=False)


def held(request: str, answer: str, author: str | None = None) -> Example:
    turns = [turn("user", f"question {request}")], [turn("assistant", answer)]
    return Example(f"row-{request}", *turns, answer, request, author=author, requests=[request])


def test_a_label_that_the_live_dataset_holds_is_not_fresh_and_one_that_it_held_back_is() -> None:
    old: Splits = {"train": [held("r1", "card"), held("r2", "card")], "validation": [], "test": []}
    tally = Tally()
    rows = [labelled("r1", "card"), labelled("r2", "refund"), labelled("held back", "card")]
    fresh, known = without_said_again(SETTINGS, rows, old, tally)
    assert [row.row.request_id for row in fresh] == ["r2", "held back"]
    assert (known, tally.dropped[SAID_AGAIN]) == (old, 1)


def test_a_row_that_somebody_trusted_vouches_for_counts_as_verified_from_now_on() -> None:
    old: Splits = {"train": [held("r1", "card", "support/web"), held("r2", "card", "support/web")]}
    rows = [labelled("r1", "card"), labelled("r2", "card", is_verified=False)]
    fresh, known = without_said_again(SETTINGS, rows, old, Tally())
    assert fresh == []
    assert [e.author for e in known["train"]] == [None, "support/web"]
