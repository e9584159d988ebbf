"""By how much less a window's rows say because they come in bursts: the design effect, from batch means; pure.

People ask again, so neighbours in time are alike, and a window of 200 requests is worth fewer. The variance of the mean
of dependent rows is that of independent ones times the ratio of their long-run covariance to their covariance; batch
means estimate the first one (Flegal and Jones, Annals of Statistics 38, 2010; for vectors the trace of both, and their
Frobenius norms, which say how the squared distance of two means varies).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from monitor.calibration import Array

BLOCKS = 10
"""Of a window: long ones see long bursts, and few of them are known badly."""
SHUFFLES = 4
"""Of the rows: without any order both numbers are not 1 either, because few blocks of many words are mostly noise."""


@dataclass(frozen=True)
class DesignEffect:
    """How many times larger the expected squared distance of two means is, and its spread; 1 for independent rows."""

    size: float = 1.0
    spread: float = 1.0


INDEPENDENT = DesignEffect()


def design_effect_of(vectors: Any) -> DesignEffect:
    """Return the design effect of rows in their order, each a vector; of shape (rows, columns), dense or sparse."""
    rows = vectors.shape[0] // BLOCKS * BLOCKS
    if rows < 2 * BLOCKS:
        return INDEPENDENT
    kept = vectors[:rows]
    means = _block_averages(rows) @ kept
    products = _products(means)
    # The mean of all rows is that of the blocks of any order, so that its square is the mean of their products.
    varied = float(kept.multiply(kept).sum() if sparse.issparse(kept) else np.square(kept).sum())
    if varied - rows * float(products[0].mean()) < 1e-9:
        return INDEPENDENT
    (size, *sizes), (spread, *spreads) = zip(*(_of_blocks(one) for one in products), strict=True)
    larger = max(1.0, size / max(1e-12, float(np.mean(sizes))))
    return DesignEffect(larger, max(larger, spread / max(1e-12, float(np.mean(spreads)))))


def _products(means: Any) -> Array:
    """Return the scalar products of the blocks' means of each order, of shape (orders, blocks, blocks)."""
    if not sparse.issparse(means):
        of_order = means.reshape(-1, BLOCKS, means.shape[1])
        return np.asarray(np.einsum("oik,ojk->oij", of_order, of_order))
    every = (means @ means.T).toarray().reshape(-1, BLOCKS, len(means.indptr) // BLOCKS, BLOCKS)
    return np.asarray(np.einsum("oioj->oij", every))


def widened(
    permuted: Array, current: DesignEffect, reference: DesignEffect, rows: tuple[int, int], power: float
) -> Array:
    """Return statistics of independent rows as those of bursts would be: of larger size and spread.

    `rows` are those of window and reference; a statistic grows with this power of the squared distance of the means.
    """
    shares = 1 / rows[0], 1 / rows[1]

    def factor(of_current: float, of_reference: float) -> float:
        return float(((of_current * shares[0] + of_reference * shares[1]) / sum(shares)) ** power)

    size, spread = factor(current.size, reference.size), factor(current.spread, reference.spread)
    mean = permuted.mean(axis=0)
    return np.asarray(mean * size + (permuted - mean) * spread)


@lru_cache(maxsize=4)  # of windows and references, which have the same lengths at each check
def _block_averages(rows: int) -> Any:
    """Return what averages rows over blocks, in their order and in shuffled ones: shape (orders times blocks, rows).

    Sparse, because BLAS threads the product of such small dense ones, and its threads spin for longer than it takes.
    """
    random, length = np.random.default_rng(rows), rows // BLOCKS
    orders = np.concatenate([np.arange(rows), *(random.permutation(rows) for _ in range(SHUFFLES))])
    ends = np.arange(0, len(orders) + 1, length)
    return sparse.csr_array((np.full(len(orders), 1 / length), orders, ends), shape=(len(ends) - 1, rows))


def _of_blocks(products: Array) -> tuple[float, float]:
    """Return trace and norm of the covariance of blocks' means, given their scalar products."""
    means = _centered(products)
    return float(np.trace(means)), _norm(means)


def _centered(gram: Array) -> Array:
    means = gram.mean(axis=0)
    return np.asarray(gram - means - means[:, np.newaxis] + means.mean())


def _norm(gram: Array) -> float:
    """Return the Frobenius norm of the covariance, without the rows' products with themselves, which would bias it."""
    squares = np.square(gram)
    return float(np.sqrt(max(0.0, squares.sum() - np.trace(squares)) / (len(gram) * (len(gram) - 1))))
