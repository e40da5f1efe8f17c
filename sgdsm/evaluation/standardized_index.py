"""Standardised soil moisture index: how unusual a value is for its place and its day of the year, as a normal score.

A distribution is fitted to each cell and day of the year; the index of a value is the standard normal quantile of its
probability (McKee et al., 8th Conf. on Applied Climatology, 1993, for precipitation; Hao and AghaKouchak, Adv. Water
Resour. 57, 12, 2013, for soil moisture).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import betainc, gammainc, ndtri

from sgdsm.core.compiled import compiled_module
from sgdsm.core.errors import ConfigError, CubeError

Fit = Literal["gamma", "beta", "empirical"]
FITS: tuple[str, ...] = get_args(Fit)
DAYS = 365  # of a year; 29 February has no fit of its own
LARGEST = 8.21  # beyond it a probability in double precision is 0 or 1
CELLS = 64  # computed at once; always as many, so that no sum depends on how cells are dealt to batches
FACTORS = 8  # values multiplied before a logarithm is taken: fewer logarithms, and no underflow
LEAST_SPREAD = 1e-7  # log of the mean minus mean of the logs: of values that differ by .04 % of their mean


@dataclass(frozen=True)
class Standardization:
    """What is asked of the index, and the calendar of a record.

    Args:
        days: Days of the record, one after the other, (T,) datetime64[D].
        reference: Days whose values are fitted, (T,) bool.
        fit: Distribution. `gamma`: shape by Thom (Mon. Weather Rev. 86, 117, 1958), for values above 0; `beta`: from
            mean and variance, for values between 0 and `upper`; `empirical`: ranks (Gringorten, JGR 68, 813, 1963).
        scale_days: The index is of the mean of so many days up to a day; it is missing where one of them is.
        half_window_days: A fit takes the values of so many days before and after the day of the year too. They are
            pooled as departures from the smoothed mean of their own day, so that the seasonal cycle inside the window
            does not count as spread.
        least_years: A day of the year whose values are of fewer years has no fit.
        upper: Largest possible value, for `fit=beta`.

    Raises:
        ConfigError: The reference holds fewer years than `least_years`.
    """

    days: np.ndarray
    reference: np.ndarray
    fit: Fit = "gamma"
    scale_days: int = 30
    half_window_days: int = 15
    least_years: int = 10
    upper: float = 1.0

    def __post_init__(self) -> None:
        slots, leap = days_of_year(self.days)
        years = int(np.bincount(slots[self.reference & ~leap], minlength=DAYS).max())
        if years < self.least_years:
            raise ConfigError(
                f"{years} years of days in the reference, expected at least least_years={self.least_years}: give a "
                "longer file or reference=, or a smaller least_years="
            )

    def fitted(self, values: np.ndarray) -> FittedIndex:
        """Return the distributions of some cells.

        Args:
            values: Soil moisture, (T, N) with N at most `CELLS`, NaN where missing.

        Raises:
            CubeError: A value lies outside of what the distribution takes.
        """
        self._check(values)
        smoothed = trailing_mean(_padded(values), self.scale_days)
        slots, leap = days_of_year(self.days)
        used = self.reference & ~leap
        years = self.days.astype("datetime64[Y]").astype(int)
        years -= years[0]
        # a row for each day of the year, a column for each year
        table = np.full((DAYS, years[-1] + 1, CELLS), np.nan)
        table[slots[used], years[used]] = smoothed[used]
        half = self.half_window_days
        centre = _window_mean(table, half)
        pools = _Pools(table, centre, half, self.upper if self.fit == "beta" else np.inf)
        has_fit = _years(table, half) >= self.least_years
        if self.fit == "empirical":
            return FittedIndex(self, (), pools, has_fit)
        found = [_FITTED[self.fit](pools.of(day), self.upper) for day in range(DAYS)]
        parameters = tuple(np.where(has_fit, np.stack(one), np.nan) for one in zip(*found, strict=True))
        return FittedIndex(self, parameters, None, has_fit)

    def limits(self) -> tuple[float, float]:
        """Return the smallest and the largest value that the distribution takes."""
        if self.fit == "empirical":
            return -np.inf, np.inf
        least = float(np.finfo(np.float32).tiny)
        return least, float(np.float32(self.upper) * np.float32(1 - 1e-6)) if self.fit == "beta" else np.inf

    def _check(self, values: np.ndarray) -> None:
        if self.fit == "empirical":
            return
        with np.errstate(invalid="ignore"):
            outside = (values <= 0) | (values >= self.upper if self.fit == "beta" else False)
        if outside.any():
            expected = "above 0" if self.fit == "gamma" else f"between 0 and {self.upper:g}"
            raise CubeError(
                f"{int(outside.sum())} values like {values[outside][0]:g} where fit={self.fit} takes values {expected} "
                "only: use fit=empirical"
            )


@dataclass(frozen=True)
class FittedIndex:
    """Distributions of some cells.

    Args:
        asked: What they were fitted for.
        parameters: Of each day of the year, (365, CELLS) each: shape and scale of gamma, both shapes of beta; none of
            `empirical`.
        pools: The values that `empirical` ranks.
        has_fit: Days of the year with a fit, (365, CELLS) bool.
    """

    asked: Standardization
    parameters: tuple[np.ndarray, ...]
    pools: _Pools | None
    has_fit: np.ndarray

    def index(self, values: np.ndarray) -> np.ndarray:
        """Return the index of values of these cells.

        Args:
            values: Soil moisture, (T, N), of all days of the record.

        Returns:
            The index, within -8.21 and 8.21, (T, N); NaN where a value, or a fit, is missing.
        """
        smoothed = trailing_mean(_padded(values), self.asked.scale_days)
        slots, _ = days_of_year(self.asked.days)
        order = np.argsort(slots, kind="stable")
        starts = np.searchsorted(slots[order], np.arange(DAYS + 1))
        kernels = compiled_module("sgdsm.evaluation.compiled_index")
        if self.asked.fit == "beta":
            smoothed /= self.asked.upper
        if kernels is not None and self.parameters:
            kernel = kernels.gamma_index if self.asked.fit == "gamma" else kernels.beta_index
            found = np.full_like(smoothed, np.nan)
            kernel(smoothed, *self.parameters, order, starts, LARGEST, found)
        else:
            found = np.empty_like(smoothed)
            for day in range(DAYS):
                times = order[starts[day] : starts[day + 1]]
                found[times] = ndtri(self._probability(day, smoothed[times]))
            # clip keeps NaN
            np.clip(found, -LARGEST, LARGEST, out=found)
        return found[:, : values.shape[1]]

    def _probability(self, day: int, values: np.ndarray) -> np.ndarray:
        """Return the probability of a smaller value on a day of the year, (t, CELLS)."""
        if self.asked.fit == "gamma":
            shape, scale = (one[day] for one in self.parameters)
            return np.asarray(gammainc(shape, values / scale))
        if self.asked.fit == "beta":
            return np.asarray(betainc(*(one[day] for one in self.parameters), values))
        assert self.pools is not None
        return np.where(self.has_fit[day], _by_rank(self.pools.of(day), values), np.nan)


class _Pools:
    """The values that the fit of a day of the year rests on.

    Args:
        table: Values, (365, years, CELLS), NaN where missing.
        centre: Smoothed mean of each day, (365, CELLS).
        half: Days before and after a day.
        upper: Largest possible value.
    """

    def __init__(self, table: np.ndarray, centre: np.ndarray, half: int, upper: float) -> None:
        self.centre, self.half, self.upper = centre, half, upper
        departures = table - centre[:, None] if half else table
        # the year goes on after its end
        self.around = np.concatenate([departures[DAYS - half :], departures, departures[:half]]) if half else departures

    def of(self, day: int) -> np.ndarray:
        """Return the values for a day, (2 half + 1, years, CELLS)."""
        if not self.half:
            return self.around[day : day + 1]
        departures = self.around[day : day + 2 * self.half + 1]
        pool: np.ndarray = departures + self.centre[day]
        low, high = pool <= 0, pool >= self.upper
        if low.any() or high.any():
            # values that a shift would carry out of the possible range are scaled instead
            own = self.centre[np.arange(day - self.half, day + self.half + 1) % DAYS, None]
            values, rest = departures + own, self.upper - self.centre[day]
            with np.errstate(invalid="ignore", divide="ignore"):
                pool = np.where(low, values * (self.centre[day] / own), pool)
                pool = np.where(high, self.upper - (self.upper - values) * (rest / (self.upper - own)), pool)
        return pool


def days_of_year(days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the day of the year of each day, 0 to 364, and which are a 29 February; those count as 28 February.

    Args:
        days: (T,) datetime64[D].

    Returns:
        Two arrays, (T,) int and (T,) bool.
    """
    days = days.astype("datetime64[D]")
    years = days.astype("datetime64[Y]")
    number = (days - years).astype(int)
    is_leap_year = ((years + 1).astype("datetime64[D]") - years).astype(int) > DAYS
    leap = is_leap_year & (number == 59)
    return number - (is_leap_year & (number >= 59)), leap


