"""CDF matching: the distribution of a sensor matched to that of another, cell by cell, all cells at once.

Quantiles of the days that both have, straight pieces between them (Reichle and Koster, Geophys. Res. Lett. 31, L19501,
2004; Liu et al., HESS 15, 425, 2011); the two outermost pieces by least squares through the inner knot (Moesinger et
al., Earth Syst. Sci. Data 12, 177, 2020), because outliers make poor quantiles. The result is that of
`pytesmo.cdf_matching.CDFMatching` with `minobs`, `linear_edge_scaling` and `combine_invalid`, if there are two bins or
more.
"""

from __future__ import annotations

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.preprocessing.bias_correction.maps import CellMaps, chunks
from sgdsm.preprocessing.bias_correction.moments import moment_knots


def fit_cdf(
    source: np.ndarray,
    reference: np.ndarray,
    bins: int = 100,
    values_per_bin: int = 20,
    least_values: int = 20,
    bounds: tuple[float, float] = (0.0, np.inf),
) -> CellMaps:
    """Fit maps that give the values of `source` the distribution of `reference`, on the days that both have.

    Where there are not two pieces, or the source never changes, mean and standard deviation are scaled instead (pytesmo
    regresses, which may give a falling map).

    Args:
        source: (days, cells), NaN = missing.
        reference: (days, cells), NaN = missing.
        bins: Largest number of pieces; a cell with fewer common days has fewer, of about `values_per_bin` values each.
        values_per_bin: See `bins`.
        least_values: A cell with fewer common days gets no map.
        bounds: Smallest and largest mapped value, see `CellMaps`.

    Returns:
        The maps of the cells.

    Raises:
        ConfigError: When bins, values_per_bin or least_values is below 2.
    """
    if bins < 2 or values_per_bin < 2 or least_values < 2:
        raise ConfigError(f"bins={bins}, values_per_bin={values_per_bin}, least_values={least_values}: expected >= 2")
    knots = np.full((2, source.shape[1], bins + 1), np.nan)
    for cells in chunks(*source.shape):
        x, y = source[:, cells], reference[:, cells]
        both = np.isfinite(x) & np.isfinite(y)
        count = both.sum(0)
        ordered_x, ordered_y = (_sorted(v, both) for v in (x, y))
        changes = ordered_x[:, 0] < ordered_x[np.arange(count.size), np.maximum(count - 1, 0)]
        pieces = np.clip(count // values_per_bin, 1, bins)
        # quantiles need two pieces at least, and a source that changes
        many = (count >= least_values) & (pieces >= 2) & changes
        few = (count >= least_values) & ~many
        if many.any():
            parts = (ordered_x[many], ordered_y[many], count[many], pieces[many])
            for kind, values in enumerate(_knots(*parts, bins + 1)):
                knots[kind, cells][many] = values
        if few.any():
            for kind, values in enumerate(moment_knots(x[:, few], y[:, few], both[:, few])):
                knots[kind, cells][few, :2] = values
    return CellMaps(knots[0], knots[1], *bounds)


def _sorted(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the known values of each cell in order, (cells, days), infinite after the last."""
    ordered = np.ascontiguousarray(np.where(known, values, np.inf).T)
    ordered.sort(axis=1)
    return ordered


def _knots(
    x: np.ndarray, y: np.ndarray, count: np.ndarray, pieces: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return knots (cells, levels), NaN after the last of a cell.

    Args:
        x: Source, (cells, days), sorted, infinite after `count` values.
        y: Reference, likewise.
        count: Number of values, (cells,).
        pieces: Number of pieces of the map, (cells,).
        levels: Largest number of pieces and 1.
    """
    start = np.zeros_like(count)
    at_x, at_y = (_quantiles(v, start, count, pieces, levels) for v in (x, y))
    rows, last = np.arange(len(count)), pieces
    inner_x, inner_y = at_x[:, 1], at_y[:, 1]
    below = [_count(v, inner, np.less_equal) for v, inner in ((x, inner_x), (y, inner_y))]
    slope = _edge_slope(x, y, (start, start), below, inner_x, inner_y)
    # the outermost quantiles are single values, so the outer pieces are fitted to all values beyond the inner knot
    at_y[:, 0] = inner_y + slope * (at_x[:, 0] - inner_x)
    inner_x, inner_y = at_x[rows, last - 1], at_y[rows, last - 1]
    starts = [_count(v, inner, np.less) for v, inner in ((x, inner_x), (y, inner_y))]
    slope = _edge_slope(x, y, starts, [count - s for s in starts], inner_x, inner_y)
    at_y[rows, last] = inner_y + slope * (at_x[rows, last] - inner_x)
    unused = np.arange(levels) > last[:, None]
    return np.where(unused, np.nan, at_x), np.where(unused, np.nan, at_y)


def _count(ordered: np.ndarray, limit: np.ndarray, compare: np.ufunc) -> np.ndarray:
    """Return how many values of each row are below (or at) its limit: by bisection, all rows at once."""
    rows, number = np.arange(len(ordered)), np.zeros(len(ordered), np.int64)
    # bisection in steps of powers of two, for all cells at once
    step = 1 << ordered.shape[1].bit_length()
    while step := step // 2:
        there = number + step
        inside = there <= ordered.shape[1]
        value = ordered[rows, np.minimum(there, ordered.shape[1]) - 1]
        number = np.where(inside & compare(value, limit), there, number)
    return number


def _quantiles(
    ordered: np.ndarray, start: np.ndarray, count: np.ndarray, pieces: np.ndarray, levels: int
) -> np.ndarray:
    """Return quantiles 0, 1 / pieces, ..., 1 of `count` sorted values from `start` on, then the last again.

    The i-th of n values is the quantile (i - 1/2) / n. Equal quantiles are spread, so that those of the source are
    never tied.

    Returns:
        (cells, levels) float64.
    """
    # cells with fewer pieces repeat their last quantile
    level = np.minimum(np.arange(levels), pieces[:, None])
    # percent and order of operations as in pytesmo: where a quantile equals a value, rounding decides on which side
    wanted = level / pieces[:, None] * 100
    size = count[:, None]
    lower = np.clip(np.floor(wanted * size / 100 - 0.5).astype(np.int64), 0, size - 1)
    lower -= (_percent(lower, size) > wanted) & (lower > 0)
    lower += (_percent(lower + 1, size) <= wanted) & (lower < size - 1)
    upper = np.minimum(lower + 1, size - 1)
    low, high = (np.take_along_axis(ordered, start[:, None] + k, 1).astype(np.float64) for k in (lower, upper))
    beyond = np.maximum(wanted - _percent(lower, size), 0)
    values: np.ndarray = (high - low) / (_percent(lower + 1, size) - _percent(lower, size)) * beyond + low
    tied = ((np.diff(values, axis=1) <= 0) & (level[:, 1:] > level[:, :-1])).any(1)
    if tied.any():
        values[tied] = _spread(values[tied], pieces[tied])
    return values


def _percent(number: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which quantile the number-th of so many values is, in percent."""
    return 100.0 * (number + 0.5) / size


def _spread(values: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Return quantiles without ties.

    Of equal ones the first stays, the largest value is put at the last level, and the others lie on a line between.
    """
    level, rows = np.arange(values.shape[1]), np.arange(len(values))
    fixed = (np.diff(values, axis=1, prepend=-np.inf) > 0) & (level <= pieces[:, None])
    largest = np.where(fixed, level, 0).max(1)
    fixed[rows, largest] = largest == 0
    fixed[rows, pieces] = True
    before = np.maximum.accumulate(np.where(fixed, level, 0), 1)
    after = np.minimum.accumulate(np.where(fixed, level, pieces[:, None])[:, ::-1], 1)[:, ::-1]
    low, high = (np.take_along_axis(values, k, 1) for k in (before, after))
    spread: np.ndarray = low + (level - before) / np.maximum(after - before, 1) * (high - low)
    return spread


def _edge_slope(
    x: np.ndarray,
    y: np.ndarray,
    starts: list[np.ndarray] | tuple[np.ndarray, np.ndarray],
    counts: list[np.ndarray],
    inner_x: np.ndarray,
    inner_y: np.ndarray,
) -> np.ndarray:
    """Return the slope through the inner knot of the sorted values beyond it, rank against rank; (cells,)."""
    (start_x, start_y), (count_x, count_y) = starts, counts
    width = int(count_y.max())
    rank = np.minimum(np.arange(width), count_y[:, None] - 1)
    # where ties leave more or fewer values of x, its quantiles at the ranks of y
    same = count_x == count_y
    edge_x = np.take_along_axis(x, np.minimum(start_x[:, None] + rank, x.shape[1] - 1), 1).astype(np.float64)
    other = np.flatnonzero(~same & (count_y > 1))
    if other.size:
        parts = (start_x[other], count_x[other], count_y[other] - 1)
        edge_x[other] = _quantiles(x[other], *parts, width)
    edge_y = np.take_along_axis(y, start_y[:, None] + rank, 1).astype(np.float64)
    used = np.arange(width) < count_y[:, None]
    away_x = np.where(used, edge_x - inner_x[:, None], 0)
    away_y = np.where(used, edge_y - inner_y[:, None], 0)
    # least squares through a fixed point: one number, the slope
    squares = (away_x**2).sum(1)
    return np.divide((away_x * away_y).sum(1), squares, out=np.zeros_like(squares), where=squares > 0)
