"""Anomalies of series from a moving mean, which takes the seasonal cycle and slower changes away."""

from __future__ import annotations

import numpy as np

WINDOW_DAYS = 35
LEAST_IN_WINDOW = 5  # values, for its mean to be one


def moving_anomaly(values: np.ndarray, window: int, least: int) -> np.ndarray:
    """Return the differences of values from the mean of a centred moving window.

    The window is shorter at both ends of the series. The value itself belongs to its window.

    Args:
        values: Series on consecutive steps along the first axis, NaN in gaps, (T, ...).
        window: Length of the window in steps. An even one reaches one step further back than forward.
        least: Least number of values in a window, in one with fewer the anomaly is NaN.

    Returns:
        Anomalies in the units of the values, NaN in gaps, (T, ...) float64.

    Source:
        Dorigo et al., Remote Sens. Environ. 162, 380, 2015, use 35 days for soil moisture.
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    # sums stay small when they are of differences from the mean, and so do their rounding errors
    count = known.sum(0)
    middle = np.divide(np.where(known, values, 0).sum(0), count, where=count > 0, out=np.zeros(values.shape[1:]))
    shifted = np.where(known, values - middle, 0)
    steps = np.arange(len(values))
    first = (steps - window // 2).clip(0)
    end = (steps - window // 2 + window).clip(0, len(values))
    inside = _sums(known, first, end)
    mean = np.divide(_sums(shifted, first, end), inside, where=inside > 0, out=np.zeros(values.shape))
    return np.where(known & (inside >= least), shifted - mean, np.nan)


def means_around(values: np.ndarray, days: np.ndarray, wanted: list[np.ndarray], first: int = 0) -> np.ndarray:
    """Return the means of values in WINDOW_DAYS around a day, at chosen cells of each day.

    Args:
        values: Maps of all days that a window may reach, NaN in gaps, (T, cells).
        days: Day number of each map, increasing, (T,).
        wanted: Numbers of the cells that are wanted on map `first` and on each that follows.
        first: Map of the first entry of `wanted`.

    Returns:
        Means, one day after the other, (N,) float64; NaN where a window has fewer than LEAST_IN_WINDOW values.
    """
    reach = WINDOW_DAYS // 2
    total, count = np.zeros(values.shape[1]), np.zeros(values.shape[1], np.int32)
    begin = end = 0
    means = [np.zeros(0)]
    for k, cells in enumerate(wanted, first):
        while end < len(days) and days[end] <= days[k] + reach:
            total += np.nan_to_num(values[end])
            count += np.isfinite(values[end])
            end += 1
        while days[begin] < days[k] - reach:
            total -= np.nan_to_num(values[begin])
            count -= np.isfinite(values[begin])
            begin += 1
        enough = count[cells] >= LEAST_IN_WINDOW
        means.append(np.where(enough, total[cells] / np.maximum(count[cells], 1), np.nan))
    return np.concatenate(means)


def _sums(values: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the sums over spans [first, end) of the first axis, (T, ...)."""
    whole = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=whole[1:])
    spans: np.ndarray = whole[end] - whole[first]
    return spans
