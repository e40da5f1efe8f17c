"""Linear regression from sums of products alone: the rows are read once, whatever is computed from them afterwards.

A Gram matrix is X'X of the rows X = (1, covariates, target), (p + 2, p + 2), with the covariates in about their own
standard deviations. Gram matrices of blocks, regions and strata can be added.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

EXHAUSTIVE = 20  # most covariates of which every subset is computed: a million regressions, about a second
TINY = 1e-9  # share of a covariate's variance that counts as none when the others explain the rest


class Moments(NamedTuple):
    """Correlations of n rows, and the standard deviations that turn standardised coefficients back.

    Attributes:
        n: Number of rows.
        between: Correlations between covariates, (p, p).
        with_target: Correlations with the target, (p,).
        spread: Standard deviations of the covariates, (p,).
        target_spread: Standard deviation of the target.
    """

    n: float
    between: np.ndarray
    with_target: np.ndarray
    spread: np.ndarray
    target_spread: float


class Fit(NamedTuple):
    """Ordinary least squares.

    Attributes:
        coefficient: In standard deviations of the target for one of the covariate, (p,).
        error: Standard errors of the coefficients for independent rows, (p,).
        t: Coefficients over their standard errors, (p,).
        p: Two-sided significance, (p,).
        r2: Share of the variance that is explained.
    """

    coefficient: np.ndarray
    error: np.ndarray
    t: np.ndarray
    p: np.ndarray
    r2: float


def moments(gram: np.ndarray) -> Moments:
    """Return the correlations of a Gram matrix, (p + 2, p + 2); those of a variable without spread are 0."""
    n = float(gram[0, 0])
    mean = gram[0, 1:] / n
    covariance = gram[1:, 1:] / n - np.outer(mean, mean)
    variance = covariance.diagonal().copy()
    # sums in float64 leave a rest where there is no spread
    variance[variance <= 1e-12 * gram.diagonal()[1:] / n] = 0
    spread = np.sqrt(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(np.outer(spread, spread) > 0, covariance / np.outer(spread, spread), 0)
    return Moments(n, correlation[:-1, :-1], correlation[:-1, -1], spread[:-1], float(spread[-1]))


def least_squares(sample: Moments) -> Fit:
    """Return the regression on all covariates; there must be more rows than covariates."""
    # a pseudo-inverse, because covariates may determine one another
    inverse = np.linalg.pinv(sample.between, rcond=TINY, hermitian=True)
    coefficient = inverse @ sample.with_target
    r2 = float(coefficient @ sample.with_target)
    free = sample.n - len(coefficient) - 1
    error = np.sqrt(np.maximum(inverse.diagonal() * max(1 - r2, 0) / free, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = coefficient / error
    return Fit(coefficient, error, t, 2 * student.sf(abs(t), free), r2)


def inflation(sample: Moments) -> np.ndarray:
    """Return variance inflation factors, (p,): 1 / (1 - R2) of each covariate regressed on the others."""
    factors = []
    for k in range(len(sample.between)):
        rest = np.delete(np.arange(len(sample.between)), k)
        others = np.linalg.pinv(sample.between[np.ix_(rest, rest)], rcond=TINY, hermitian=True)
        left = 1 - sample.between[k, rest] @ others @ sample.between[rest, k]
        factors.append(1 / left if left > TINY else np.inf)
    return np.array(factors)


def r2_of_subsets(sample: Moments) -> np.ndarray:
    """Return R2 of the regression on every subset, (2^p,); covariate k is in a subset if bit k of its number is set.

    The covariates are swept out one by one from all matrices at once, so each subset costs one step, not one fit.
    """
    p = len(sample.with_target)
    # (subsets, k + 1, k + 1): covariances of the k covariates not yet decided on, with the target last, given the
    # covariates in the subset
    left = np.block([[sample.between, sample.with_target[:, None]], [sample.with_target[None], np.ones((1, 1))]])[None]
    r2 = np.zeros(1)
    for _ in range(p):
        pivot, row = left[:, 0, 0], left[:, 0, 1:]
        factor = np.where(pivot > TINY, 1 / np.where(pivot > TINY, pivot, 1), 0)
        without = left[:, 1:, 1:]
        swept = without - factor[:, None, None] * row[:, :, None] * row[:, None, :]
        r2 = np.concatenate([r2, r2 + factor * row[:, -1] ** 2])
        left = np.concatenate([without, swept])
    return r2


def importance(sample: Moments, seed: int = 0, orders: int = 2000) -> np.ndarray:
    """Return each covariate's share of R2, (p,), averaged over the orders in which they may enter.

    LMG (Lindeman, Merenda and Gold, 1980; Groemping, J. Stat. Softw. 17(1), 2006). The shares add up to R2. Exact up
    to EXHAUSTIVE covariates; beyond that, the mean over random orders.

    Args:
        sample: Correlations.
        seed: Of the random orders.
        orders: Number of random orders.
    """
    p = len(sample.with_target)
    if p > EXHAUSTIVE:
        return _importance_of_orders(sample, np.random.default_rng(seed), orders)
    r2 = r2_of_subsets(sample)
    numbers = np.arange(len(r2))
    size = np.zeros(len(r2), np.int64)
    for k in range(p):
        size += (numbers >> k) & 1
    weight = np.array([1 / (p * comb(p - 1, s)) for s in range(p)])
    share = np.empty(p)
    for k in range(p):
        without = numbers[(numbers >> k) & 1 == 0]
        share[k] = (weight[size[without]] * (r2[without + (1 << k)] - r2[without])).sum()
    return share


def _importance_of_orders(sample: Moments, rng: np.random.Generator, orders: int) -> np.ndarray:
    total = np.zeros(len(sample.with_target))
    # a little ridge: Cholesky needs full rank, and a covariate that others determine adds nothing after them
    between = sample.between + TINY * np.eye(len(total))
    for _ in range(orders):
        order = rng.permutation(len(total))
        triangle = np.linalg.cholesky(between[np.ix_(order, order)])
        total[order] += np.linalg.solve(triangle, sample.with_target[order]) ** 2
    return total / orders


def aic(effect: np.ndarray) -> np.ndarray:
    """Return the cost of each covariate in Akaike's criterion, (p,): 2 for independent rows.

    Args:
        effect: Design effect of each coefficient, (p,): its variance over that for independent rows. 2 x effect is
            Takeuchi's generalisation (TIC, 1976) without the terms between covariates.
    """
    return 2 * effect


def bic(rows: float, effect: np.ndarray) -> np.ndarray:
    """Return the cost of each covariate in Schwarz's criterion, (p,): log(n) for n independent rows.

    Args:
        rows: Number of rows, n.
        effect: Design effect of each coefficient, (p,), as in `aic`.
    """
    cost: np.ndarray = effect * np.log(np.maximum(rows / effect, np.e))
    return cost


def stepwise(sample: Moments, cost: np.ndarray) -> list[int]:
    """Return the covariates that stepwise regression chooses (Venables and Ripley, 2002: stepAIC).

    It begins with none. Each step adds or removes the covariate that lowers n log(1 - R2) + costs most, until no step
    lowers it.

    Args:
        sample: Correlations.
        cost: Of each covariate, (p,), see `aic` and `bic`.
    """
    chosen, lowest = frozenset[int](), 0.0
    while True:
        steps = [chosen ^ {k} for k in range(len(cost))]
        scores = [sample.n * np.log(max(1 - _r2(sample, s), TINY)) + cost[sorted(s)].sum() for s in steps]
        best = int(np.argmin(scores))
        if scores[best] >= lowest - 1e-9:
            return sorted(chosen)
        chosen, lowest = steps[best], scores[best]


def best_subset(sample: Moments, cost: np.ndarray) -> list[int]:
    """Return the subset of the covariates with the smallest n log(1 - R2) + costs; `stepwise` beyond EXHAUSTIVE.

    Args:
        sample: Correlations.
        cost: Of each covariate, (p,), see `aic` and `bic`.
    """
    p = len(cost)
    if p > EXHAUSTIVE:
        return stepwise(sample, cost)
    r2 = r2_of_subsets(sample)
    numbers = np.arange(len(r2))
    score = sample.n * np.log(np.maximum(1 - r2, TINY))
    for k in range(p):
        score += np.where((numbers >> k) & 1, cost[k], 0)
    best = int(score.argmin())
    return [k for k in range(p) if best >> k & 1]


def block_errors(grams: np.ndarray, region: np.ndarray, seed: int = 0, draws: int = 400) -> tuple[np.ndarray, int, int]:
    """Return standard errors of the coefficients where neither days nor places are independent.

    Blocks of days and regions are drawn with replacement, independently of one another, and the weight of a Gram matrix
    is the product of how often its block and its region are drawn (pigeonhole bootstrap: Owen, Ann. Appl. Stat. 1, 386,
    2007). So a map that never changes has as many independent values as there are regions, not as there are days.

    Args:
        grams: Of each block of days and each group of cells, (blocks, groups, p + 2, p + 2).
        region: Number of the region of each group, (groups,).
        seed: Of the draws.
        draws: How often blocks and regions are drawn.

    Returns:
        Standard errors, (p,), for standardised coefficients, NaN where there is one block in one region; the number of
        blocks with rows; the number of regions with rows.
    """
    rng = np.random.default_rng(seed)
    present = grams[:, :, 0, 0] > 0
    blocks = np.flatnonzero(present.any(1))
    regions = np.unique(region[present.any(0)])
    flat = grams.reshape(len(grams) * len(region), -1)
    samples = []
    for _ in range(draws if len(blocks) * len(regions) > 1 else 0):
        days, places = np.zeros(len(grams)), np.zeros(int(region.max()) + 1)
        days[blocks] = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)))
        places[regions] = rng.multinomial(len(regions), np.full(len(regions), 1 / len(regions)))
        drawn = (np.outer(days, places[region]).ravel() @ flat).reshape(grams.shape[2:])
        # a draw of few rows has no regression
        if drawn[0, 0] > grams.shape[2]:
            samples.append(moments(drawn))
    if len(samples) < 2:
        return np.full(grams.shape[2] - 2, np.nan), len(blocks), len(regions)
    whole = moments(grams.sum((0, 1)))
    scale = whole.spread / whole.target_spread
    coefficients = np.stack([_per_unit(one) for one in samples]) * scale
    return coefficients.std(0, ddof=1), len(blocks), len(regions)


def _per_unit(sample: Moments) -> np.ndarray:
    """Return coefficients for one unit of each covariate, (p,); 0 for one without spread."""
    coefficient = np.linalg.pinv(sample.between, rcond=TINY, hermitian=True) @ sample.with_target
    spread = np.where(sample.spread > 0, sample.spread, np.inf)
    per_unit: np.ndarray = coefficient * sample.target_spread / spread
    return per_unit


def _r2(sample: Moments, chosen: frozenset[int]) -> float:
    """Return R2 of the regression on some covariates, given by their numbers."""
    inside = sorted(chosen)
    rest = np.linalg.pinv(sample.between[np.ix_(inside, inside)], rcond=TINY, hermitian=True)
    return float(sample.with_target[inside] @ rest @ sample.with_target[inside])