def trailing_mean(values: np.ndarray, days: int) -> np.ndarray:
    """Return the mean of each day and the ones before it; NaN where one of them is missing.

    Args:
        values: (T, N).
        days: Length of the mean.

    Returns:
        (T, N) float64.
    """
    values = np.asarray(values, np.float64)
    if days == 1:
        return values.copy()
    missing = np.isnan(values)
    sums, gaps = (np.cumsum(a, axis=0) for a in (np.where(missing, 0, values), missing.astype(np.int64)))
    means = np.full(values.shape, np.nan)
    if len(values) < days:
        return means
    for total in (sums, gaps):
        total[days:] -= total[:-days].copy()
    means[days - 1 :] = np.where(gaps[days - 1 :] > 0, np.nan, sums[days - 1 :] / days)
    return means


def lowest_empirical(values: int) -> float:
    """Return the lowest index that `fit=empirical` can give with a number of values.

    Args:
        values: That are ranked.
    """
    return float(ndtri((1 - 0.44) / (values + 0.12)))


def _padded(values: np.ndarray) -> np.ndarray:
    padded = np.full((len(values), CELLS), np.nan)
    padded[:, : values.shape[1]] = values
    return padded


def _window_mean(table: np.ndarray, half: int) -> np.ndarray:
    """Return the mean over the window of each day, (365, CELLS)."""
    known = np.isfinite(table)
    total, count = np.where(known, table, 0).sum(1), known.sum(1)
    days = (np.arange(DAYS)[:, None] + np.arange(-half, half + 1)) % DAYS
    with np.errstate(invalid="ignore"):
        return np.stack([total[window].sum(0) / count[window].sum(0) for window in days])


