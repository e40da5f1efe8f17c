"""Conservation of mass: fine maps shifted so that their mean in each coarse cell is the coarse value, by windows.

As `core.bilinear.conserved`, for any coarse grid and for images that do not fit into memory. The mean of a bilinear
shift over the known pixels of a cell is a sum of the shifts of the cell and its eight neighbours, whose weights are
added up while the windows of a day pass. What is solved, and kept, is of the size of the coarse grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.cube import space_dims, suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.matching import in_units_of
from sgdsm.downscaling.stack import FineGrid
from sgdsm.preprocessing.grid import crs_in

STEPS = 20  # corrections of the shift, as in `core.bilinear.conserved`
NODE = 32  # pixels between places whose coordinates are transformed; linear between them
EDGES = 64  # places along a side of the image
LEAST_SHARE = 0.5  # of the pixels of a cell
LEAST_PIXELS = 4.0  # of the area of a pixel: a smaller cell is not coarse
DEGREES = "EPSG:4326"

Transform = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Place(NamedTuple):
    """Where the pixels of a window lie in the coarse grid, all (h, w).

    Attributes:
        cell: Number of the cell, -1 outside of the grid.
        row: Row of the cell centres as a number with a fraction, within the grid.
        column: The same of columns.
    """

    cell: np.ndarray
    row: np.ndarray
    column: np.ndarray


class CoarseGrid:
    """The cells of a coarse map that a fine grid touches.

    Args:
        coarse: Map or maps with the dims lat and lon, or y and x.
        crs: Of y and x; None for lat and lon.
        grid: The fine grid.

    Attributes:
        rows: Slice of the rows of the coarse map.
        columns: Slice of its columns; their numbers where the fine grid lies across the seam of a whole parallel.
        shape: Number of both.
        pixels: Fine pixels that a cell has room for, (H, W).

    Raises:
        CubeError: The grids do not meet, or the cells are as small as pixels.
    """

    columns: slice | np.ndarray

    def __init__(self, coarse: xr.DataArray, crs: str | None, grid: FineGrid) -> None:
        names = space_dims(coarse)
        self.grid = grid
        if crs is None and names[0] != "lat":
            raise CubeError(f"no CRS for {names[0]} and {names[1]}: expected a variable spatial_ref with crs_wkt")
        self._forward, back = _transforms(grid.crs, crs or DEGREES)
        axes = [coarse[name].values.astype(np.float64) for name in names]
        if min(len(axis) for axis in axes) < 2:
            raise CubeError(f"{len(axes[0])} rows and {len(axes[1])} columns: expected at least two of each")
        self._axes = axes
        self._middle: float | None = None
        count = len(axes[1])
        around = False
        if names[1] == "lon":
            # longitudes of a file may be of -180..180 or 0..360: pixels are counted from the middle of the image, and
            # this from the middle of the map, so that no jump lies between pixels
            west, width, _, north, _, height = grid.transform
            middle = np.array(north + grid.rows / 2 * height), np.array(west + grid.columns / 2 * width)
            centre = (axes[1].min() + axes[1].max()) / 2
            self._middle = _near(float(self._forward(*middle)[1]), centre)
            step = (axes[1][-1] - axes[1][0]) / (count - 1)
            around = abs(abs(count * step) - 360) < abs(step) / 2
            if around:
                # behind the last column comes the first one
                turn = np.copysign(360, step)
                axes[1] = np.concatenate([axes[1] - turn, axes[1], axes[1] + turn])
        down, across = (np.unique(np.linspace(0, n, EDGES).round().astype(int)) for n in (grid.rows, grid.columns))
        row, column = self._fractions(down.astype(float), across.astype(float))
        spans = []
        for values, axis, name in ((row, axes[0], names[0]), (column, axes[1], names[1])):
            low, high = int(np.floor(values.min())) - 1, int(np.ceil(values.max())) + 2
            if high - 2 < -0.5 or low + 1 > len(axis) - 0.5:
                raise CubeError(
                    f"its {name}, {axis.min():g} to {axis.max():g}, does not meet that of the stack: expected a map of "
                    "the same place"
                )
            spans.append(slice(max(low, 0), min(high, len(axis))))
        self.rows, self.columns = spans
        self._first = spans[0].start, spans[1].start
        if around:
            numbers = np.arange(spans[1].start, spans[1].stop) % count
            even = numbers[-1] - numbers[0] == len(numbers) - 1
            self.columns = slice(int(numbers[0]), int(numbers[-1]) + 1) if even else numbers
        self.shape = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
        # the area of a cell in the fine grid's own coordinates, by its corners
        sides = [_edges(axis)[span.start : span.stop + 1] for axis, span in zip(axes, spans, strict=True)]
        y, x = back(*np.meshgrid(*sides, indexing="ij"))
        one, other = (
            (y[1:, 1:] - y[:-1, :-1], x[1:, 1:] - x[:-1, :-1]),
            (y[1:, :-1] - y[:-1, 1:], x[1:, :-1] - x[:-1, 1:]),
        )
        area = abs(one[0] * other[1] - one[1] * other[0]) / 2
        self.pixels = area / abs(grid.transform[1] * grid.transform[5])
        if np.median(self.pixels) < LEAST_PIXELS:
            raise CubeError(f"a cell has room for {np.median(self.pixels):.2g} pixels: expected a coarser map")

    def place(self, rows: slice, columns: slice) -> Place:
        """Return where the pixels of a window lie.

        Args:
            rows: Of the fine grid.
            columns: Of the fine grid.
        """
        down, across = (np.arange(one.start, one.stop) + 0.5 for one in (rows, columns))
        nodes = [np.unique(np.append(np.arange(one[0], one[-1], NODE), one[-1])) for one in (down, across)]
        found = []
        for part, first in zip(self._fractions(*nodes), self._first, strict=True):
            found.append(_between(part, nodes, (down, across)) - first)
        row, column = found
        nearest = [np.floor(part + 0.5).astype(np.int64) for part in found]
        inside = np.ones(row.shape, bool)
        for part, size in zip(nearest, self.shape, strict=True):
            inside &= (part >= 0) & (part < size)
        cell = np.where(inside, nearest[0] * self.shape[1] + nearest[1], -1)
        return Place(cell, np.clip(row, 0, self.shape[0] - 1), np.clip(column, 0, self.shape[1] - 1))

    def _fractions(self, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coarse rows and columns of places that are given in pixels from the north-west corner."""
        west, width, _, north, _, height = self.grid.transform
        y, x = self._forward(*np.meshgrid(north + down * height, west + across * width, indexing="ij"))
        if self._middle is not None:
            x = _near(x, self._middle)
        return _fraction(self._axes[0], y), _fraction(self._axes[1], x)


