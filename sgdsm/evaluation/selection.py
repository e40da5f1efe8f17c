"""Selection of covariates: which ones explain the target, and which repeat others.

Methods of Liu et al. (HESS 27, 577, 2023, section 3.1.1): least squares, stepwise regression by AIC, the best of all
subsets and relative importance; of closely correlated covariates one is dropped. Ours are the thresholds, and standard
errors that allow for the correlation of neighbouring cells and days.

A covariate that is missing somewhere is set to its mean there. Rows without it are kept, because the rows that have it
are not like all rows: a temperature that is observed under clear skies only would leave no rain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from sgdsm.core.errors import CubeError
from sgdsm.core.logging import log
from sgdsm.data.record import Record
from sgdsm.evaluation.regression import (
    Fit,
    aic,
    best_subset,
    bic,
    block_errors,
    importance,
    inflation,
    least_squares,
    moments,
    stepwise,
)

# errors of different blocks and regions are taken for independent
BLOCK_DAYS, REGIONS_PER_SIDE = 30, 6
# |r| with another covariate, and variance inflation factor, above which a covariate is dropped
CORRELATED, INFLATED = 0.9, 10.0
SIGNIFICANT = 0.05
ROWS_PER_COVARIATE = 10
Strata = tuple[np.ndarray, list[str]]


@dataclass
class Sums:
    """Gram matrices (`sgdsm.evaluation.regression`) of the training values, by block of days and group of cells.

    A group is the cells of one region in one stratum.

    Attributes:
        names: Of the covariates, (p,).
        static: Names of those that never change.
        grams: (blocks, groups, p + 2, p + 2).
        region: Number of the region of each group, (groups,).
        stratum: Number of the stratum of each group, (groups,); -1 where cells are in none.
    """

    names: list[str]
    static: frozenset[str]
    grams: np.ndarray
    region: np.ndarray
    stratum: np.ndarray

    def of(self, names: list[str]) -> Sums:
        """Return the sums of the same rows with fewer covariates."""
        columns = [0, *(1 + self.names.index(name) for name in names), len(self.names) + 1]
        return Sums(names, self.static, self.grams[:, :, columns][:, :, :, columns], self.region, self.stratum)

    def inside(self, stratum: int) -> Sums:
        """Return the sums of the rows of one stratum."""
        chosen = self.stratum == stratum
        return Sums(self.names, self.static, self.grams[:, chosen], self.region[chosen], self.stratum[chosen])


@dataclass
class Sample:
    """Results of the regressions on a sample of rows; arrays are of its covariates, (p,).

    Attributes:
        name: Of the sample: 'all', or of a stratum.
        names: Of the covariates.
        rows: Number of rows.
        effective_size: Effective sample size: `rows` over the median of the design effects (squared standard errors
            over blocks to those of independent rows).
        correlation: With the target.
        fit: Least squares on all covariates.
        t_block: Coefficients over their standard errors over blocks of days and regions.
        p_block: Two-sided significance of `t_block`.
        stepwise: True for a covariate in the subset that steps by AIC lead to, where the cost of a covariate grows
            with its design effect.
        best: True for a covariate in the subset with the smallest BIC of all, with such costs.
        importance: Shares of R2 (LMG).
    """

    name: str
    names: list[str]
    rows: int
    effective_size: float
    correlation: np.ndarray
    fit: Fit
    t_block: np.ndarray
    p_block: np.ndarray
    stepwise: np.ndarray
    best: np.ndarray
    importance: np.ndarray

    @property
    def significant(self) -> np.ndarray:
        """True for a covariate that is significant over blocks, (p,)."""
        significant: np.ndarray = self.p_block < SIGNIFICANT
        return significant


@dataclass
class Selection:
    """Which covariates are kept and dropped, and why.

    Attributes:
        available: Share of the training values at which each covariate has a value.
        inflation: Variance inflation factors among the covariates that can be used.
        correlations: Between those, in that order, (p, p).
        samples: Results for all rows, then for each stratum, of the covariates that are not collinear.
        dropped: Dropped covariate -> reason.
        kept: Kept covariate -> reason.
    """

    available: dict[str, float]
    inflation: dict[str, float]
    correlations: np.ndarray
    samples: list[Sample]
    dropped: dict[str, str]
    kept: dict[str, str]


def select(
    record: Record, training: np.ndarray, names: list[str], skip: str | None, strata: Strata | None
) -> Selection:
    """Rank the covariates of a record, and select some, by its training values.

    Args:
        record: Target and covariates.
        training: Which values may be used, (T, H, W) bool.
        names: Of the dynamic, then of the static covariates.
        skip: A covariate that is left out.
        strata: Number of the stratum of each cell, (H, W), -1 for none, and the names of the strata; None for no
            strata.

    Returns:
        What is kept and dropped, and the results that this rests on.

    Raises:
        CubeError: If there are no covariates, or too few values to rank them.
    """
    channels = [(k, name) for k, name in enumerate(names) if name != skip]
    columns = {name: _column(record, k) for k, name in channels}
    if not columns:
        raise CubeError("there are no covariates to choose from: name some by data.dynamic=[..] data.static=[..]")
    available, scales, dropped = _scales(columns, training)
    static = frozenset(names[len(record.dynamic) :])
    # rows are read once; regressions on any subset of columns and rows follow from the sums
    sums = _sums(record, training, {name: columns[name] for name in scales}, static, scales, strata)
    _check_rows(sums)
    whole = moments(sums.grams.sum((0, 1)))
    factors = dict(zip(sums.names, inflation(whole).tolist(), strict=True))
    collinear = _collinear(sums)
    dropped |= collinear
    rest = sums.of([name for name in sums.names if name not in collinear])
    whole_sample = _sample("all", rest)
    if np.isnan(whole_sample.p_block).all():
        raise CubeError(
            f"the training values lie in one block of {BLOCK_DAYS} days and one region: too few to rank covariates"
        )
    samples = [whole_sample, *_of_strata(rest, strata[1] if strata else [])]
    kept = _kept(samples)
    dropped |= {name: "adds nothing: not significant over blocks, not in the best subset" for name in rest.names
                if name not in kept}  # fmt: skip
    return Selection(available, factors, whole.between, samples, dropped, kept)


def regions(shape: tuple[int, ...]) -> np.ndarray:
    """Return the number of the region of each cell, (H, W): boxes, REGIONS_PER_SIDE a side.

    Args:
        shape: (H, W).
    """
    rows, columns = (np.arange(n) * min(n, REGIONS_PER_SIDE) // n for n in shape)
    return rows[:, None] * REGIONS_PER_SIDE + columns


def _column(record: Record, channel: int) -> np.ndarray:
    dynamic = len(record.dynamic)
    return record.dynamic[channel] if channel < dynamic else record.static[channel - dynamic][None]


def _scales(
    columns: dict[str, np.ndarray], training: np.ndarray
) -> tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, str]]:
    """Return the share of the training values with a value, mean and spread, and why a covariate cannot be used."""
    dropped: dict[str, str] = {}
    scales: dict[str, tuple[float, float]] = {}
    available = {}
    for name, column in columns.items():
        values = np.broadcast_to(column, training.shape)[training]
        finite = np.isfinite(values)
        available[name] = float(finite.mean()) if finite.size else 0.0
        spread = float(values[finite].std(dtype=np.float64)) if finite.any() else 0.0
        if not finite.any():
            dropped[name] = "missing at every training value"
        elif spread == 0:
            dropped[name] = "the same everywhere"
        else:
            scales[name] = float(values[finite].mean(dtype=np.float64)), spread
    return available, scales, dropped


def _sums(
    record: Record,
    training: np.ndarray,
    columns: dict[str, np.ndarray],
    static: frozenset[str],
    scales: dict[str, tuple[float, float]],
    strata: Strata | None,
) -> Sums:
    region = regions(record.land.shape)
    stratum = strata[0] if strata else np.full(region.shape, -1)
    pairs, group = np.unique(np.stack([region.ravel(), stratum.ravel()]), axis=1, return_inverse=True)
    group = group.reshape(region.shape)
    values = record.values[training]
    middle, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0
    block = (record.days - record.days[0]) // BLOCK_DAYS
    # rows hold 1, the covariates and the target, all but the first in standard deviations from the mean
    size = len(columns) + 2
    grams = np.zeros((int(block[-1]) + 1, pairs.shape[1], size, size))
    for number in np.unique(block[training.any((1, 2))]):
        days = np.flatnonzero(block == number)
        inside = training[days]
        rows = np.ones((int(inside.sum()), size))
        for k, (name, column) in enumerate(columns.items()):
            there = column[days] if len(column) > 1 else np.broadcast_to(column, inside.shape)
            # 0 is the mean: a missing value says nothing
            rows[:, k + 1] = np.nan_to_num((there[inside] - scales[name][0]) / scales[name][1])
        rows[:, -1] = (record.values[days][inside] - middle) / spread
        # sorted by group, the rows of each are one slice and one product of matrices
        groups = np.broadcast_to(group, inside.shape)[inside]
        order = np.argsort(groups, kind="stable")
        present, begin = np.unique(groups[order], return_index=True)
        for which, part in zip(present, np.split(rows[order], begin[1:]), strict=True):
            grams[number, which] = part.T @ part
    return Sums(list(columns), static, grams, pairs[0], pairs[1])


def _check_rows(sums: Sums) -> None:
    whole = sums.grams.sum((0, 1))
    if not sums.names:
        raise CubeError("no covariate can be used: each is missing at the training values, or never changes")
    if whole[0, 0] < ROWS_PER_COVARIATE * (len(sums.names) + 1):
        raise CubeError(
            f"{whole[0, 0]:.0f} training values for {len(sums.names)} covariates, expected at least "
            f"{ROWS_PER_COVARIATE} for each"
        )
    if moments(whole).target_spread == 0:
        raise CubeError("the target is the same everywhere: there is nothing to explain")


def _collinear(sums: Sums) -> dict[str, str]:
    """Return the covariates that others repeat, with the reason; of several, the least important is dropped."""
    dropped: dict[str, str] = {}
    names = list(sums.names)
    while len(names) > 1:
        summary = moments(sums.of(names).grams.sum((0, 1)))
        weight = importance(summary)
        close = np.triu(abs(summary.between), 1)
        i, j = np.unravel_index(int(close.argmax()), close.shape)
        factors = inflation(summary)
        if close[i, j] > CORRELATED:
            gone, stays = (int(i), int(j)) if weight[i] < weight[j] else (int(j), int(i))
            why = f"r = {summary.between[i, j]:+.2f} with {names[stays]}, which is more important"
        elif factors.max() > INFLATED:
            gone = int(np.where(factors > INFLATED, weight, np.inf).argmin())
            why = f"VIF {factors[gone]:.0f}: the others together stand for it"
        else:
            break
        dropped[names.pop(gone)] = why
    return dropped


def _sample(name: str, sums: Sums) -> Sample:
    summary = moments(sums.grams.sum((0, 1)))
    fit = least_squares(summary)
    error, blocks, places = block_errors(sums.grams, sums.region)
    if places == 1:
        # a static covariate varies over places only, and there is one place
        error = np.where([one in sums.static for one in sums.names], np.nan, error)
    # degrees of freedom of the t test: of blocks and regions, the fewer
    units = min((n for n in (blocks, places) if n > 1), default=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        t_block = fit.coefficient / error
        # rows never count as more than independent ones, whatever the draws give
        effect = np.maximum((error / fit.error) ** 2, 1.0)
    effect[np.isnan(effect)] = np.inf  # without a standard error a covariate is never chosen
    inside = np.arange(len(sums.names))
    return Sample(
        name,
        sums.names,
        int(summary.n),
        summary.n / float(np.median(effect)),
        summary.with_target,
        fit,
        t_block,
        2 * student.sf(abs(t_block), units - 1),
        np.isin(inside, stepwise(summary, aic(effect))),
        np.isin(inside, best_subset(summary, bic(summary.n, effect))),
        importance(summary),
    )


def _of_strata(sums: Sums, names: list[str]) -> list[Sample]:
    samples = []
    for number, name in enumerate(names):
        inside = sums.inside(number)
        count = float(inside.grams[:, :, 0, 0].sum())
        if count < ROWS_PER_COVARIATE * (len(sums.names) + 1):
            log.info("stratum %s has %d rows, too few: left out", name, count)
        elif moments(inside.grams.sum((0, 1))).target_spread == 0:
            log.info("stratum %s: the target is the same everywhere in it: left out", name)
        else:
            samples.append(_sample(name, inside))
    return samples


def _kept(samples: list[Sample]) -> dict[str, str]:
    whole, strata = samples[0], samples[1:]
    kept = {}
    for k, name in enumerate(whole.names):
        in_strata = sum(bool(sample.significant[k]) for sample in strata)
        reasons = []
        if whole.significant[k]:
            reasons.append("significant over blocks")
        if whole.best[k]:
            reasons.append("in the best subset")
        if strata and 2 * in_strata >= len(strata):
            reasons.append(f"significant in {in_strata} of {len(strata)} strata")
        if reasons:
            kept[name] = ", ".join(reasons)
    return kept
