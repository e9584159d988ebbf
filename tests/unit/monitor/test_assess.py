"""Each kind of feedback tells what it can: a proof, an estimate, or nothing; `benchmarks.quality` has the streams."""

from collections import Counter

import numpy as np
import pytest

from monitor.betting import Outcomes, design_effect, lower_bound, restarted_capital
from monitor.calibration import Array, level_per_decision
from monitor.opinions import FEW, Said, WindowEvidence, capped_by_author, contradicted, is_audited, rise_p_value
from monitor.quality import Assessment, assess
from monitor.standard import Baseline

BASELINE = Baseline(correct=570, items=600)


def window(*parts: tuple[int, bool | None, int | None], audited: int = 0) -> WindowEvidence:
    """Return a window of ten keys: so many rows, whether each was called right, and its thumb; the first are audited.

    They lie well mixed: in a row they would be a burst, which says less.
    """
    rows = [(is_correct, thumb) for count, is_correct, thumb in parts for _ in range(count)]
    said = [Said(f"key{n % 10}", n < audited, *row) for n, row in enumerate(rows)]
    return WindowEvidence(tuple(said[n * 77 % len(said)] for n in range(len(said))))


def judged(*windows: WindowEvidence) -> Assessment:
    return assess(windows, BASELINE, level=level_per_decision(1, 24), min_labels=30, max_drop=0.1)


def test_corrections_alone_of_steady_traffic_are_no_accuracy_of_zero() -> None:
    known = judged(*[window((10, False, None), (190, None, None))] * 8)
    assert (known.accuracy, known.estimate, known.is_proved, known.risen) == (None, None, False, ())


def test_a_rise_of_corrections_is_an_estimate_until_it_is_too_large_for_any_choice() -> None:
    steady = [window((5, False, None), (195, None, None))] * 6
    some = judged(*steady, *[window((20, False, None), (180, None, None))] * 2)
    assert [rate.name for rate in some.risen] == ["corrections per answer"]
    assert not some.is_proved
    assert judged(*steady, *[window((60, False, None), (140, None, None))] * 2).is_proved


def test_thumbs_alone_are_no_accuracy_and_their_fall_is_an_estimate() -> None:
    steady = [window((54, None, 1), (6, None, -1), (140, None, None))] * 6
    fallen = judged(*steady, *[window((36, None, 1), (24, None, -1), (140, None, None))] * 2)
    assert (fallen.accuracy, fallen.is_proved, judged(*steady).risen) == (None, False, ())
    assert "thumbs down per thumb" in [rate.name for rate in fallen.risen]


def test_most_answers_disliked_from_the_first_window_on_is_an_estimate() -> None:
    """All requests thumbed and nine of ten down was `no alarm`: there was no time before that it was worse than."""
    bad = judged(*[window((20, None, 1), (180, None, -1))] * 3)
    assert [rate.name for rate in bad.risen] == ["thumbs down per answer"]
    assert not bad.is_proved
    assert judged(*[window((110, None, 1), (90, None, -1))] * 3).risen == ()
    loud = WindowEvidence((*(Said("loud", False, None, -1),) * 150, *window((60, None, 1), (140, None, None)).rows))
    assert judged(*[loud] * 3).risen == (), "one key is not most users"


def test_few_labels_are_an_estimate_unless_nobody_chose_them() -> None:
    few = [window((11, True, None), (9, False, None), (180, None, None))] * 8
    known = judged(*few)
    assert known.estimate is not None
    assert known.estimate.value == pytest.approx(0.55)
    assert [rate.name for rate in known.risen] == ["wrong labels per label"]
    assert not known.is_proved
    sampled = assess(
        few, BASELINE, level=level_per_decision(1, 24), min_labels=30, max_drop=0.1, are_labels_sampled=True
    )
    audited = judged(*[window((11, True, None), (9, False, None), (180, None, None), audited=20)] * 8)
    for proof in (sampled, audited):
        assert proof.is_proved
        assert proof.accuracy is not None
        assert proof.accuracy.value == pytest.approx(0.55)


