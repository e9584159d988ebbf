"""Compares two forms of a model on the same prompts: one hop of the parity table.

A version goes through four forms, `trained`, `merged`, `quantized` and `served`; one that is served as an adapter goes
through `trained`, `adapter` and `served`. Pure functions, no input or output.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy.stats import binomtest

from driftwheel.errors import ParityError
from driftwheel.scorecard import HopDifference, Interval, ParityRow
from driftwheel.settings.artifact import ParitySettings
from train.fidelity.probing import Reading

REFUSAL_CONFIDENCE = 0.99
"""A hop is refused if the agreement's one-sided upper bound (Clopper and Pearson 1934) is under its tolerance: small
samples are given the benefit of the doubt, and a hop that just meets its tolerance is refused once in 100 versions."""

SMALLEST_LOSS = 1e-3
"""Nats a token. A log-probability moves with its logits by 1 - p, which is about its loss: the share of the loss is the
same for a model that is sure and for one that is not. Below this only the rounding of numbers would be seen."""

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
) -> ParityRow:
    """Return a hop's row of the parity table; `chain` holds the forms before it, the first one first.

    Agreement is a share of probes; intervals are Clopper and Pearson's, 95 %.
    """
    right, items = sum(reading.is_correct for reading in readings), len(readings)
    row = ParityRow(
        hop=name,
        items=items,
        accuracy=right / items,
        accuracy_interval=_interval(right, items),
        is_read_back=is_read_back,
    )
    if not chain:
        return row
    before, first = (_difference(form, known, readings) for form, known in (chain[-1], chain[0]))
    return replace(row, **vars(before), first=first)


def require(settings: ParitySettings, rows: Sequence[ParityRow]) -> None:
    """Raise ParityError naming the first hop that is over its tolerance."""
    tolerances = {
        "merged": (settings.merged_agreement, settings.merged_gap),
        "adapter": (settings.merged_agreement, settings.merged_gap),
        "quantized": (settings.quantized_agreement, settings.quantized_gap),
        "served": (settings.served_agreement, settings.served_gap),
    }
    for row in rows:
        if row.hop in tolerances:
            _require_hop(row, *tolerances[row.hop])


def _require_hop(row: ParityRow, min_agreement: float, max_gap: float) -> None:
    hop, before, remedy = row.hop, row.against, REMEDIES[row.hop]
    section = "merged" if hop == "adapter" else hop
    agreeing = row.agreeing or 0
    highest = binomtest(agreeing, row.items, alternative="less").proportion_ci(REFUSAL_CONFIDENCE).high
    if highest < min_agreement:
        raise ParityError(
            hop,
            "greedy answers",
            f"{agreeing} of {row.items} are the {before} model's (at most {highest:.1%}, "
            f"parity.{section}_agreement wants {min_agreement:.1%}); {remedy}",
        )
    share, nats = row.loss_share, row.mean_logprob_difference or 0.0
    if share is None or share > max_gap:
        found = "not numbers" if share is None else f"{nats:.3g} nats, {share:.1%} of the loss,"
        raise ParityError(
            hop,
            "log-probabilities",
            f"those of the reference answers are {found} from the {before} model's on average "
            f"(parity.{section}_gap allows {max_gap:.1%}); {remedy}",
        )


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