def _years(table: np.ndarray, half: int) -> np.ndarray:
    """Return of how many years the values for each day are, (365, CELLS)."""
    known = np.isfinite(table)
    days = (np.arange(DAYS)[:, None] + np.arange(-half, half + 1)) % DAYS
    return np.stack([known[window].any(0).sum(0) for window in days])


def _gamma(pool: np.ndarray, _: float) -> tuple[np.ndarray, np.ndarray]:
    """Return shape and scale of the gamma distribution of a pool (Thom 1958, Eq. 22)."""
    known = pool > 0
    count = known.sum((0, 1))
    one = pool if known.all() else np.where(known, pool, 1.0)
    logs = sum(np.log(np.multiply.reduce(one[k : k + FACTORS], 0)).sum(0) for k in range(0, len(one), FACTORS))
    total = pool.sum((0, 1)) if one is pool else np.where(known, pool, 0.0).sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        spread = np.log(mean) - logs / count
        spread[~(spread > LEAST_SPREAD)] = np.nan
        shape = (1 + np.sqrt(1 + 4 * spread / 3)) / (4 * spread)
        return shape, mean / shape


def _beta(pool: np.ndarray, upper: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both shapes of the beta distribution that has mean and variance of a pool."""
    pool = pool / upper
    known = np.isfinite(pool)
    count = known.sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, pool, 0.0).sum((0, 1)) / count
        variance = np.where(known, (pool - mean) ** 2, 0.0).sum((0, 1)) / (count - 1)
        common = mean * (1 - mean) / variance - 1
        common[~((variance > 2 * LEAST_SPREAD * mean**2) & (common > 0))] = np.nan
        return mean * common, (1 - mean) * common


_FITTED = {"gamma": _gamma, "beta": _beta}


def _by_rank(pool: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the plotting positions of values among those of a pool, (t, CELLS); equal ones have their mean rank."""
    ranked = np.sort(np.ascontiguousarray(pool.reshape(-1, CELLS).T), axis=1)  # missing values come last
    counts = np.isfinite(ranked).sum(1)
    # a hair aside: a departure plus a mean is the value itself but for rounding
    near = 1e-12 * np.nan_to_num(abs(ranked)).max(1)
    twice = np.full(values.shape, np.nan)
    kernels = compiled_module("sgdsm.evaluation.compiled_index")
    (_count_below if kernels is None else kernels.count_below)(ranked, counts, values, near, twice)
    # a value outside of all others is as rare as the outermost one, not rarer
    with np.errstate(invalid="ignore"):
        rank = np.clip((twice + 1) / 2, 1, np.maximum(counts, 1))
    return np.asarray((rank - 0.44) / (counts + 0.12))


def _count_below(
    ranked: np.ndarray, counts: np.ndarray, values: np.ndarray, near: np.ndarray, twice: np.ndarray
) -> None:
    """Write how many values are smaller, plus how many are not larger; see `compiled_index.count_below`."""
    for cell in np.flatnonzero(counts):
        known, wanted = ranked[cell, : counts[cell]], values[:, cell]
        below = np.searchsorted(known, wanted - near[cell]), np.searchsorted(known, wanted + near[cell], side="right")
        twice[:, cell] = np.where(np.isnan(wanted), np.nan, below[0] + below[1])