class Conservation:
    """The correction of one day: windows are added, then it is solved, then windows are corrected.

    Args:
        cells: The coarse grid.
        coarse: Values of its cells, (H, W), in the units of the estimates; NaN where unknown.

    Attributes:
        used: Cells that are corrected, (H, W); once `solve` has been called.
        touched: Cells that have an estimate.
    """

    used: np.ndarray

    def __init__(self, cells: CoarseGrid, coarse: np.ndarray) -> None:
        self.cells, self.coarse = cells, coarse.astype(np.float64)
        count = coarse.size
        self.known, self.total = np.zeros(count), np.zeros(count)
        # of cell c: weights of the shifts of the cell and its neighbours, north-west first
        self.weights = np.zeros((count, 9))

    def add(self, place: Place, values: np.ndarray) -> None:
        """Add the estimates of a window.

        Args:
            place: Of its pixels.
            values: (h, w), NaN where missing.
        """
        chosen = np.isfinite(values) & (place.cell >= 0)
        if not chosen.any():
            return
        cell, row, column = place.cell[chosen], place.row[chosen], place.column[chosen]
        # a window touches few cells
        there, number = np.unique(cell, return_inverse=True)
        self.known[there] += np.bincount(number)
        self.total[there] += np.bincount(number, values[chosen].astype(np.float64))
        width = self.cells.shape[1]
        for down, across, weight in _corners(row, column):
            offset = (np.floor(row).astype(np.int64) + down - cell // width + 1) * 3
            offset += np.floor(column).astype(np.int64) + across - cell % width + 1
            # beyond the last row or column the weight is zero
            offset[weight == 0] = 4
            self.weights[there] += np.bincount(number * 9 + offset, weight, len(there) * 9).reshape(-1, 9)

    def solve(self) -> None:
        """Find the shifts."""
        shape = self.cells.shape
        known, coarse = self.known.reshape(shape), self.coarse
        self.touched = known > 0
        self.used = np.isfinite(coarse) & (known >= LEAST_SHARE * self.cells.pixels)
        count = np.maximum(known, 1)
        lacking = coarse - self.total.reshape(shape) / count
        weights = self.weights.reshape(*shape, 9) / count[..., None]
        shift, rest = np.zeros(shape), np.where(self.used, lacking, 0.0)
        for _ in range(STEPS):
            shift = shift + rest
            padded = np.pad(shift, 1)
            around = [padded[k : k + shape[0], j : j + shape[1]] for k in range(3) for j in range(3)]
            mean = sum(weights[..., k] * values for k, values in enumerate(around))
            rest = np.where(self.used, lacking - mean, 0.0)
        self._shift, self._rest = shift, rest

    def shift(self, place: Place) -> np.ndarray:
        """Return what is added to the pixels of a window, (h, w); 0 in cells that are left as they are."""
        row, column = np.floor(place.row).astype(np.int64), np.floor(place.column).astype(np.int64)
        last_row, last_column = (size - 1 for size in self.cells.shape)
        found = self._rest.ravel()[place.cell]
        for down, across, weight in _corners(place.row, place.column):
            found += weight * self._shift[np.minimum(row + down, last_row), np.minimum(column + across, last_column)]
        moved: np.ndarray = np.where((place.cell >= 0) & self.used.ravel()[place.cell], found, 0.0)
        return moved


def coarse_maps(coarse: xr.Dataset, target: str, units: str, variable: str | None = None) -> xr.DataArray:
    """Return the coarse values of a file, in the units of the estimates; nothing is read yet.

    Args:
        coarse: A filled file of the project, or any file with maps on days.
        target: Name of what is estimated.
        units: Of the estimates.
        variable: Its name; by default `sm_filled`, else that of the target, else the only one with a time.

    Returns:
        Dims (time, lat, lon) or (time, y, x).

    Raises:
        CubeError: There is no such variable, or its units are others.
    """
    moving = [str(n) for n, v in coarse.data_vars.items() if "time" in v.dims and v.ndim == 3]
    guess = next((n for n in (SM_FILLED, target) if n in moving), moving[0] if len(moving) == 1 else None)
    name = variable or guess
    if name is None:
        there = ", ".join(moving) or "none"
        raise CubeError(f"no variable '{SM_FILLED}' or '{target}'; there are {there}: coarse_variable=NAME")
    if name not in moving:
        raise CubeError(f"no variable '{name}' of time and maps{suggest(name, moving)}; there are {', '.join(moving)}")
    try:
        dims = space_dims(coarse[name])
        found = in_units_of(coarse[[name]], {name: units}, "the run")[name]
    except ConfigError as error:
        raise CubeError(str(error)) from error
    return found.transpose("time", *dims)


def coarse_crs(coarse: xr.Dataset) -> str | None:
    """Return the CRS of a coarse file; None for lat and lon."""
    return None if "lat" in coarse.dims else crs_in(coarse)


def _transforms(fine: str, coarse: str) -> tuple[Transform, Transform]:
    """Return functions of (y, x) from the fine CRS to the coarse one, and back."""
    if fine == coarse:
        return (lambda y, x: (y, x)), (lambda y, x: (y, x))
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        one, other = CRS.from_user_input(fine), CRS.from_user_input(coarse)
    except CRSError as error:
        raise CubeError(f"a CRS cannot be read: {' '.join(str(error).split())[:150]}") from error
    if one == other:
        return (lambda y, x: (y, x)), (lambda y, x: (y, x))
    made: list[Any] = [Transformer.from_crs(*pair, always_xy=True) for pair in ((one, other), (other, one))]

    def along(transformer: Any) -> Transform:
        def transform(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x, y = transformer.transform(x, y)
            return np.asarray(y), np.asarray(x)

        return transform

    return along(made[0]), along(made[1])


def _near(longitude: Any, middle: float) -> Any:
    """Return longitudes within 180 degrees of a middle."""
    return (longitude - middle + 180) % 360 + middle - 180


def _fraction(axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return places as numbers of centres with a fraction; beyond the outer ones the outer steps go on."""
    numbers = np.arange(len(axis), dtype=np.float64)
    rising = axis if axis[-1] > axis[0] else axis[::-1]
    found = np.interp(values, rising, numbers)
    low, high = values < rising[0], values > rising[-1]
    found[low] = (values[low] - rising[0]) / (rising[1] - rising[0])
    found[high] = numbers[-1] + (values[high] - rising[-1]) / (rising[-1] - rising[-2])
    return found if rising is axis else numbers[-1] - found


def _edges(axis: np.ndarray) -> np.ndarray:
    """Return the edges of cells, halfway between their centres."""
    middle = (axis[1:] + axis[:-1]) / 2
    return np.concatenate([[2 * axis[0] - middle[0]], middle, [2 * axis[-1] - middle[-1]]])


def _between(values: np.ndarray, nodes: list[np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return values at nodes (m, n), linear between them, at all rows and columns (h, w)."""
    down, across = (_weights(node, one) for node, one in zip(nodes, wanted, strict=True))
    found: np.ndarray = down @ values @ across.T
    return found


def _weights(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    weights = np.zeros((len(wanted), len(nodes)))
    for k in range(len(nodes)):
        weights[:, k] = np.interp(wanted, nodes, np.eye(len(nodes))[k])
    return weights


def _corners(row: np.ndarray, column: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Return the offsets of the four cells around places, and their bilinear weights."""
    down, across = row - np.floor(row), column - np.floor(column)
    return [
        (0, 0, (1 - down) * (1 - across)),
        (0, 1, (1 - down) * across),
        (1, 0, down * (1 - across)),
        (1, 1, down * across),
    ]
