"""Compares two forms of a model on the same prompts: one hop of the parity table.

A version goes through four forms, `trained`, `merged`, `quantized` and `served`; one that is served as an adapter goes
through `trained`, `adapter` and `served`. Pure functions, no input or output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.stats import binomtest

from driftwheel.errors import ParityError
from driftwheel.records.scorecard import HopDifference, HopNoise, Interval, ParityRow
from driftwheel.settings.artifact import ParitySettings
from train.fidelity.noise import SMALLEST_LOSS, ReadTwice, noise_of
from train.fidelity.probing import Reading

ANSWERS, LOGPROBS = "greedy answers", "log-probabilities"
"""Names of the two checks."""
REFUSAL_CONFIDENCE = 0.99
"""A hop is refused if the agreement's one-sided upper bound (Clopper and Pearson 1934) is under its tolerance: small
samples are given the benefit of the doubt, and a hop that just meets its tolerance is refused once in 100 versions."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a hop may change beyond the noise of reading, where no setting says otherwise."""

    answers: float
    """Share of greedy answers that it may change more than a second reading of the same form does. Those are answers
    between which the model hardly prefers one: a step that rounds every weight tips more of them than a reader does."""
    own: float
    """Share of the loss by which log-probabilities may move without mattering, however little noise there is. On models
    of 3 and 135 million parameters clean merges showed at most 1 %, the smallest fault that was planted 4 %."""
    spares_harmless: bool = False
    """A larger difference passes if it is shown to make no answer worse: rounding moves log-probabilities up and down
    alike, and a fault makes the right answers less likely."""


LIMITS = {
    "merged": Limit(answers=0.03, own=0.02),
    "adapter": Limit(answers=0.03, own=0.02),
    "quantized": Limit(answers=0.1, own=0.1, spares_harmless=True),
    "served": Limit(answers=0.1, own=0.1),
}
HARMLESS_RISE = 0.05
"""A loss that is shown to rise by less than this, and greedy answers that are shown to be kept, are no worse model."""

REMEDIES = {
    "merged": "the merge changed the model: check model.base, its revision and the adapter, and set merge.dtype to "
    "bfloat16 or float32; then merge again",
    "adapter": "the adapter's files beside the base are another model than the trainer's: check model.base, and set "
    "merge.dtype to the type that the base had in training",
    "quantized": "the files of the quantized model say something else than the merged one: quantize again, or set "
    "quantize.scheme to none",
    "served": "the engine computes something else than its files say: check serve.engine_args and the engine's version",
}


def measure(
    name: str,
    readings: Sequence[Reading],
    chain: Sequence[tuple[str, Sequence[Reading]]],
    *,
    is_read_back: bool | None = None,
    twice: ReadTwice | None = None,
    coarser: tuple[str, ...] = (),
) -> ParityRow:
    """Return a hop's row of the parity table; `chain` holds the forms before it, the first one first.

    `twice` is one form, read as this hop's readers read and read again, which gives the noise.

    Agreement is a share of probes; intervals are Clopper and Pearson's, 95 %.
    """
    right, items = sum(reading.is_correct for reading in readings), len(readings)
    row = ParityRow(
        hop=name,
        items=items,
        accuracy=right / items,
        accuracy_interval=_interval(right, items),
        is_read_back=is_read_back,
        coarser=coarser or None,
    )
    if not chain:
        return row
    before, first = (_difference(form, known, readings) for form, known in (chain[-1], chain[0]))
    noise = None if twice is None else noise_of(chain[-1][1], readings, twice)
    return replace(row, **vars(before), first=first, noise=noise)


def require(settings: ParitySettings, rows: Sequence[ParityRow]) -> None:
    """Raise ParityError naming the first hop that changed more than reading does, or more than a setting allows."""
    for row in rows:
        if row.hop in LIMITS:
            section = "merged" if row.hop == "adapter" else row.hop
            _require_answers(row, section, getattr(settings, f"{section}_agreement"))
            _require_gap(row, section, getattr(settings, f"{section}_gap"))


def is_too_coarse(error: ParityError) -> bool:
    """Say whether the quantized files are as the quantizer wrote them, and the model is another one by that."""
    return error.hop == "quantized" and error.check in (ANSWERS, LOGPROBS)


