"""Standardised soil moisture index: how unusual a value is for its place and its day of the year, as a normal score.

A distribution is fitted to each cell and day of the year; the index of a value is the standard normal quantile of its
probability (McKee et al., 8th Conf. on Applied Climatology, 1993, for precipitation; Hao and AghaKouchak, Adv. Water
Resour. 57, 12, 2013, for soil moisture).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betainc, betaincinv, gammainc, gammaincinv, ndtr, ndtri

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.words import counted

Fit = Literal["gamma", "beta", "empirical"]
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
                f"{counted(years, 'year')} of days in the reference, expected at least "
                f"least_years={self.least_years}: give a longer file or reference=, or a smaller least_years="
            )

    def index(self, values: np.ndarray, bound: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of some cells, and the values that a bound of the index stands for.

        Args:
            values: Soil moisture of all days of the record, (T, N) with N at most `CELLS`, NaN where missing.
            bound: An index below 0; None where its values are not asked for.

        Returns:
            The index, within -8.21 and 8.21, (T, N), NaN where a value or a fit is missing; and for each day of the
            year the largest mean of `scale_days` whose index is at or below the bound, (365, N), NaN without a fit or a
            bound.

        Raises:
            CubeError: A value lies outside of what the distribution takes.
        """
        self._check(values)
        count = values.shape[1]
        padded = np.full((len(values), CELLS), np.nan)
        padded[:, :count] = values
        # ranks have no range, and a gamma distribution no upper end
        lower, upper = (-np.inf if self.fit == "empirical" else 0.0), (self.upper if self.fit == "beta" else np.inf)
        smoothed = trailing_mean(padded, self.scale_days)
        slots, leap = days_of_year(self.days)
        used = self.reference & ~leap
        years = self.days.astype("datetime64[Y]").astype(int)
        # a row for each day of the year, a column for each year
        table = np.full((DAYS, years[-1] - years[0] + 1, CELLS), np.nan)
        table[slots[used], years[used] - years[0]] = smoothed[used]
        pools, has_fit = _Pools(table, self.half_window_days, lower, upper), self._has_fit(table)
        index, limits = np.full(padded.shape, np.nan), np.empty((DAYS, CELLS))
        order = np.argsort(slots, kind="stable")
        starts = np.searchsorted(slots[order], np.arange(DAYS + 1))
        share = None if bound is None else float(ndtr(bound))
        for day in range(DAYS):
            times = order[starts[day] : starts[day + 1]]
            pool, wanted = pools.of(day), smoothed[times]
            if self.fit == "gamma":
                shape, scale = _gamma(pool)
                below = gammainc(shape, wanted / scale)
                limit = np.nan if share is None else gammaincinv(shape, share) * scale
            elif self.fit == "beta":
                first, second = _beta(pool / upper)
                below = betainc(first, second, wanted / upper)
                limit = np.nan if share is None else betaincinv(first, second, share) * upper
            else:
                below, limit = _by_rank(pool, wanted, share)
            index[times] = np.where(has_fit[day], ndtri(below), np.nan)
            limits[day] = np.where(has_fit[day], limit, np.nan)
        # clip keeps NaN
        return np.clip(index, -LARGEST, LARGEST)[:, :count], limits[:, :count]

    def at_or_below(self, values: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Return where other values of the same cells have an index at or below a bound, as 1 and 0, NaN for unknown.

        Args:
            values: (T, N), like the values of `index`; they may lie outside of what the distribution takes.
            limits: What `index` has returned for the bound, (365, N).
        """
        smoothed, limit = trailing_mean(values, self.scale_days), limits[days_of_year(self.days)[0]]
        with np.errstate(invalid="ignore"):
            return np.where(np.isnan(smoothed) | np.isnan(limit), np.nan, smoothed <= limit)

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

    def _has_fit(self, table: np.ndarray) -> np.ndarray:
        """Return where the values for a day are of enough years, (365, CELLS)."""
        known = np.isfinite(table)
        return np.stack([known[w].any(0).sum(0) >= self.least_years for w in _windows(self.half_window_days)])


class _Pools:
    """The values that the fit of a day of the year rests on.

    Args:
        table: Values, (365, years, CELLS), NaN where missing.
        half: Days before and after a day.
        lower: Values of the distribution lie above it: 0, or minus infinity.
        upper: And below it.
    """

    def __init__(self, table: np.ndarray, half: int, lower: float, upper: float) -> None:
        self.table, self.windows, self.lower, self.upper = table, _windows(half), lower, upper
        known = np.isfinite(table)
        total, count = np.where(known, table, 0).sum(1), known.sum(1)
        with np.errstate(invalid="ignore"):
            self.centre = np.stack([total[w].sum(0) / count[w].sum(0) for w in self.windows])
            self.departures = table - self.centre[:, None]

    def of(self, day: int) -> np.ndarray:
        """Return the values for a day, (2 half + 1, years, CELLS)."""
        window = self.windows[day]
        if len(window) == 1:
            return self.table[window]
        pool: np.ndarray = self.departures[window]
        pool += self.centre[day]
        low, high = pool <= self.lower, pool >= self.upper
        if low.any() or high.any():
            # values that a shift would carry out of the possible range are scaled instead
            own, values, rest = self.centre[window, None], self.table[window], self.upper - self.centre[day]
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
    return number - (is_leap_year & (number >= 59)), is_leap_year & (number == 59)


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


def _windows(half: int) -> np.ndarray:
    """Return the days of the year in the window of each, (365, 2 half + 1); the year goes on after its end."""
    days: np.ndarray = (np.arange(DAYS)[:, None] + np.arange(-half, half + 1)) % DAYS
    return days


def _gamma(pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shape and scale of the gamma distribution of a pool (Thom 1958, Eq. 22), (CELLS,) each."""
    known = pool > 0
    count = known.sum((0, 1))
    one, values = (pool, pool) if known.all() else (np.where(known, pool, 1.0), np.where(known, pool, 0.0))
    logs = sum(np.log(np.multiply.reduce(one[k : k + FACTORS], 0)).sum(0) for k in range(0, len(one), FACTORS))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = values.sum((0, 1)) / count
        spread = np.log(mean) - logs / count
        spread[~(spread > LEAST_SPREAD)] = np.nan
        shape = (1 + np.sqrt(1 + 4 * spread / 3)) / (4 * spread)
        return shape, mean / shape


def _beta(pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both shapes of the beta distribution that has mean and variance of a pool of shares, (CELLS,) each."""
    known = np.isfinite(pool)
    count = known.sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (pool if known.all() else np.where(known, pool, 0.0)).sum((0, 1)) / count
        departures = pool - mean
        departures[~known] = 0
        variance = np.einsum("ijk,ijk->k", departures, departures) / (count - 1)
        common = mean * (1 - mean) / variance - 1
        common[~((variance > 2 * LEAST_SPREAD * mean**2) & (common > 0))] = np.nan
        return mean * common, (1 - mean) * common


def _by_rank(pool: np.ndarray, values: np.ndarray, share: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the plotting positions of values in a pool, and the largest value at or below a share.

    Args:
        pool: (days, years, CELLS), NaN where missing.
        values: (t, CELLS).
        share: Below a half, or None.

    Returns:
        (t, CELLS) and (CELLS,); equal values have their mean rank.
    """
    ranked = np.sort(np.ascontiguousarray(pool.reshape(-1, CELLS).T), axis=1)  # missing values come last
    positions, limits = np.full(values.shape, np.nan), np.full(CELLS, np.nan)
    for cell, count in enumerate(np.isfinite(ranked).sum(1)):
        if not count:
            continue
        known, wanted = ranked[cell, :count], values[:, cell]
        # a hair aside: a departure plus a mean is the value itself but for rounding
        near = 1e-12 * abs(known[[0, -1]]).max()

        def twice(v: np.ndarray, known: np.ndarray = known, near: float = near) -> np.ndarray:
            return np.searchsorted(known, v - near) + np.searchsorted(known, v + near, side="right")

        # a value outside of all others is as rare as the outermost one, not rarer
        rank = np.clip((twice(wanted) + 1) / 2, 1, count)
        positions[:, cell] = np.where(np.isnan(wanted), np.nan, (rank - 0.44) / (count + 0.12))
        if share is None:
            continue
        most = int(2 * (share * (count + 0.12) + 0.44) - 1)
        value = known[most // 2]
        below_it = np.nextafter(value - near, -np.inf)
        limits[cell] = -np.inf if most < 1 else value + near if twice(value) <= most else below_it
    return positions, limits
