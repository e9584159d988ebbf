"""Where many texts are right: a liked answer teaches and judges nobody, and who corrects each one is not one-sided."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from driftwheel.errors import DataError
from driftwheel.records.nouns import Dataset, ModelVersion, Traffic
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.world_cottages import listings
from tests.support.said import words_of
from tests.support.versions import answered_request
from tests.unit.train.test_dataset import live_on, with_dataset, write_rows
from train.data.live.traffic_dataset import dataset_from_traffic
from train.data.splitting.dataset_files import read_splits
from train.dataset import build_dataset


@pytest.fixture
def texts(settings: Settings) -> Settings:
    """Settings of a text task; facts are lists that differ by a word, and only what is equal is the same."""
    return with_dataset(settings, label_field=None, min_rows=20, near_duplicate_similarity=1.0)


@pytest.fixture
def live(texts: Settings, ledger: Ledger) -> Dataset:
    """A live version whose texts are graded by chrF."""
    seed = [{"prompt": e.text, "completion": text} for e in listings(80, 1, "steady") for text in e.references]
    write_rows(texts, seed)
    dataset = build_dataset(texts, ledger)
    live_on(ledger, dataset)
    (version,) = ledger.find(ModelVersion)
    ledger.change(version, scorecard=Scorecard(criterion="chrf", grade=0.7, items=16))
    return dataset


def asked(dataset: Dataset, answers: Sequence[int], source: str = "correction") -> list[Traffic]:
    """Return requests that were corrected to their first right text, answered with the one of that number."""
    rows = []
    for number, (listing, answer) in enumerate(zip(listings(len(answers), 9, "shifted"), answers, strict=True)):
        said = listing.references[answer]
        rows.append(
            answered_request(
                f"req_{source}_{number:03d}",
                created_at=dataset.created_at + timedelta(seconds=number + 1),
                version_id="version_1",
                prompt=f"{listing.text}; {source}",
                request="",
                answer=said,
                label=said if source == "accepted" else listing.references[0],
                label_source=source,
                user_id=f"u{number}",
            )
        )
    return rows


def new_sources(settings: Settings, ledger: Ledger, split: str) -> set[str]:
    """Return where the fresh rows of a split come from."""
    splits = read_splits(dataset_from_traffic(settings, ledger, "decision_1"))
    return {e.source for e in splits[split] if e.slice == "new"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_liked_text_teaches_and_judges_nobody(texts: Settings, ledger: Ledger, live: Dataset, split: str) -> None:
    """Beside itself the live version had the grade 1.0, and every other right text was a loss."""
    rows = [*asked(live, [1] * 80), *asked(live, [1] * 80, "accepted")]
    ledger.add(*rows, *words_of(rows))
    found = new_sources(with_dataset(texts, trusted_labels="sampled"), ledger, split)
    assert found == ({"correction"} if split == "test" else {"correction", "accepted"})


@pytest.mark.parametrize(("unchanged", "may_judge"), [(20, True), (0, False)])
def test_who_leaves_some_texts_as_they_are_may_judge_and_likes_do_not_stand_for_that(
    texts: Settings, ledger: Ledger, live: Dataset, unchanged: int, may_judge: bool
) -> None:
    rows = [*asked(live, [0] * unchanged + [1] * (80 - unchanged)), *asked(live, [1] * 40, "accepted")]
    rows = [replace(row, answer=f"{row.answer} ") if row.answer == row.label else row for row in rows]
    ledger.add(*rows, *words_of(rows))
    if may_judge:
        assert new_sources(texts, ledger, "test") == {"correction"}
    else:
        with pytest.raises(DataError, match="only told where the model was wrong"):
            new_sources(texts, ledger, "test")
