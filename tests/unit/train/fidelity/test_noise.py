"""A hop is refused for what it changed beyond the noise of reading, and for nothing that reading explains."""

from dataclasses import replace

import numpy as np
import pytest

from driftwheel.errors import ParityError
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.artifact import ParitySettings
from train.fidelity.hops import LOGPROBS, measure, require
from train.fidelity.noise import ReadTwice
from train.fidelity.probing import Reading

PROBES, TOKENS = 200, 8
SMOLLM2, HOME_MADE = 0.028, 0.003
"""Noise of a real model of 135 million parameters, and of one of 3 million, as shares of the loss."""
Forms = tuple[list[Reading], list[Reading], ReadTwice]


def _read(truth: np.ndarray, chance: np.random.Generator, share: float, shift: float = 0.0) -> list[Reading]:
    """Log-probabilities as a reader gives them: each is off by a share of its own loss, and shifted by another."""
    # Two such readings are `share` of the loss apart: the mean of |N(0, 2 s^2)| is 2 s / sqrt(pi).
    spread = share * np.sqrt(np.pi) / 2
    found = truth * (1 + spread * chance.standard_normal(truth.shape) + shift)
    return [Reading(answer_ids=[1], logprobs=list(map(float, row)), is_correct=True) for row in found]


def forms(seed: int, noise: float, *, changed: float = 0.0, worse: float = 0.0, probes: int = PROBES) -> Forms:
    """Two forms of a model, and one of them read twice; the second changed by a share of the loss of its own."""
    chance = np.random.default_rng(seed)
    # Most tokens are sure and a few are not, so that a few probes hold most of the loss.
    truth = -chance.gamma(0.3, 1.0, (probes, TOKENS))
    moved = truth * (1 + changed * np.sqrt(np.pi / 2) * chance.standard_normal(truth.shape))
    once, again = _read(truth, chance, noise), _read(truth, chance, noise)
    return _read(truth, chance, noise), _read(moved, chance, noise, worse), ReadTwice(once=once, again=again)


def hop(name: str, made: Forms) -> ParityRow:
    before, after, twice = made
    against = {"merged": "trained", "quantized": "merged", "served": "quantized"}[name]
    return measure(name, after, [(against, before)], twice=twice)


def is_refused(row: ParityRow, **settings: float) -> bool:
    try:
        require(ParitySettings.model_validate(settings), [row])
    except ParityError as error:
        return (error.hop, error.check) == (row.hop, LOGPROBS)
    return False


def test_a_real_models_clean_merge_is_further_away_than_the_old_limit_and_passes() -> None:
    row = hop("merged", forms(0, SMOLLM2))
    assert row.loss_share is not None
    assert row.loss_share > 0.02, "what every merge of such a model was refused for"
    assert row.noise is not None
    assert row.noise.loss_share == pytest.approx(SMOLLM2, rel=0.2)
    assert not is_refused(row)
    assert is_refused(row, merged_gap=0.02), "a limit that is set stays a limit"


@pytest.mark.parametrize("noise", [1e-7, HOME_MADE, SMOLLM2, 0.08])
@pytest.mark.parametrize("name", ["merged", "quantized", "served"])
def test_no_clean_hop_is_refused_however_noisy_the_model_is(name: str, noise: float) -> None:
    rounding = {"merged": 0.3 * noise, "quantized": 0.07, "served": 0.3 * noise}[name]
    refused = sum(is_refused(hop(name, forms(seed, noise, changed=rounding))) for seed in range(20))
    assert refused == 0


@pytest.mark.parametrize(
    ("noise", "changed"),
    [
        pytest.param(HOME_MADE, 0.042, id="another revision of a small base"),
        pytest.param(HOME_MADE, 0.062, id="a cast of a small base through an 8-bit float"),
        pytest.param(SMOLLM2, 0.06, id="twice a real model's noise"),
        pytest.param(0.08, 0.2, id="a very noisy model"),
    ],
)
def test_a_merge_that_changed_more_than_reading_does_is_refused(noise: float, changed: float) -> None:
    assert all(is_refused(hop("merged", forms(seed, noise, changed=changed))) for seed in range(10))


def test_a_coarse_scheme_passes_where_no_answer_gets_worse_and_not_where_they_do() -> None:
    # What W8A8 did to SmolLM2: 12.6 % of the loss, up as often as down.
    harmless = hop("quantized", forms(0, SMOLLM2, changed=0.125))
    assert harmless.loss_share is not None
    assert harmless.loss_share > 0.1, "what such a model was refused for"
    assert not is_refused(harmless)
    worse = hop("quantized", forms(0, SMOLLM2, changed=0.125, worse=0.08))
    assert worse.noise is not None
    assert worse.noise.loss_rise == pytest.approx(0.08, abs=0.02)
    assert is_refused(worse)
    assert is_refused(hop("served", forms(0, SMOLLM2, changed=0.125))), "an engine rounds no weights"


def test_a_coarse_scheme_that_may_have_changed_answers_is_not_shown_to_be_harmless() -> None:
    row = hop("quantized", forms(0, SMOLLM2, changed=0.125))
    assert is_refused(replace(row, agreeing=182))


@pytest.mark.parametrize(("agreeing", "is_fine"), [(200, True), (180, True), (150, False)])
def test_answers_may_change_as_far_as_a_second_reading_changes_them(agreeing: int, *, is_fine: bool) -> None:
    row = hop("merged", forms(0, SMOLLM2))
    assert row.noise is not None
    unsure = replace(row, agreeing=agreeing, noise=replace(row.noise, agreeing=185))
    if is_fine:
        require(ParitySettings(), [unsure])
        return
    with pytest.raises(ParityError, match=r"150 of 200 .* two readings of the same files agree in 185 of 200"):
        require(ParitySettings(), [unsure])


def test_few_probes_are_given_the_benefit_of_the_doubt_and_the_same_readings_the_same_verdict() -> None:
    made = forms(1, SMOLLM2, probes=8)
    assert hop("merged", made) == hop("merged", made)
    assert not is_refused(hop("merged", made))


def test_a_table_that_is_older_than_noise_is_judged_by_its_difference_alone() -> None:
    row = replace(hop("merged", forms(0, SMOLLM2)), noise=None)
    assert is_refused(row)


def test_what_is_no_number_is_refused() -> None:
    before, after, twice = forms(0, SMOLLM2)
    broken = [replace(after[0], logprobs=[float("nan")] * TOKENS), *after[1:]]
    row = measure("merged", broken, [("trained", before)], twice=twice)
    assert row.noise is None
    with pytest.raises(ParityError, match="not numbers"):
        require(ParitySettings(), [row])