def test_sixty_thumbs_of_one_key_neither_silence_nor_raise_an_alarm() -> None:
    steady = [window((54, None, 1), (6, None, -1), (140, None, None))] * 6
    bad = window((24, None, 1), (36, None, -1), (140, None, None))
    for thumb, windows in ((1, [*steady, bad, bad]), (-1, [*steady, *steady[:2]])):
        loud = (Said("loud", False, None, thumb),) * 60
        known = judged(*windows[:-2], *(WindowEvidence((*w.rows, *loud)) for w in windows[-2:]))
        assert bool(known.risen) is (thumb == 1)


@pytest.mark.parametrize("silent", [1, 10])
def test_the_silence_of_a_second_key_does_not_hide_a_total_loss(silent: int) -> None:
    """A key that never says anything capped the only key that does at three words a window."""

    def one_speaks(wrong: int) -> WindowEvidence:
        spoken = [Said("web", False, n * 77 % 190 >= wrong) for n in range(190)]
        return WindowEvidence((*spoken, *[Said("batch", False)] * silent))

    known = judged(*[one_speaks(8)] * 6, *[one_speaks(95)] * 3)
    assert known.is_proved
    assert "corrections per answer" in [rate.name for rate in known.risen]


def test_a_key_that_confirms_one_answer_silences_nobody_who_corrects() -> None:
    corrections = [Said("desk", False, False) for _ in range(50)] + [Said("desk", False) for _ in range(50)]
    silent = [Said("web", False) for _ in range(100)]
    alone = contradicted([WindowEvidence((*corrections, *silent))])
    beside = contradicted([WindowEvidence((*corrections, *silent, Said("web", False, True)))])
    assert (alone, beside) == (50, 50)


def test_a_key_that_confirms_many_answers_still_caps_one_that_corrects_all() -> None:
    loud = [Said("loud", False, False) for _ in range(90)]
    found = [Said("web", False, True) for _ in range(200)]
    assert contradicted([WindowEvidence((*loud, *found))]) == FEW


def test_one_key_counts_as_often_per_request_as_two_others() -> None:
    requests = Counter({"a": 100, "b": 100, "loud": 100})
    assert capped_by_author(Counter({"a": 10, "b": 10, "loud": 90}), requests) == {"a": 10, "b": 10, "loud": 20}
    assert capped_by_author(Counter({"only": 90}), Counter({"only": 100})) == {"only": 90}


def test_the_audit_sample_is_drawn_by_the_id_alone() -> None:
    drawn = sum(is_audited(f"req_{number}", 0.05) for number in range(20_000))
    assert 880 < drawn < 1120


def test_the_capital_is_that_of_a_plain_loop_and_stays_small_without_a_fall() -> None:
    """Bets against an accuracy of 0.9, made one by one; under it 200 streams of 24 windows never reach 2,160."""
    right, wrong = 30, 6
    capital = restarted_capital([Outcomes(right, right + wrong)], 0.9)[0]
    from_loop = [(1 - c) ** right * (1 + c * 0.9 / 0.1) ** wrong for c in (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)]
    assert capital == pytest.approx(np.mean(from_loop))
    random = np.random.default_rng(0)
    largest = [
        restarted_capital([Outcomes(int(r), 200) for r in random.binomial(200, 0.9, 24)], 0.9).max() for _ in range(200)
    ]
    assert max(largest) < 2160
    assert restarted_capital([Outcomes(140, 200)], 0.9)[0] > 2160


def test_bursts_have_a_design_effect() -> None:
    random = np.random.default_rng(1)
    alone: Array = (random.random(2000) < 0.2).astype(float)
    assert design_effect(alone) < 1.3
    assert design_effect(np.repeat(alone[:400], 5)) > 3


def test_the_lower_bound_is_below_what_was_measured() -> None:
    assert lower_bound(570, 600) == pytest.approx(0.926, abs=0.002)
    assert lower_bound(0, 600) == 0.0


def test_a_rise_has_fishers_p_value() -> None:
    assert rise_p_value((8, 10), (1, 10)) == pytest.approx(0.0027, abs=1e-4)
    assert rise_p_value((0, 0), (1, 10)) == 1.0
