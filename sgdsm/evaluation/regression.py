"""Linear regression from sums of products alone: rows are read once, whatever is asked of them afterwards.

A Gram matrix is that of the rows (1, covariates, target), (p + 2, p + 2), the covariates in about their own standard
deviations; those of blocks, regions and zones add up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EXHAUSTIVE = 20  # the most covariates of which every subset is looked at: a million regressions, a second
TINY = 1e-9  # what is left of a covariate that the others explain to this share counts as nothing


class Moments(NamedTuple):
    """Of n rows: correlations between covariates and with the target, (p, p) and (p,), and what turns standardised
    coefficients back, the standard deviations `spread` (p,) and `target_spread`."""

    n: float
    between: np.ndarray
    with_target: np.ndarray
    spread: np.ndarray
    target_spread: float


class Fit(NamedTuple):
    """Ordinary least squares: coefficients in standard deviations of the target for one of the covariate, their
    standard errors for independent rows, t and two-sided p, each (p,); and R2."""

    coefficient: np.ndarray
    error: np.ndarray
    t: np.ndarray
    p: np.ndarray
    r2: float


def moments(gram: np.ndarray) -> Moments:
    """Correlations of a Gram matrix; those of a variable without spread are 0."""
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


def least_squares(found: Moments) -> Fit:
    """The regression on all covariates; needs more rows than covariates."""
    from scipy.stats import t as student

    inverse = np.linalg.pinv(found.between, rcond=TINY, hermitian=True)
    coefficient = inverse @ found.with_target
    r2 = float(coefficient @ found.with_target)
    free = found.n - len(coefficient) - 1
    error = np.sqrt(np.maximum(inverse.diagonal() * max(1 - r2, 0) / free, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = coefficient / error
    return Fit(coefficient, error, t, 2 * student.sf(abs(t), free), r2)


def inflation(found: Moments) -> np.ndarray:
    """Variance inflation factors, (p,): 1 / (1 - R2) of each covariate regressed on the others."""
    factors = []
    for k in range(len(found.between)):
        rest = np.delete(np.arange(len(found.between)), k)
        others = np.linalg.pinv(found.between[np.ix_(rest, rest)], rcond=TINY, hermitian=True)
        left = 1 - found.between[k, rest] @ others @ found.between[rest, k]
        factors.append(1 / left if left > TINY else np.inf)
    return np.array(factors)


def r2_of_subsets(found: Moments) -> np.ndarray:
    """R2 of the regression on every subset, (2^p,); covariate k is in a subset where bit k of its number is set.

    The covariates are swept out one by one from all matrices at once, so each subset costs one step, not one fit.
    """
    p = len(found.with_target)
    # (subsets, left + 1, left + 1): of what is not decided yet, with the target last, given what is in the subset
    left = np.block([[found.between, found.with_target[:, None]], [found.with_target[None], np.ones((1, 1))]])[None]
    r2 = np.zeros(1)
    for _ in range(p):
        pivot, row = left[:, 0, 0], left[:, 0, 1:]
        factor = np.where(pivot > TINY, 1 / np.where(pivot > TINY, pivot, 1), 0)
        without = left[:, 1:, 1:]
        swept = without - factor[:, None, None] * row[:, :, None] * row[:, None, :]
        r2 = np.concatenate([r2, r2 + factor * row[:, -1] ** 2])
        left = np.concatenate([without, swept])
    return r2


def importance(found: Moments, seed: int = 0, orders: int = 2000) -> np.ndarray:
    """Each covariate's share of R2, averaged over the orders in which they may enter; the shares add up to R2.

    LMG (Lindeman, Merenda and Gold, 1980; Groemping, J. Stat. Softw. 17(1), 2006): exact up to EXHAUSTIVE covariates,
    the mean of so many random `orders` beyond.
    """
    from math import comb

    p = len(found.with_target)
    if p > EXHAUSTIVE:
        return _importance_of_orders(found, np.random.default_rng(seed), orders)
    r2 = r2_of_subsets(found)
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


def _importance_of_orders(found: Moments, rng: np.random.Generator, orders: int) -> np.ndarray:
    total = np.zeros(len(found.with_target))
    # a grain of ridge: a covariate that others hold wholly adds nothing where it comes after them
    between = found.between + TINY * np.eye(len(total))
    for _ in range(orders):
        order = rng.permutation(len(total))
        triangle = np.linalg.cholesky(between[np.ix_(order, order)])
        total[order] += np.linalg.solve(triangle, found.with_target[order]) ** 2
    return total / orders


def aic(effect: np.ndarray) -> np.ndarray:
    """What each covariate costs in Akaike's criterion, (p,): 2 for independent rows.

    effect: design effect of each coefficient, its variance over that for independent rows; 2 x effect is Takeuchi's
    generalisation (TIC, 1976) without what covariates share.
    """
    return 2 * effect


def bic(rows: float, effect: np.ndarray) -> np.ndarray:
    """What each covariate costs in Schwarz's criterion, (p,): log(n) for n independent rows; effect: as in `aic`."""
    cost: np.ndarray = effect * np.log(np.maximum(rows / effect, np.e))
    return cost


