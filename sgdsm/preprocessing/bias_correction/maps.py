"""Maps of values from one sensor to another: for each cell a piecewise linear function that never falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sgdsm.core.units import moisture_bounds

CHUNK = 2**18  # values that are worked on at once: they stay in the processor's cache


@dataclass
class CellMaps:
    """Knots of the maps, and the bounds of the mapped values.

    Beyond the outer knots the outer pieces are extended.

    Args:
        source: Knots in units of the source, rising, (cells, knots); a cell with fewer knots has NaN after them, one
            without a map only NaN.
        reference: Knots in units of the reference, rising, (cells, knots).
        lower: Smallest mapped value, in units of the reference.
        upper: Largest mapped value, in units of the reference.
    """

    source: np.ndarray
    reference: np.ndarray
    lower: float
    upper: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return mapped values, NaN where a value or the map is missing.

        Args:
            values: (days, cells), in units of the source.

        Returns:
            (days, cells) in the given type, in units of the reference.
        """
        return self._evaluated(values, derivative=False)

    def derivative(self, values: np.ndarray) -> np.ndarray:
        """Return the slope of the map at each value: at a knot that of the piece above, at a bound 0.

        A small change of the source times the slope is the change of the mapped value. If many values of a sensor are
        equal, as at the smallest value that it reports, the piece above is steep, and such a change may never occur.

        Args:
            values: (days, cells), in units of the source.

        Returns:
            (days, cells), units of the reference per unit of the source.
        """
        return self._evaluated(values, derivative=True)

    def _evaluated(self, values: np.ndarray, derivative: bool) -> np.ndarray:
        result = np.full(values.shape, np.nan, values.dtype)
        for cells in chunks(*values.shape):
            source = self.source[cells].astype(np.float64)
            reference = self.reference[cells].astype(np.float64)
            # a cell's values side by side: the search below works along days
            x = np.ascontiguousarray(values[:, cells].T)
            slopes = piece_slopes(source, reference)
            place = _piece(source.astype(x.dtype), x) + (np.arange(len(x)) * source.shape[1])[:, None]
            x0, y0, slope = (table.ravel().take(place) for table in (source, reference, slopes))
            with np.errstate(invalid="ignore"):
                y = np.subtract(x, x0, out=x0)
                y *= slope
                y += y0
            if derivative:
                y = np.where((y >= self.lower) & (y <= self.upper), slope, np.where(np.isnan(y), np.nan, 0))
            else:
                np.clip(y, self.lower, self.upper, out=y)
            # infinite values count as missing too
            y[~np.isfinite(x)] = np.nan
            result[:, cells] = y.T
        return result


def _piece(knots: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the number of the last knot that is not above a value, 0 if all are: by bisection, all values at once.

    Args:
        knots: (cells, knots), NaN after the last.
        x: (cells, days).

    Returns:
        (cells, days) int.
    """
    # padded to a power of two, so that halving needs no test of bounds
    width = 1 << int(knots.shape[1] - 1).bit_length()
    padded = np.full((len(knots), width), np.inf, knots.dtype)
    padded[:, : knots.shape[1]] = np.where(np.isnan(knots), np.inf, knots)
    flat, row = padded.ravel(), (np.arange(len(x)) * width)[:, None]
    piece = np.broadcast_to(row, x.shape).copy()
    step = width // 2
    while step:
        piece += np.multiply(flat.take(piece + step) <= x, step, dtype=np.intp)
        step //= 2
    return piece - row


def piece_slopes(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the slope of the piece from each knot on, (cells, knots); for the last knot that of the last piece."""
    rise, run = np.diff(reference, axis=1), np.diff(source, axis=1)
    slopes = np.full(source.shape, np.nan)
    slopes[:, :-1] = np.divide(rise, run, out=np.where(np.isnan(run), np.nan, 0.0), where=run > 0)
    last = np.isfinite(source).sum(1) - 1
    rows = np.flatnonzero(last > 0)
    # values above the last knot continue its piece
    slopes[rows, last[rows]] = slopes[rows, last[rows] - 1]
    return slopes


def chunks(days: int, cells: int) -> Iterator[slice]:
    """Yield slices of cells that hold about CHUNK values each."""
    step = max(1, CHUNK // max(1, days))
    return (slice(start, min(start + step, cells)) for start in range(0, cells, step))


def bounds_of(attrs: dict[str, object]) -> tuple[float, float]:
    """Return the smallest and largest value of a variable: from `valid_range`, `valid_min`, `valid_max`, or its units.

    Moisture is never below 0, so 0 is a bound for unknown units too.

    Args:
        attrs: Attributes of the variable.

    Returns:
        Lower and upper bound, in the units of the variable; infinity if there is no upper one.
    """
    # units that were missing count as '1', which says nothing of the range
    share = None if "units_missing" in attrs else moisture_bounds(attrs.get("units", "1"))
    lower, upper = share or (0.0, np.inf)
    if "valid_range" in attrs:
        lower, upper = np.asarray(attrs["valid_range"], float)
    if "valid_min" in attrs:
        lower = np.asarray(attrs["valid_min"], float).item()
    if "valid_max" in attrs:
        upper = np.asarray(attrs["valid_max"], float).item()
    return max(0.0, float(lower)), float(upper)
