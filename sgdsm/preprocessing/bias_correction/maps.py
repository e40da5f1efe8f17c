"""Maps of values from one sensor to another: for each cell a line of straight pieces that never falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sgdsm.core.units import moisture_bounds

CHUNK = 2**18  # values that are worked on at once: they stay in the processor's cache


@dataclass
class CellMaps:
    """Knots of the maps, and the bounds that no mapped value leaves.

    source, reference: (cells, knots), both rising; a cell with fewer knots has NaN after them, one without a map NaN
    alone. Beyond the outer knots the outer pieces go on. lower, upper: in units of the reference.
    """

    source: np.ndarray
    reference: np.ndarray
    lower: float
    upper: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Mapped values, (days, cells) in the type given; NaN where a value or the map is missing."""
        return self._evaluated(values, derivative=False)

    def derivative(self, values: np.ndarray) -> np.ndarray:
        """Slope of the map at each value, (days, cells); at a knot that of the piece above, at a bound 0.

        A small change of the source times this is the change of the mapped value. Where many values of a sensor are
        equal, as at the least that it reports, the piece above is steep, and no change may be seen there at all.
        """
        return self._evaluated(values, derivative=True)

    def _evaluated(self, values: np.ndarray, derivative: bool) -> np.ndarray:
        found = np.full(values.shape, np.nan, values.dtype)
        for cells in chunks(*values.shape):
            source = self.source[cells].astype(np.float64)
            reference = self.reference[cells].astype(np.float64)
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
            y[~np.isfinite(x)] = np.nan
            found[:, cells] = y.T
        return found


def _piece(knots: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Number of the last knot that is not above a value, (cells, days), 0 where all are: halving, all values at once.

    knots: (cells, knots), NaN after the last.
    """
    width = 1 << int(knots.shape[1] - 1).bit_length()
    padded = np.full((len(knots), width), np.inf, knots.dtype)
    padded[:, : knots.shape[1]] = np.where(np.isnan(knots), np.inf, knots)
    flat, row = padded.ravel(), (np.arange(len(x)) * width)[:, None]
    found = np.broadcast_to(row, x.shape).copy()
    step = width // 2
    while step:
        found += np.multiply(flat.take(found + step) <= x, step, dtype=np.intp)
        step //= 2
    return found - row


def piece_slopes(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Slope of the piece from each knot on, (cells, knots); the last knot has that of the piece before it."""
    rise, run = np.diff(reference, axis=1), np.diff(source, axis=1)
    slopes = np.full(source.shape, np.nan)
    slopes[:, :-1] = np.divide(rise, run, out=np.where(np.isnan(run), np.nan, 0.0), where=run > 0)
    last = np.isfinite(source).sum(1) - 1
    rows = np.flatnonzero(last > 0)
    slopes[rows, last[rows]] = slopes[rows, last[rows] - 1]
    return slopes


def chunks(days: int, cells: int) -> Iterator[slice]:
    """Slices of cells that hold about CHUNK values each."""
    step = max(1, CHUNK // max(1, days))
    return (slice(start, min(start + step, cells)) for start in range(0, cells, step))


def bounds_of(attrs: dict[str, object]) -> tuple[float, float]:
    """Least and largest value of a variable by its attributes: `valid_range`, `valid_min`, `valid_max`, or its units.

    Moisture is never below 0, so unknown units have that bound too.
    """
    share = None if "units_missing" in attrs else moisture_bounds(attrs.get("units", "1"))
    lower, upper = share or (0.0, np.inf)
    if "valid_range" in attrs:
        lower, upper = np.asarray(attrs["valid_range"], float)
    if "valid_min" in attrs:
        lower = np.asarray(attrs["valid_min"], float).item()
    if "valid_max" in attrs:
        upper = np.asarray(attrs["valid_max"], float).item()
    return max(0.0, float(lower)), float(upper)