def stepwise(found: Moments, cost: np.ndarray) -> list[int]:
    """The covariates that are left when the step, in or out, that lowers n log(1 - R2) + their costs most is taken
    until none does; begins with none (Venables and Ripley, 2002: stepAIC)."""
    chosen, lowest = frozenset[int](), 0.0
    while True:
        steps = [chosen ^ {k} for k in range(len(cost))]
        scores = [found.n * np.log(max(1 - _r2(found, s), TINY)) + cost[sorted(s)].sum() for s in steps]
        best = int(np.argmin(scores))
        if scores[best] >= lowest - 1e-9:
            return sorted(chosen)
        chosen, lowest = steps[best], scores[best]


def best_subset(found: Moments, cost: np.ndarray) -> list[int]:
    """The covariates with the smallest n log(1 - R2) + their costs of all subsets; beyond EXHAUSTIVE, `stepwise`."""
    p = len(cost)
    if p > EXHAUSTIVE:
        return stepwise(found, cost)
    r2 = r2_of_subsets(found)
    numbers = np.arange(len(r2))
    score = found.n * np.log(np.maximum(1 - r2, TINY))
    for k in range(p):
        score += np.where((numbers >> k) & 1, cost[k], 0)
    best = int(score.argmin())
    return [k for k in range(p) if best >> k & 1]


def block_errors(grams: np.ndarray, region: np.ndarray, seed: int = 0, draws: int = 400) -> tuple[np.ndarray, int, int]:
    """Standard errors of the coefficients where neither days nor places are independent, (p,), and the numbers of
    blocks and of regions; with one of each the errors are NaN.

    grams: of each block of days and each group of cells, (blocks, groups, p + 2, p + 2). region: of each group.
    Blocks and regions are drawn with replacement, apart from one another, and a Gram matrix counts as often as both
    (Owen, Ann. Appl. Stat. 1, 386, 2007: the pigeonhole bootstrap). So a map that never changes has as many independent
    values as there are regions, not as there are days.
    """
    rng = np.random.default_rng(seed)
    present = grams[:, :, 0, 0] > 0
    blocks = np.flatnonzero(present.any(1))
    regions = np.unique(region[present.any(0)])
    flat = grams.reshape(len(grams) * len(region), -1)
    found = []
    for _ in range(draws if len(blocks) * len(regions) > 1 else 0):
        days, places = np.zeros(len(grams)), np.zeros(int(region.max()) + 1)
        days[blocks] = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)))
        places[regions] = rng.multinomial(len(regions), np.full(len(regions), 1 / len(regions)))
        drawn = (np.outer(days, places[region]).ravel() @ flat).reshape(grams.shape[2:])
        if drawn[0, 0] > grams.shape[2]:
            found.append(moments(drawn))
    if len(found) < 2:
        return np.full(grams.shape[2] - 2, np.nan), len(blocks), len(regions)
    whole = moments(grams.sum((0, 1)))
    scale = whole.spread / whole.target_spread
    coefficients = np.stack([_per_unit(one) for one in found]) * scale
    return coefficients.std(0, ddof=1), len(blocks), len(regions)


def _per_unit(found: Moments) -> np.ndarray:
    """Coefficients for one unit of each covariate; 0 for one without spread."""
    coefficient = np.linalg.pinv(found.between, rcond=TINY, hermitian=True) @ found.with_target
    spread = np.where(found.spread > 0, found.spread, np.inf)
    per_unit: np.ndarray = coefficient * found.target_spread / spread
    return per_unit


def _r2(found: Moments, chosen: frozenset[int]) -> float:
    inside = sorted(chosen)
    rest = np.linalg.pinv(found.between[np.ix_(inside, inside)], rcond=TINY, hermitian=True)
    return float(found.with_target[inside] @ rest @ found.with_target[inside])
