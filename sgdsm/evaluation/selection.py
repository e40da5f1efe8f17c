"""Which covariates say something of the target, and which say it twice.

LIU's choice (HESS 27, 577, 2023, section 3.1.1): least squares, stepwise regression by AIC, the best of all subsets,
relative importance, and what is closely correlated with another left out. Ours: the thresholds, and that the rows of
neighbouring cells and days, which are no independent witnesses, are not counted as if they were. A covariate that is
missing somewhere counts there as its mean, and so says nothing: rows without it stay, for those that have it are others
(a temperature that is seen through clear skies only would leave no rain).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgdsm.core.cube import CubeError, log
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

BLOCK_DAYS, REGIONS_PER_SIDE = 30, 6
CORRELATED, INFLATED = 0.9, 10.0
SIGNIFICANT = 0.05
ROWS_PER_COVARIATE = 10


@dataclass
class Sums:
    """Gram matrices (`sgdsm.evaluation.regression`) of the rows: (blocks of days, groups, p + 2, p + 2).

    A group is the cells of one region in one zone: region, zone (groups,), -1 where a cell is in no zone. names: of
    the covariates, (p,). static: those that never change.
    """

    names: list[str]
    static: frozenset[str]
    grams: np.ndarray
    region: np.ndarray
    zone: np.ndarray

    def of(self, names: list[str]) -> Sums:
        """The same rows with fewer covariates."""
        columns = [0, *(1 + self.names.index(name) for name in names), len(self.names) + 1]
        return Sums(names, self.static, self.grams[:, :, columns][:, :, :, columns], self.region, self.zone)

    def inside(self, zone: int) -> Sums:
        """The rows of one zone."""
        chosen = self.zone == zone
        return Sums(self.names, self.static, self.grams[:, chosen], self.region[chosen], self.zone[chosen])


@dataclass
class Sample:
    """What regressions on a sample of rows found; arrays are of its covariates, (p,).

    rows: how many; worth: how many independent ones they are worth, by the median of the design effects (squared errors
    over blocks to those of independent rows). p_block: significance over blocks of days and regions. stepwise, best:
    whether a covariate is in the subset that steps by AIC lead to, and in that with the smallest BIC of all, each
    covariate at a cost that grows with its design effect. importance: shares of R2 (LMG). correlation: with the target.
    """

    name: str
    names: list[str]
    rows: int
    worth: float
    correlation: np.ndarray
    fit: Fit
    t_block: np.ndarray
    p_block: np.ndarray
    stepwise: np.ndarray
    best: np.ndarray
    importance: np.ndarray

    @property
    def significant(self) -> np.ndarray:
        """Whether a covariate is significant over blocks, (p,)."""
        found: np.ndarray = self.p_block < SIGNIFICANT
        return found


@dataclass
class Selection:
    """What was found of the covariates.

    available: share of the training values at which each is there. inflation: variance inflation factors among those
    that can be used; correlations: between them, (p, p), in that order. samples: the whole one, then those of the
    zones, of the covariates that are not collinear. dropped, kept: covariate -> why.
    """

    available: dict[str, float]
    inflation: dict[str, float]
    correlations: np.ndarray
    samples: list[Sample]
    dropped: dict[str, str]
    kept: dict[str, str]


def select(
    record: Record, training: np.ndarray, names: list[str], skip: str | None, zones: tuple[np.ndarray, list[str]] | None
) -> Selection:
    """Judge the covariates of a record at its training values (T, H, W) bool.

    names: of the dynamic, then of the static covariates. skip: one that is not judged. zones: number of the zone of
    each cell, (H, W), -1 for none, and the names of the zones.

    Raises CubeError where there is nothing to rank_covariates or to rank_covariates by.
    """
    channels = [(k, name) for k, name in enumerate(names) if name != skip]
    columns = {name: _column(record, k) for k, name in channels}
    if not columns:
        raise CubeError("there are no covariates to choose from: name some by data.dynamic=[..] data.static=[..]")
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
    static = frozenset(names[len(record.dynamic) :])
    sums = _sums(record, training, {name: columns[name] for name in scales}, static, scales, zones)
    _check_rows(sums)
    whole = moments(sums.grams.sum((0, 1)))
    factors = dict(zip(sums.names, inflation(whole).tolist(), strict=True))
    collinear = _collinear(sums)
    dropped |= collinear
    rest = sums.of([name for name in sums.names if name not in collinear])
    whole_sample = _sample("all", rest)
    if np.isnan(whole_sample.p_block).all():
        raise CubeError(
            f"the training values lie in one block of {BLOCK_DAYS} days and one region: nothing can be told from so few"
        )
    samples = [whole_sample, *_zones(rest, zones[1] if zones else [])]
    kept = _kept(samples)
    dropped |= {name: "adds nothing: not significant over blocks, not in the best subset" for name in rest.names
                if name not in kept}  # fmt: skip
    return Selection(available, factors, whole.between, samples, dropped, kept)


def regions(shape: tuple[int, ...]) -> np.ndarray:
    """The number of the region of each cell (H, W): boxes, REGIONS_PER_SIDE a side."""
    rows, columns = (np.arange(n) * min(n, REGIONS_PER_SIDE) // n for n in shape)
    return rows[:, None] * REGIONS_PER_SIDE + columns


def _column(record: Record, channel: int) -> np.ndarray:
    dynamic = len(record.dynamic)
    return record.dynamic[channel] if channel < dynamic else record.static[channel - dynamic][None]


def _sums(
    record: Record,
    training: np.ndarray,
    columns: dict[str, np.ndarray],
    static: frozenset[str],
    scales: dict[str, tuple[float, float]],
    zones: tuple[np.ndarray, list[str]] | None,
) -> Sums:
    region = regions(record.land.shape)
    zone = zones[0] if zones else np.full(region.shape, -1)
    pairs, group = np.unique(np.stack([region.ravel(), zone.ravel()]), axis=1, return_inverse=True)
    group = group.reshape(region.shape)
    values = record.values[training]
    middle, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0
    block = (record.days - record.days[0]) // BLOCK_DAYS
    size = len(columns) + 2
    grams = np.zeros((int(block[-1]) + 1, pairs.shape[1], size, size))
    for number in np.unique(block[training.any((1, 2))]):
        days = np.flatnonzero(block == number)
        inside = training[days]
        rows = np.ones((int(inside.sum()), size))
        for k, (name, column) in enumerate(columns.items()):
            there = column[days] if len(column) > 1 else np.broadcast_to(column, inside.shape)
            rows[:, k + 1] = np.nan_to_num((there[inside] - scales[name][0]) / scales[name][1])
        rows[:, -1] = (record.values[days][inside] - middle) / spread
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
    """Covariates that others stand for, with the reason: of two, or of several, the least important goes."""
    dropped: dict[str, str] = {}
    names = list(sums.names)
    while len(names) > 1:
        found = moments(sums.of(names).grams.sum((0, 1)))
        weight = importance(found)
        close = np.triu(abs(found.between), 1)
        i, j = np.unravel_index(int(close.argmax()), close.shape)
        factors = inflation(found)
        if close[i, j] > CORRELATED:
            gone, stays = (int(i), int(j)) if weight[i] < weight[j] else (int(j), int(i))
            why = f"r = {found.between[i, j]:+.2f} with {names[stays]}, which is more important"
        elif factors.max() > INFLATED:
            gone = int(np.where(factors > INFLATED, weight, np.inf).argmin())
            why = f"VIF {factors[gone]:.0f}: the others together stand for it"
        else:
            break
        dropped[names.pop(gone)] = why
    return dropped


def _sample(name: str, sums: Sums) -> Sample:
    from scipy.stats import t as student

    found = moments(sums.grams.sum((0, 1)))
    fit = least_squares(found)
    error, blocks, places = block_errors(sums.grams, sums.region)
    if places == 1:
        # days alone say nothing of what only places tell apart
        error = np.where([one in sums.static for one in sums.names], np.nan, error)
    units = min((n for n in (blocks, places) if n > 1), default=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        t_block = fit.coefficient / error
        effect = np.maximum((error / fit.error) ** 2, 1.0)
    effect[np.isnan(effect)] = np.inf  # of what cannot be told nothing is chosen
    inside = np.arange(len(sums.names))
    return Sample(
        name,
        sums.names,
        int(found.n),
        found.n / float(np.median(effect)),
        found.with_target,
        fit,
        t_block,
        2 * student.sf(abs(t_block), units - 1),
        np.isin(inside, stepwise(found, aic(effect))),
        np.isin(inside, best_subset(found, bic(found.n, effect))),
        importance(found),
    )


def _zones(sums: Sums, names: list[str]) -> list[Sample]:
    samples = []
    for number, name in enumerate(names):
        inside = sums.inside(number)
        count = float(inside.grams[:, :, 0, 0].sum())
        if count < ROWS_PER_COVARIATE * (len(sums.names) + 1):
            log.info("zone %s has %d rows, too few: left out", name, count)
        elif moments(inside.grams.sum((0, 1))).target_spread == 0:
            log.info("zone %s: the target is the same everywhere in it: left out", name)
        else:
            samples.append(_sample(name, inside))
    return samples


def _kept(samples: list[Sample]) -> dict[str, str]:
    whole, zones = samples[0], samples[1:]
    kept = {}
    for k, name in enumerate(whole.names):
        in_zones = sum(bool(sample.significant[k]) for sample in zones)
        reasons = []
        if whole.significant[k]:
            reasons.append("significant over blocks")
        if whole.best[k]:
            reasons.append("in the best subset")
        if zones and 2 * in_zones >= len(zones):
            reasons.append(f"significant in {in_zones} of {len(zones)} zones")
        if reasons:
            kept[name] = ", ".join(reasons)
    return kept
