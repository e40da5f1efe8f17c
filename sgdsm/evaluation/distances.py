"""How far a hidden value is from what was visible: in time at its cell, and in space on its day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM

FARTHEST_KM = 500.0  # distances are exact up to here


class VisibleDays:
    """The last and the next visible day of any cell, from one pass over the visible values in blocks of days.

    Args:
        days: Number of days.
        cells: Number of cells.
    """

    def __init__(self, days: int, cells: int) -> None:
        self.days, self.cells = days, cells
        self.total, self.count = np.zeros(cells), np.zeros(cells, np.int32)
        self.first: list[np.ndarray] = []  # visible day of each block, (cells,); `days` where there is none

    def add(self, values: np.ndarray, begin: int) -> None:
        """Take the next block of days.

        Args:
            values: Visible values, NaN where none, (block, cells).
            begin: Number of the first day of the block.
        """
        first = np.full(self.cells, self.days, np.int32)
        for day in range(len(values) - 1, -1, -1):
            seen = np.isfinite(values[day])
            first[seen] = begin + day
            self.total[seen] += values[day][seen]
            self.count += seen
        self.first.append(first)

    def cell_means(self) -> np.ndarray:
        """Return the mean of the visible values of each cell, (cells,), 0 where there are none."""
        means: np.ndarray = self.total / np.maximum(self.count, 1)
        return means

    def after(self) -> list[np.ndarray]:
        """Return for each block the first visible day after its end, (cells,); `days` where there is none."""
        after = [np.full(self.cells, self.days, np.int32)]
        for first in self.first[:0:-1]:
            after.append(np.where(first < self.days, first, after[-1]))
        return after[::-1]


def around(
    seen: Sequence[np.ndarray], wanted: Sequence[np.ndarray], begin: int, last: np.ndarray, following: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the visible days before and after hidden values of a block of days.

    Args:
        seen: Which cells are visible on each day of the block, (block, cells) bool.
        wanted: Cells of the hidden values of each day.
        begin: Number of the first day of the block.
        last: The last visible day of each cell before the block, (cells,), -1 where there is none. It is brought up to
            the end of the block in place.
        following: The first visible day after the block, (cells,); it is changed in place.

    Returns:
        Numbers of the days before and after each hidden value, (N,) both.
    """
    before, after = [], []
    for day, cells in enumerate(wanted):
        before.append(last[cells])
        last[seen[day]] = begin + day
    for day in range(len(wanted) - 1, -1, -1):
        after.append(following[wanted[day]])
        following[seen[day]] = begin + day
    return np.concatenate(before), np.concatenate(after[::-1])


class NearestVisible:
    """Distances to the nearest visible cell of a day.

    On a grid of latitude and longitude they are great circles, else straight lines in the projection.

    Args:
        place: A variable on the grid, (H, W), dims lat, lon or y, x (in m).
    """

    def __init__(self, place: xr.DataArray) -> None:
        rows, columns = place.dims
        self.is_sphere = rows == "lat"
        self.y, self.x = place[rows].values.astype(np.float64), place[columns].values.astype(np.float64)
        if self.is_sphere:
            self.y = np.deg2rad(self.y)
            reach = FARTHEST_KM / MEAN_EARTH_RADIUS_KM
        else:
            self.y, self.x = self.y / 1000, self.x / 1000
            reach = FARTHEST_KM
        # rows that may hold a nearer cell, as steps from the row of a value
        steps = range(-len(self.y) + 1, len(self.y))
        self.steps = [s for s in steps if (abs(_moved(self.y, s) - _moved(self.y, -s)) <= reach).any()]

    def km(self, seen: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Return distances in km, (N,), infinite beyond FARTHEST_KM.

        Args:
            seen: Which cells are visible on the day, (H, W) bool.
            cells: Numbers of the cells of the values, (N,).
        """
        row, column = np.divmod(cells, len(self.x))
        gap = self._along_rows(seen)
        gap = np.cos(gap) if self.is_sphere else gap
        least = np.full(len(cells), np.inf)
        for step in self.steps:
            other = row + step
            inside = (other >= 0) & (other < len(self.y))
            other = other.clip(0, len(self.y) - 1)
            # rows without a visible cell are NaN
            np.fmin(least, np.where(inside, self._farness(row, other, gap[other, column]), np.inf), out=least)
        km = MEAN_EARTH_RADIUS_KM * np.arccos(-least.clip(-1, 1)) if self.is_sphere else np.sqrt(least)
        return np.where(np.isfinite(least) & (km <= FARTHEST_KM), km, np.inf)

    def _farness(self, row: np.ndarray, other: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """Return what grows with the distance: minus the cosine of the angle, or the squared distance."""
        if self.is_sphere:
            sin, cos = np.sin(self.y), np.cos(self.y)
            return -(sin[row] * sin[other] + cos[row] * cos[other] * gap)
        farness: np.ndarray = (self.y[other] - self.y[row]) ** 2 + gap**2
        return farness

    def _along_rows(self, seen: np.ndarray) -> np.ndarray:
        """Return how far the nearest visible cell of the same row is, (H, W): rad or km; NaN in rows without one."""
        columns = np.arange(len(self.x))
        marks = np.where(seen, columns, -1)
        west = np.maximum.accumulate(marks, 1)
        marks = np.where(seen, columns, len(columns))
        east = np.minimum.accumulate(marks[:, ::-1], 1)[:, ::-1]
        # round the globe; elsewhere these cells are far, and the other side is nearer
        west = np.where(west < 0, west[:, -1:], west)
        east = np.where(east == len(columns), east[:, :1], east)
        gaps = [abs(self.x[side.clip(0, len(columns) - 1)] - self.x) for side in (west, east)]
        if self.is_sphere:
            gaps = [np.deg2rad(np.minimum(gap, 360 - gap)) for gap in gaps]
        return np.where(seen.any(axis=1, keepdims=True), np.minimum(*gaps), np.nan)


def _moved(values: np.ndarray, step: int) -> np.ndarray:
    return values[max(0, step) : len(values) - max(0, -step)]
