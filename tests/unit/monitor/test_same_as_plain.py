"""What is computed fast is what plain loops compute, on random windows; the loops are the formulas as written."""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from scipy import sparse
from scipy.stats import hypergeom, norm
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from driftwheel.errors import NotFoundError
from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import DriftKind, ModelVersion, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic import fresh_labels as fresh
from driftwheel.traffic.feedback import give_feedback, person, withdraw_feedback
from driftwheel.traffic.fresh_labels import fresh_labels
from examples.support.world import answer, messages
from monitor import what_was_said
from monitor.background import LearnedText, background_of
from monitor.dependence import BLOCKS, SHUFFLES, design_effect_of
from monitor.observation import Observation
from monitor.pools import HORIZONS, pools_of, tallied
from monitor.ranks import TAILS, UPPER_TAILS, mid_ranks, ranked
from monitor.row_signals import CAPITALS, LETTERS, SIGNALS, SIGNS, signalled
from monitor.scan import SHARES, What, scan
from monitor.shares import Before, log_ratio, p_values_of
from monitor.what_was_said import evidence_of
from monitor.windows import Source, last_window
from monitor.wording import HASHED_FEATURES, word_vectors
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


def test_texts_have_the_words_and_pairs_that_the_vectorizer_hashes() -> None:
    vectorizer = HashingVectorizer(
        n_features=HASHED_FEATURES, ngram_range=(1, 2), alternate_sign=False, token_pattern=r"(?u)\b\w+\b"
    )
    texts = [e.text for e in messages(50, 9, "steady")] + ["", "?!", "a a A b a a", "Wo straße? ЁЖ 你好，卡丢了 ǅ"]
    for found in (word_vectors(texts), word_vectors(texts[:20], texts[20:])):
        counts = vectorizer.transform(texts)
        weights = np.log((1 + len(texts)) / (1 + np.bincount(counts.indices, minlength=HASHED_FEATURES))) + 0.1
        expected = normalize(counts.multiply(weights))
        assert abs(found - expected).max() < 1e-12


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
    for vectors in (values, sparse.csr_array(values)):
        found = design_effect_of(vectors)
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


def test_the_scan_is_that_of_loops_over_pools_words_and_labels() -> None:
    """Each pool is counted anew, row after row, and each of its tests is asked alone."""
    chance, factor = random.Random(6), len(HORIZONS)
    texts = [*messages(700, 5, "steady"), *messages(300, 6, "shifted")]
    background = background_of([LearnedText(e.text, answer(e), e.intent) for e in texts[:200]])

    def rows(count: int, most: int) -> list[Observation]:
        drawn = [texts[chance.randrange(200, most)] for _ in range(count)]
        labels = ["other" if n % 4 == 0 and most == 1000 else e.intent for n, e in enumerate(drawn)]
        return [
            Observation(id=str(n), prompt=e.text, answer=answer(e), label=label)
            for n, (e, label) in enumerate(zip(drawn, labels, strict=True))
        ]

    judged = signalled(rows(150, 700), background)
    reference = replace(tallied(judged, is_in_time=False), effect=1.25)
    windows = [tallied(signalled(rows(60, 1000), background, judged)) for _ in range(4)]
    pools = pools_of(windows)
    assert [pool.windows for pool in pools] == [1, 2, 3, 4]
    for kind in (DriftKind.INPUT, DriftKind.OUTPUT):
        found = {(one.what, one.name): one for one in scan(kind, reference, pools, background, level=0.01).sightings}
        is_input, expected = kind is DriftKind.INPUT, dict[tuple[What, str], tuple[float, int]]()

        def tell(what: What, name: str, p_value: float, size: int, told: dict[Any, Any] = expected) -> None:
            told[what, name] = min(told.get((what, name), (p_value, size)), (p_value, size))

        for pool in pools:
            size, own = pool.windows, [row for window in windows[-pool.windows :] for row in window.rows]
            said = Counter(token for row in own for token in (row.prompt if is_input else row.answer).distinct)
            learned = (background.prompt_tokens, background.count) if is_input else (Counter[str](), 0)
            counts = reference.prompt_tokens if is_input else reference.answer_tokens
            pairs = sum(" " in name for name in said)
            for name, count in said.items():
                if count < 3:
                    continue
                tests = (pairs / 0.25 if " " in name else (len(said) - pairs) / 0.75) * factor / SHARES[kind][What.WORD]
                then = Before(*learned, counts, 150, effect=1.25).counts([name])
                many = np.array([float(count)])
                p_value = p_values_of(many, float(len(own)), *then, effect=pool.effect, tests=tests)[0]
                if p_value < 0.05:
                    tell(What.WORD, name, p_value, size)
            labels = Counter(str(row.observation.label) for row in own)
            names = set[str]() if is_input else {*labels, *reference.labels}
            for name in names:
                for way, share in ((1, 0.8), (-1, 0.2)):
                    p_value = p_values_of(
                        np.array([float(labels[name])]),
                        float(len(own)),
                        *Before.alone(reference.labels, 150, 1.25).counts([name]),
                        effect=pool.effect,
                        tests=len(names) * factor / SHARES[kind][What.LABEL] / share,
                        way=way,
                    )[0]
                    if p_value < 0.05:
                        tell(What.LABEL, name, p_value, size)
            weights = sum(signal.weight for signal in SIGNALS if signal.kind is kind)
            for place, signal in enumerate(SIGNALS):
                if signal.kind is not kind:
                    continue
                before, now = reference.ranked[place], np.concatenate([w.values[:, place] for w in windows[-size:]])
                tests = (1 + len(before.tails)) * weights / signal.weight * factor / SHARES[kind][What.SIGNAL]
                ranks = mid_ranks(before.values, now)
                variance = max(before.rank_variance, float(ranks.var()))
                deviation = np.sqrt(variance * (pool.effects[place] / len(now) + 1.25 / 150))
                score = (ranks.mean() - before.rank_mean) / max(deviation, 1e-9)
                of_mean = norm.sf(score) if signal.is_one_sided else 2 * norm.sf(abs(score))
                hits = before.hits_of(now)
                of_tails = p_values_of(
                    hits,
                    float(len(own)),
                    before.hits / 1.25,
                    np.full(len(hits), 150 / 1.25),
                    effect=pool.effects[place],
                    tests=tests,
                )
                of_mean = 1.0 if before.is_mostly_one else of_mean * tests
                tell(What.SIGNAL, signal.name, min(1.0, of_mean, *of_tails), size)
        assert set(found) == set(expected)
        for key, (p_value, size) in expected.items():
            assert found[key].p_value == pytest.approx(p_value, rel=1e-9, abs=1e-300), key
            assert found[key].windows == size, key
        assert {key[0] for key in found} >= ({What.SIGNAL, What.WORD} if is_input else {What.SIGNAL, What.LABEL})
