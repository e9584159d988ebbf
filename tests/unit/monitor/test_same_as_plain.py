"""What is computed fast is what plain loops compute, on random windows; the loops are the formulas as written."""

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from scipy.stats import hypergeom

from driftwheel.errors import NotFoundError
from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic import fresh_labels as fresh
from driftwheel.traffic.feedback import give_feedback, person, withdraw_feedback
from driftwheel.traffic.fresh_labels import fresh_labels
from monitor import what_was_said
from monitor.dependence import BLOCKS, SHUFFLES, design_effect_of
from monitor.ranks import TAILS, UPPER_TAILS, mid_ranks, ranked
from monitor.row_signals import CAPITALS, LETTERS, SIGNS
from monitor.shares import log_ratio, p_values_of
from monitor.what_was_said import evidence_of
from monitor.windows import Source, last_window
from tests.unit.monitor.test_check import START, WINDOW_ROWS, send, watched
from tests.unit.monitor.test_new_normal import look_at_all

__all__ = ["watched"]  # the fixture of a small version that is watched

SAID: dict[str, dict[str, Any]] = {
    "label": {"label": "refund_request"},
    "other label": {"label": "x"},
    "up": {"thumb": 1},
    "down": {"thumb": -1},
    "correction": {"correction": '{"intent":"refund_request","urgency":"low"}'},
}
TEXTS = "aZ9 \t\x1c-_.éÄß你好№Ⓐǅ'\u0301🙂"


def test_characters_are_counted_as_by_asking_each() -> None:
    chance = random.Random(0)
    for count in (0, 1, 5, 60):
        for letters in (TEXTS, TEXTS[:9]):
            text = "".join(chance.choice(letters) for _ in range(count))
            assert LETTERS.count(text) == sum(c.isalpha() for c in text)
            assert CAPITALS.count(text) == sum(c.isupper() for c in text)
            assert SIGNS.count(text) == sum(not (c.isalpha() or c.isspace()) for c in text)


@pytest.mark.parametrize("rows", [20, 57, 210])
def test_the_design_effect_is_that_of_blocks_one_by_one(rows: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 5)).cumsum(axis=0)
    kept = values[: rows // BLOCKS * BLOCKS]
    centered = kept - kept.mean(axis=0)

    def of_blocks(order: np.ndarray) -> tuple[float, float]:
        means = np.array([part.mean(axis=0) for part in np.split(centered[order], BLOCKS)])
        gram = (means - means.mean(axis=0)) @ (means - means.mean(axis=0)).T
        apart = gram[~np.eye(BLOCKS, dtype=bool)]
        return float(np.trace(gram)), float(np.sqrt(np.square(apart).sum() / (BLOCKS * (BLOCKS - 1))))

    generator = np.random.default_rng(len(kept))
    size, spread = of_blocks(np.arange(len(kept)))
    shuffled = [of_blocks(generator.permutation(len(kept))) for _ in range(SHUFFLES)]
    larger = max(1.0, size / float(np.mean([one for one, _ in shuffled])))
    found = design_effect_of(values @ values.T)
    assert found.size == pytest.approx(larger)
    assert found.spread == pytest.approx(max(larger, spread / float(np.mean([one for _, one in shuffled]))))


@pytest.mark.parametrize("tails", [TAILS, UPPER_TAILS], ids=["both", "upper"])
def test_ranks_and_tails_are_those_of_a_plain_loop(tails: tuple[float, ...]) -> None:
    generator = np.random.default_rng(7)
    for number in range(20):
        before, now = (np.round(generator.normal(size=size), number % 3) for size in (150, 40))
        known = ranked(before, tails)
        ranks = [(np.sum(before < value) + np.sum(before <= value)) / 2 / len(before) for value in now]
        assert mid_ranks(before, now) == pytest.approx(ranks)
        most = Counter(before.tolist()).most_common(1)[0][1]
        assert known.is_mostly_one == (most > 0.8 * len(before))
        for place, (quantile, limit) in enumerate(zip(tails, np.quantile(before, tails), strict=True)):
            for values, hits in ((before, known.hits), (now, known.hits_of(now))):
                beyond = values < limit - 1e-12 if quantile < 0.5 else values > limit + 1e-12
                assert hits[place] == beyond.sum()


@pytest.mark.parametrize("way", [1, -1])
def test_p_values_in_one_go_are_those_one_by_one(way: int) -> None:
    generator = np.random.default_rng(3)
    now, before = generator.integers(0, 40, 60).astype(float), generator.integers(0, 90, 60).astype(float)
    effects, tests = generator.uniform(1, 4, 60), generator.uniform(1, 50, 60)
    found = p_values_of(now, 200.0, before, np.full(60, 600.0), effect=effects, tests=tests, way=way)
    for place in range(60):
        hits, of = now[place] / effects[place], 200 / effects[place]
        expected = 1.0
        if way * now[place] / 200 > way * before[place] / 600:
            bound = 2 * np.exp(-log_ratio(np.array(hits), of, before[place : place + 1], 600.0)[0]) * tests[place]
            expected = min(1.0, float(bound))
            if 1e-12 < expected < 1:
                count = int(np.floor(hits)) if way > 0 else int(np.ceil(hits))
                size = max(round(of), count)
                table = (600 + size, round(before[place]) + count, size)
                exact = hypergeom.sf(count - 1, *table) if way > 0 else hypergeom.cdf(count, *table)
                expected = min(expected, float(exact) * tests[place])
        assert found[place] == pytest.approx(expected, rel=1e-9)


@pytest.mark.every_database
def test_what_was_said_is_read_as_if_nothing_had_been_kept(watched: Settings, ledger: Ledger) -> None:
    """A closed window is read again where its mark changed; whatever is said or taken back changes it."""
    send(ledger, 3 * WINDOW_ROWS, 2, "steady", 0, is_labelled=False)
    look_at_all(watched, ledger)
    version = ledger.get(ModelVersion, "version_1")
    source = Source(project="support", alias="support", version_id=version.id, label_field="intent")
    chance, authors = random.Random(5), [person(name) for name in ("ann", "bo")]
    news = 0
    for step in range(24):
        request = f"req_{chance.randrange(3 * WINDOW_ROWS):06d}"
        author = chance.choice(authors)
        what = chance.choice([*SAID, "back", "gone"])
        with suppress(NotFoundError):
            if what == "back":
                said = ledger.find(Feedback)
                request = chance.choice(said).request_id if said else request
                withdraw_feedback(ledger, "support", request, author=author, of=chance.choice(authors).id)
            elif what == "gone":
                with ledger.write() as connection:
                    connection.execute(sa.delete(TABLES[Traffic]).where(TABLES[Traffic].c.id == request))
            else:
                words = SAID[what]
                give_feedback(watched.traffic, ledger, "support", request, author=author, label_field="intent", **words)
        before = last_window(ledger, version.id)
        kept = evidence_of(watched.monitor, ledger, source, before, ())
        counted = fresh_labels(ledger, watched.alias_key, START, watched.dataset)
        what_was_said._heard.cache_clear()
        fresh._count.cache_clear()
        assert kept == evidence_of(watched.monitor, ledger, source, before, ()), f"after {what} in step {step}"
        assert counted == fresh_labels(ledger, watched.alias_key, START, watched.dataset), (
            f"after {what} in step {step}"
        )
        news += kept.has_news
    assert news > 12, "nothing was said"
