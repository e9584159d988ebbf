"""A canary is judged by its share of the mishaps: rolled back on evidence, at any moment, and hardly ever by chance."""

import math
from random import Random

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.canary import log_evidence_of
from serve.release.canary_rule import RATIOS, Action, Mishap, Outcome, Period, Tally, Verdict, decide, log_evidence


def verdict(*periods: Period, seconds: float = 0.0, false_rollback: float = 0.001) -> Verdict:
    return decide(periods, seconds=seconds, false_rollback=false_rollback, min_requests=50, min_seconds=10)


def failed(canary: int, live: int, share: float = 0.1) -> Period:
    return Period(share, canary, live * 10, {Mishap.ERROR: (canary, live)})


@pytest.mark.parametrize(
    ("canary", "live", "share", "action"),
    [
        (4, 0, 0.1, Action.ROLL_BACK),  # a crash: every canary answer fails, no live one
        (3, 0, 0.1, Action.WAIT),
        (10, 0, 0.5, Action.WAIT),  # ten heads in a row of a fair coin are no proof at this level
        (14, 0, 0.5, Action.ROLL_BACK),
        (100, 900, 0.1, Action.WAIT),  # exactly its share
        (400, 400, 0.5, Action.WAIT),
        (60, 940, 0.1, Action.WAIT),  # better than live
        (40, 100, 0.1, Action.ROLL_BACK),
    ],
)
def test_the_share_of_the_errors_decides(canary: int, live: int, share: float, action: Action) -> None:
    assert verdict(failed(canary, live, share)).action is action


def test_the_reason_names_counts_and_chance() -> None:
    reason = verdict(Period(0.1, 12, 88, {Mishap.INVALID: (12, 0)})).reason
    assert reason.startswith("12 of 12 answers of the canary were no JSON object against 0 of 88 of the live version")
    assert "at most" in reason


def test_evidence_adds_up_over_the_shares() -> None:
    parts = [failed(2, 0), failed(3, 0, 0.5)]
    assert [verdict(part).action for part in parts] == [Action.WAIT, Action.WAIT]
    assert verdict(*parts, failed(2, 0, 0.2)).action is Action.ROLL_BACK


@pytest.mark.parametrize(("answers", "seconds", "action"), [(49, 99, "wait"), (50, 9, "wait"), (50, 10, "advance")])
def test_a_share_lasts_for_its_requests_and_its_time(answers: int, seconds: float, action: str) -> None:
    assert verdict(Period(0.1, answers, 500), seconds=seconds).action == action


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_evidence_is_a_martingale_where_the_canary_is_no_worse(share: float) -> None:
    """Whatever was seen before, the expected factor of the next mishap is 1 at the boundary and less below it."""
    assert math.isclose(sum(weight for weight, _ in RATIOS), 1)
    for canary, live in ((0, 0), (3, 0), (1, 5), (20, 60)):
        now = math.exp(log_evidence(canary, live, share))
        nexts = math.exp(log_evidence(canary + 1, live, share)), math.exp(log_evidence(canary, live + 1, share))
        assert math.isclose(share * nexts[0] + (1 - share) * nexts[1], now, rel_tol=1e-9)
        better = share / 2
        assert better * nexts[0] + (1 - better) * nexts[1] < now


def test_the_evidence_is_a_likelihood_ratio_of_the_binomial() -> None:
    share, canary, live = 0.2, 7, 3
    expected = 0.0
    for weight, ratio in RATIOS:
        theta = 1.0 if math.isinf(ratio) else ratio * share / (ratio * share + 1 - share)
        expected += weight * binom.pmf(canary, canary + live, theta) / binom.pmf(canary, canary + live, share)
    assert math.isclose(log_evidence(canary, live, share), math.log(expected), rel_tol=1e-9)


