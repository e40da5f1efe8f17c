"""Trends of cells: Theil-Sen slopes and Mann-Kendall tests, also seasonal and for correlated series.

All pairs of steps of all cells are looked at, in arrays of some MiB. Slopes are medians over pairs (Sen, JASA 63, 1379,
1968). The variance of Kendall's S uses ranks, R, of the n values of a series (Hirsch and Slack, Water Resour. Res. 20,
727, 1984, Eqs. 9 and 12). With U = n + 1 - 2 R, the number of larger values minus the number of smaller ones,

    Var(S) = (sum over pairs (sum over seasons sign)^2 + sum over steps (sum over seasons U)^2) / 3

is the covariance form, missing values and ties included; with the sums over seasons outside of the squares it is the
form of independent seasons, and with one season that of Mann and Kendall with their correction for ties.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import erfc

from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.errors import ConfigError

Robust = Literal["none", "covariance", "hamed_rao"]
LEVEL = 0.05
LAGS = 3  # of the correction of Hamed and Rao; with all lags it is wrong more often (benchmarks/trends.py)
BOUND = 1.959963984540054  # a normal value is beyond it in 5 % of the cases
AT_ONCE = 2**20  # pairs in memory at once: 8 MiB
FEW = 2**14  # pairs; the median of so many is found by sorting those of many cells together
MOST_PAIRS = 2**26  # 0.5 GiB


class Trend(NamedTuple):
    """Trends of series, (cells,) each; NaN with fewer than two values.

    Attributes:
        slope: Theil-Sen slope, in units of the values a year.
        intercept: Value of the line at time 0: median of the values minus slope times median of their times.
        s: Kendall's S: number of rising pairs minus number of falling ones.
        variance: Of S without a trend.
        z: Standardised S.
        p: Two-sided p value of no trend.
        n: Number of values.
    """

    slope: np.ndarray
    intercept: np.ndarray
    s: np.ndarray
    variance: np.ndarray
    z: np.ndarray
    p: np.ndarray
    n: np.ndarray


def trends(values: np.ndarray, years: np.ndarray, robust: Robust = "none") -> Trend:
    """Return the trend of each cell.

    Args:
        values: Series (T, cells), or seasonal ones (T, seasons, cells), whose pairs are within a season; NaN where
            missing.
        years: Times of the steps, rising, in years (T,).
        robust: 'none': Mann-Kendall test, or seasonal Kendall test of independent seasons, for values without memory.
            'covariance': with the covariance between seasons (Hirsch and Slack 1984). 'hamed_rao': variance corrected
            by the correlation of the ranks of the detrended series at the first three lags (Hamed and Rao, J. Hydrol.
            204, 182, 1998). Lags are of the time axis: steps must be equal.

    Returns:
        The trends. Z has the correction for continuity, but that of 'covariance' has none. A negative variance of
        'hamed_rao', of a series that alternates, is NaN, and so are its Z and p.

    Raises:
        ConfigError: If there are too many pairs for the memory, or `robust` does not go with the shape.
    """
    if values.ndim == 2:
        values = values[:, None]
    steps, seasons, cells = values.shape
    if (robust == "covariance" and seasons == 1) or (robust == "hamed_rao" and seasons > 1):
        raise ConfigError(f"robust={robust}: not for {'monthly' if seasons > 1 else 'plain'} series")
    pairs = steps * (steps - 1) // 2 * seasons
    if pairs > MOST_PAIRS:
        raise ConfigError(
            f"step=raw: {steps} steps have too many pairs: expected at most 11000; use step=month or year"
        )
    few = max(1, AT_ONCE // max(1, pairs))
    spans = _differences(years[None, :, None])
    # new memory for each part would take as long as the subtractions
    buffer = np.empty((min(few, cells), pairs // seasons, seasons))
    parts = [
        _chunk(
            np.ascontiguousarray(np.moveaxis(values[..., c : c + few], -1, 0), np.float64), years, spans, buffer, robust
        )
        for c in range(0, cells, few)
    ]
    return Trend(*(np.concatenate(field) for field in zip(*parts, strict=True))) if parts else Trend(*np.empty((7, 0)))


def _chunk(values: np.ndarray, years: np.ndarray, spans: np.ndarray, buffer: np.ndarray, robust: Robust) -> Trend:
    """Return the trends of some cells, of values (cells, T, seasons).

    Args:
        values: Of the cells.
        years: Times of the steps.
        spans: Their differences, in the order of those of the values.
        buffer: Memory for the slopes of as many cells, or more.
        robust: Of the test.
    """
    present = np.isfinite(values)
    n_of_season = present.sum(1)  # (cells, seasons)
    n = n_of_season.sum(1)
    slopes = _differences(values, buffer[: len(values)])  # (cells, pairs, seasons)
    slopes /= spans
    rising, falling = (np.array([np.count_nonzero(s) for s in sign]) for sign in (slopes > 0, slopes < 0))
    s = (rising - falling).astype(np.float64)
    surplus = np.where(present, n_of_season[:, None] + 1 - 2 * _ranks(values), 0)
    squares = (rising + falling).astype(np.float64)
    if robust == "covariance":
        sign = (slopes > 0).sum(2, dtype=np.int64) - (slopes < 0).sum(2, dtype=np.int64)
        squares, surplus = (sign.astype(np.float64) ** 2).sum(1), surplus.sum(2, keepdims=True)
    variance = (squares + (surplus**2).sum((1, 2))) / 3
    known = (n_of_season * (n_of_season - 1) // 2).sum(1)  # pairs with a slope
    slope = _medians(slopes.reshape(len(values), -1), known)
    if robust == "hamed_rao":
        variance = variance * _hamed_rao(values[..., 0], years, slope)
    # a season of a year lies at its share of the year
    times = years[:, None] + np.arange(values.shape[2]) / values.shape[2]
    intercept = _finite_medians(values) - _finite_medians(np.where(present, times, np.nan)) * slope
    nothing = known == 0
    s, variance = np.where(nothing, np.nan, s), np.where(nothing | (variance < 0), np.nan, variance)
    continuity = 0 if robust == "covariance" else np.sign(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        # equal values have no variance, and no trend
        z = np.where(s == 0, np.where(np.isnan(variance), np.nan, 0.0), (s - continuity) / np.sqrt(variance))
    return Trend(slope, intercept, s, variance, z, erfc(abs(z) / np.sqrt(2)), n)


def _differences(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the differences of all pairs of steps, (cells, pairs, seasons), of values (cells, T, seasons).

    The steps are a circle: at half of the lags, all pairs are there once.
    """
    cells, steps, seasons = values.shape
    differences = np.empty((cells, steps * (steps - 1) // 2, seasons)) if out is None else out
    twice = np.concatenate([values, values], 1)
    begin = 0
    for lag in range(1, steps // 2 + 1):
        # at the opposite side of the circle, a pair is met from both ends
        count = steps if 2 * lag < steps else steps // 2
        np.subtract(twice[:, lag : lag + count], values[:, :count], out=differences[:, begin : begin + count])
        begin += count
    return differences


def _medians(slopes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the median of the finite values of each row, NaN where there are none; rows are put in another order.

    Args:
        slopes: (rows, N), NaN where missing.
        known: Number of finite values of each row, (rows,).
    """
    rows = np.arange(len(slopes))
    # both are the same element where the number is odd; NaN is sorted to the end
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    if slopes.shape[1] == 0:
        return np.full(len(slopes), np.nan)
    if slopes.shape[1] <= FEW:
        slopes.sort(axis=1)
        middle = (slopes[rows, low] + slopes[rows, np.minimum(high, slopes.shape[1] - 1)]) / 2
    else:
        middle = np.empty(len(slopes))
        for row, count in enumerate(known):
            if count:
                own = slopes[row]
                own.partition(high[row])
                middle[row] = (own[high[row]] + (own[: high[row]].max() if count % 2 == 0 else own[high[row]])) / 2
    return np.where(known > 0, middle, np.nan)


def _finite_medians(values: np.ndarray) -> np.ndarray:
    flat = np.sort(values.reshape(len(values), -1), axis=1)
    return _medians(flat, np.isfinite(flat).sum(1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1 along axis 1, ties with their mean; those of NaN mean nothing."""
    order = values.argsort(axis=1)
    rising = np.take_along_axis(values, order, 1)
    place = np.arange(values.shape[1])[:, None]
    new = np.ones(values.shape, bool)
    new[:, 1:] = rising[:, 1:] != rising[:, :-1]
    first = np.maximum.accumulate(np.where(new, place, 0), 1)
    # the last of equal values comes before the first of the next ones
    ends = np.ones(values.shape, bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, values.shape[1])[:, ::-1], 1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, 1)
    return ranks


def _hamed_rao(values: np.ndarray, years: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the factor of Var(S), Hamed and Rao (1998), Eq. 17, of series (cells, T).

    Correlations at a lag are of the values that lie that many steps apart, missing values or not. Those within the 95 %
    limits of white noise count as 0.
    """
    detrended = values - years * slope[:, None]
    present = np.isfinite(detrended)
    n = present.sum(1).astype(np.float64)
    ranks = _ranks(detrended[..., None])[..., 0]
    ranks = np.where(present, ranks - ((n + 1) / 2)[:, None], 0)
    square = (ranks**2).sum(1) / np.maximum(n, 1)
    total = np.zeros(len(values))
    for lag in range(1, min(LAGS, values.shape[1] - 1) + 1):
        pairs = (present[:, lag:] & present[:, :-lag]).sum(1)
        # of a series without gaps, this is the usual estimate with the divisor n
        with np.errstate(divide="ignore", invalid="ignore"):
            product = (ranks[:, lag:] * ranks[:, :-lag]).sum(1) / pairs
            correlation = product * (n - lag) / n / square
            counted = abs(correlation) > BOUND / np.sqrt(pairs * n / (n - lag))
        total += np.where(counted & (n > lag), (n - lag) * (n - lag - 1) * (n - lag - 2) * correlation, 0)
    return 1 + 2 / np.maximum(n * (n - 1) * (n - 2), 1) * total


def false_discovery_rate(p: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return which tests are significant when at most a share `level` of those may be false discoveries.

    Args:
        p: p values of any shape, NaN where not tested.
        level: Share, 0 to 1.

    Returns:
        Mask of the shape of `p`.

    Source:
        Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289, 1995.
    """
    tested = np.sort(p[np.isfinite(p)], axis=None)
    below = np.flatnonzero(tested <= level * np.arange(1, tested.size + 1) / max(1, tested.size))
    limit = tested[below[-1]] if below.size else -1.0
    return np.asarray(p <= limit)


def years_of(days: np.ndarray) -> np.ndarray:
    """Return times in years since the first one.

    Args:
        days: Days since 1970-01-01 or datetime64, (T,).
    """
    number = np.asarray(days).astype("datetime64[D]").astype(np.int64)
    return np.asarray((number - number[:1]) / DAYS_PER_YEAR)


def monthly_means(values: np.ndarray, days: np.ndarray, first: int, years: int, least: int, step: int) -> np.ndarray:
    """Return means of calendar months, (years, 12, cells) float64, NaN with fewer days than `least`.

    Args:
        values: (T, cells), NaN where missing.
        days: Dates of the steps, rising, (T,) datetime64.
        first: The first year.
        years: Number of years.
        least: Days with a value that a mean needs.
        step: Days of a step, which count for each of its values.
    """
    total, count = _sums(values, days, "M", 12 * (first - 1970), 12 * years)
    return _means(total, count * step, count, least).reshape(years, 12, -1)


def yearly_means(values: np.ndarray, days: np.ndarray, first: int, years: int, least: int, step: int) -> np.ndarray:
    """Return means of calendar years, (years, cells) float64; see `monthly_means`."""
    total, count = _sums(values, days, "Y", first - 1970, years)
    return _means(total, count * step, count, least)


def _sums(values: np.ndarray, days: np.ndarray, unit: str, first: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    which = days.astype(f"datetime64[{unit}]").astype(np.int64) - first
    bounds = np.searchsorted(which, np.arange(number + 1))
    total, count = np.zeros((number, values.shape[1])), np.zeros((number, values.shape[1]), np.int64)
    for k, (begin, end) in enumerate(pairwise(bounds)):
        known = np.isfinite(values[begin:end])
        count[k] = known.sum(0)
        total[k] = np.where(known, values[begin:end], 0).sum(0, dtype=np.float64)
    return total, count


def _means(total: np.ndarray, days: np.ndarray, count: np.ndarray, least: int) -> np.ndarray:
    return np.where((days >= least) & (count > 0), total / np.maximum(count, 1), np.nan)