def _require_answers(row: ParityRow, section: str, wanted: float | None) -> None:
    """Raise ParityError if the agreement is shown to be lower than what is wanted, or than reading twice explains."""
    agreeing = row.agreeing or 0
    highest = binomtest(agreeing, row.items, alternative="less").proportion_ci(REFUSAL_CONFIDENCE).high
    reason = f"parity.{section}_agreement wants {wanted:.1%}" if wanted is not None else ""
    if wanted is None:
        # The least agreement that two readings of the same form may have, as far as these probes tell.
        kept, of = (row.noise.agreeing, row.noise.items) if row.noise else (1, 1)
        steady = binomtest(kept, of, alternative="greater").proportion_ci(REFUSAL_CONFIDENCE).low if row.noise else 1.0
        wanted = steady * (1 - LIMITS[row.hop].answers)
        reason = f"two readings of the same files agree in {kept} of {of}, which explains {wanted:.1%}"
    if highest < wanted:
        raise ParityError(
            row.hop,
            ANSWERS,
            f"{agreeing} of {row.items} are the {row.against} model's (at most {highest:.1%}, {reason}); "
            f"{REMEDIES[row.hop]}",
        )


def _require_gap(row: ParityRow, section: str, allowed: float | None) -> None:
    """Raise ParityError if log-probabilities moved more than is allowed, or than the readers' noise explains."""
    share, noise, nats = row.loss_share, row.noise, row.mean_logprob_difference or 0.0
    if share is None:
        found = "not numbers"
    elif allowed is not None:
        found = f"{nats:.3g} nats, {share:.1%} of the loss," if share > allowed else ""
    else:
        found = _unexplained(row, share, noise)
        allowed = _most(row)
    if found:
        raise ParityError(
            row.hop,
            LOGPROBS,
            f"those of the reference answers are {found} from the {row.against} model's on average "
            f"(parity.{section}_gap allows {allowed or 0:.1%}); {REMEDIES[row.hop]}",
        )


def _unexplained(row: ParityRow, share: float, noise: HopNoise | None) -> str:
    """Return how far a hop's log-probabilities moved beyond the noise; empty if that is allowed or does not matter."""
    nats = f"{row.mean_logprob_difference or 0.0:.3g} nats, {share:.1%} of the loss,"
    if noise is None:  # a table that is older than this
        return nats if share > LIMITS[row.hop].own else ""
    low, high = noise.own_interval
    if low <= _most(row) or (LIMITS[row.hop].spares_harmless and _is_harmless(row, noise)):
        return ""
    return f"{nats} and without the noise of reading {noise.own_share:.1%} [{low:.1%}, {high:.1%}]"


def _most(row: ParityRow) -> float:
    """Return by which share of the loss a hop may move log-probabilities beyond noise: at most as far as noise does."""
    return max(LIMITS[row.hop].own, row.noise.loss_share if row.noise else 0.0)


def _is_harmless(row: ParityRow, noise: HopNoise) -> bool:
    """Say whether a hop is shown to keep the answers and the loss of the reference answers."""
    lowest = binomtest(row.agreeing or 0, row.items, alternative="greater").proportion_ci(REFUSAL_CONFIDENCE).low
    is_kept = lowest >= 1 - LIMITS[row.hop].answers
    return is_kept and noise.loss_rise_interval[1] < HARMLESS_RISE


def _difference(name: str, before: Sequence[Reading], after: Sequence[Reading]) -> HopDifference:
    agreeing = sum(a.answer_ids == b.answer_ids for a, b in zip(before, after, strict=True))
    gaps = [abs(p - q) for a, b in zip(before, after, strict=True) for p, q in zip(a.logprobs, b.logprobs, strict=True)]
    is_finite = all(math.isfinite(gap) for gap in gaps)
    loss = -sum(p for reading in before for p in reading.logprobs)
    return HopDifference(
        against=name,
        agreeing=agreeing,
        agreement=agreeing / len(after),
        agreement_interval=_interval(agreeing, len(after)),
        tokens=len(gaps),
        mean_logprob_difference=sum(gaps) / len(gaps) if is_finite else None,
        max_logprob_difference=max(gaps) if is_finite else None,
        loss_share=sum(gaps) / max(loss, SMALLEST_LOSS * len(gaps)) if is_finite else None,
    )


def _interval(count: int, total: int) -> Interval:
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)