def test_slow_is_measured_against_the_live_answers_before() -> None:
    tally = Tally(slowdown=1.5)
    tally.begin(0.1)
    for number in range(100):
        tally.add(Outcome(False, f"r{number}", latency_seconds=0.1 + number / 1000))  # 90 % quantile 0.19 s
    assert tally.periods[0].mishaps == {}
    tally.add(Outcome(True, "c1", latency_seconds=0.28))
    tally.add(Outcome(True, "c2", latency_seconds=0.29))
    assert tally.periods[0].mishaps == {Mishap.SLOW: (1, 0)}


def test_an_unhappy_user_counts_once_for_each_kind() -> None:
    tally = Tally(slowdown=1.5)
    tally.begin(0.1)
    for _ in range(20):
        tally.add(Outcome(True, "user", is_error=True))
        tally.dislike(Outcome(True, "user"))
    assert tally.periods[0].mishaps == {Mishap.ERROR: (1, 0), Mishap.DISLIKED: (1, 0)}
    assert tally.periods[0].canary_answers == 20


def disliking(words: list[tuple[str | None, bool]], share: float = 0.1) -> Verdict:
    """Return the verdict on who disliked an answer, and whether that was the canary's."""
    tally = Tally(slowdown=1.5)
    tally.begin(share)
    for number, (author, is_canary) in enumerate(words):
        tally.add(Outcome(is_canary, f"r{number}"))
        tally.dislike(Outcome(is_canary, f"r{number}"), author)
    tally.periods[0].canary_answers = 500
    return verdict(*tally.periods, seconds=99)


@pytest.mark.parametrize(
    ("words", "share", "action"),
    [
        ([("one", True)] * 60, 0.1, Action.ADVANCE),
        ([("one", True), ("two", True)] * 60, 0.1, Action.ADVANCE),
        ([("one", True), ("two", True)] * 60, 0.02, Action.ASK),
        ([("one", True), ("two", True), ("three", True)] * 60, 0.1, Action.ROLL_BACK),
        ([(f"key {n}", True) for n in range(20)], 0.1, Action.ROLL_BACK),
        ([(f"key {n}", n % 10 == 0) for n in range(400)], 0.1, Action.ADVANCE),
        ([(None, True)] * 8, 0.1, Action.ROLL_BACK),
        ([("one", False)] * 60 + [("one", True)] * 60, 0.1, Action.ADVANCE),
    ],
    ids=[
        "60 thumbs of one key",
        "two keys",
        "two keys, where few words are evidence",
        "three keys",
        "many",
        "no worse",
        "a trusted author",
        "one key, late",
    ],
)
def test_one_loud_key_throws_no_canary_out(words: list[tuple[str | None, bool]], share: float, action: Action) -> None:
    """Eight thumbs down of one key ended a canary in 0.4 s; the engine's own failures still end one at once."""
    assert disliking(words, share).action is action


def test_what_the_engine_does_goes_before_what_people_say() -> None:
    period = Period(0.02, 500, 500, {Mishap.DISLIKED: (4, 0), Mishap.ERROR: (4, 0)}, voices={"one"})
    assert verdict(period, seconds=99).action is Action.ROLL_BACK


def test_clean_canaries_are_left_alone_at_any_moment() -> None:
    """The declared chance is 5 % here, so that a level that is ten times too high would show within 200 runs."""
    random, rolled_back = Random(1), 0
    for _ in range(200):
        canary = live = 0
        for _ in range(400):
            is_canary = random.random() < 0.2
            canary, live = canary + is_canary, live + (not is_canary)
            if verdict(failed(canary, live, 0.2), false_rollback=0.05).action is Action.ROLL_BACK:
                rolled_back += 1
                break
    assert rolled_back <= 10


def test_the_benchmark_counts_with_the_same_evidence() -> None:
    counts = [(canary, live) for canary in range(0, 12, 3) for live in range(0, 12, 3)]
    arrays = log_evidence_of(np.array([c for c, _ in counts]), np.array([n for _, n in counts]), 0.1)
    assert arrays.tolist() == pytest.approx([log_evidence(c, n, 0.1) for c, n in counts])
