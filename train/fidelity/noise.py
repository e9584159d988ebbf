"""Measures a reader's noise: how far a form of the model is from itself, read in another number type and other batches.

The forms of a model are compared by log-probabilities that are computed in numbers of two to three digits, by the
trainer, by transformers on the files, and by an engine. Nothing but such numbers moves the same files apart by 0.3 % of
the loss for a model of 3 million parameters and by 3 % for one of 135 million. So a step from one form to the next is
compared with that, and what it changed itself is what is left: independent differences add up by their squares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftwheel.records.scorecard import HopNoise, Interval
from train.fidelity.probing import Probe, Reading

RESAMPLES = 2000
TAIL = 0.01
"""Each end of an interval is passed by chance in one of 100 samples of probes, so seldom is a clean one refused."""
SMALLEST_LOSS = 1e-3
"""Nats a token. A log-probability moves with its logits by 1 - p, which is about its loss: the share of the loss is the
same for a model that is sure and for one that is not. Below this only the rounding of numbers would be seen."""


@dataclass(frozen=True, kw_only=True)
class ReadTwice:
    """The same form of a model, read as the hop reads it and read again."""

    once: Sequence[Reading]
    again: Sequence[Reading]


def read_again(
    read: Callable[[Sequence[Probe], Sequence[Reading]], list[Reading]],
    probes: Sequence[Probe],
    readings: Sequence[Reading],
) -> list[Reading]:
    """Return the readings of a model by `read`, each second probe in batches of its own; `readings` are the drafts."""
    again = list(readings)
    for start in (0, 1):
        again[start::2] = read(probes[start::2], readings[start::2])
    return again


def noise_of(before: Sequence[Reading], after: Sequence[Reading], twice: ReadTwice) -> HopNoise | None:
    """Return the noise of reading that form, and what the hop changed beyond it, as shares of the loss.

    Intervals are the bootstrap's over probes (Efron 1979), 98 %: a probe's tokens move together. None if a
    log-probability is no number.
    """
    gaps, noise = _apart(before, after), _apart(twice.once, twice.again)
    losses = np.array([-sum(reading.logprobs) for reading in before])
    rises = np.array([-sum(reading.logprobs) for reading in after]) - losses
    tokens = np.array([len(reading.logprobs) for reading in before])
    parts = np.stack([gaps, noise, rises, np.maximum(losses, SMALLEST_LOSS * tokens)])
    if not np.isfinite(parts).all():
        return None
    # Drawn from a fixed seed, so that the same readings always give the same verdict.
    drawn = np.random.default_rng(0).integers(0, len(losses), (RESAMPLES, len(losses)))
    sums = parts[:, drawn].sum(2)
    own, rise = _beyond(*sums[[0, 1, 3]]), sums[2] / sums[3]
    gap_sum, noise_sum, rise_sum, loss_sum = parts.sum(1)
    return HopNoise(
        items=len(twice.once),
        agreeing=sum(a.answer_ids == b.answer_ids for a, b in zip(twice.once, twice.again, strict=True)),
        loss_share=float(noise_sum / loss_sum),
        own_share=float(_beyond(gap_sum, noise_sum, loss_sum)),
        own_interval=_ends(own),
        loss_rise=float(rise_sum / loss_sum),
        loss_rise_interval=_ends(rise),
    )


def _apart(before: Sequence[Reading], after: Sequence[Reading]) -> Any:
    """Return by how many nats the tokens of each probe moved, summed."""
    return np.array(
        [
            sum(abs(p - q) for p, q in zip(a.logprobs, b.logprobs, strict=True))
            for a, b in zip(before, after, strict=True)
        ]
    )


def _beyond(gaps: Any, noise: Any, losses: Any) -> Any:
    return np.sqrt(np.maximum(gaps**2 - noise**2, 0)) / losses


def _ends(values: Any) -> Interval:
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    return float(low), float(high)
