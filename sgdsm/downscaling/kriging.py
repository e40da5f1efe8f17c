"""Maps of values that are known at points (wells, gauges), by ordinary kriging day by day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.core.logging import log
from sgdsm.core.memory import check_fits
from sgdsm.core.words import counted
from sgdsm.data.table import days_of, read_columns
from sgdsm.downscaling.raster_grid import MAPPING, RasterGrid, same_crs, wkt_of
from sgdsm.sources.readers.packed import refuse_fills

Variogram = Literal["linear", "power", "gaussian", "spherical", "exponential", "hole-effect"]
LEAST_PLACES = 3
AT_ONCE = 2**22  # distances between pixels and places in memory
DEGREES = "EPSG:4326"


class Points(NamedTuple):
    """Values at places on days, all finite.

    Attributes:
        days: datetime64[ns], (N,).
        x: To the east, in the CRS of a grid, (N,).
        y: To the north, (N,).
        values: (N,).
    """

    days: np.ndarray
    x: np.ndarray
    y: np.ndarray
    values: np.ndarray


def read_points(
    path: str, value: str, grid: RasterGrid, columns: Sequence[str] = ("date", "x", "y"), crs: str | None = None
) -> Points:
    """Read points from a CSV or Parquet file; rows without value or place are left out and counted in the log.

    Args:
        path: The file.
        value: Column of the values.
        grid: Of the maps.
        columns: Those of the date, of x (or longitude) and of y (or latitude).
        crs: Of x and y; None: that of the grid.

    Raises:
        CubeError: The file lacks a column, holds text for numbers, or no place is near the grid.
        ConfigError: Unknown CRS.
    """
    date, *names = *columns, value
    frame = read_columns(Path(path), [date, *names], "points")
    arrays = []
    for name in names:
        try:
            arrays.append(np.asarray(frame[name].to_numpy(), np.float64))
        except (TypeError, ValueError):
            raise CubeError(f"{path}: column '{name}' holds text, expected numbers") from None
    # a NaN would stop the fit of the variogram with "Initial guess is outside of provided bounds"
    finite = np.isfinite(arrays).all(0)
    if not finite.any():
        raise CubeError(f"{path}: no row has all of {', '.join(names)}")
    if not finite.all():
        log.info("%s: %d of %d rows lack a value or a place and are left out", path, (~finite).sum(), finite.size)
    days = days_of(frame[date][finite], date, path)
    x, y, values = (array[finite] for array in arrays)
    try:
        refuse_fills(values, value)
    except CubeError as error:
        raise CubeError(f"{path}: {error}: remove these rows") from error
    x, y = _in_grid_crs(x, y, grid, wkt_of(crs, f"crs={crs}") if crs else grid.crs, path)
    _check_near(x, y, grid, path)
    return Points(days, x, y, values)


def _in_grid_crs(x: np.ndarray, y: np.ndarray, grid: RasterGrid, crs: str, path: str) -> tuple[np.ndarray, np.ndarray]:
    from pyproj import Transformer

    if same_crs(crs, grid.crs):
        return x, y
    # always_xy: else the order of axes is that of the authority, latitude first for EPSG:4326
    there_x, there_y = Transformer.from_crs(crs, grid.crs, always_xy=True).transform(x, y)
    bad = ~(np.isfinite(there_x) & np.isfinite(there_y))
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        raise CubeError(f"{path}: x={x[k]:g}, y={y[k]:g} is no place in its CRS: are x and y swapped?")
    return np.asarray(there_x), np.asarray(there_y)


def _check_near(x: np.ndarray, y: np.ndarray, grid: RasterGrid, path: str) -> None:
    """Raise CubeError unless a place lies within the grid, or not farther from it than the grid is long."""
    west, south, east, north = grid.bounds
    reach = max(east - west, north - south)

    def near(a: np.ndarray, b: np.ndarray) -> bool:
        inside = (a > west - reach) & (a < east + reach) & (b > south - reach) & (b < north + reach)
        return bool(inside.any())

    if near(x, y):
        return
    cure = "give crs= of the points"
    if near(y, x):
        cure = "are x and y swapped?"
    elif np.abs(x).max() <= 360 and np.abs(y).max() <= 90:
        cure = f"are they degrees? give crs={DEGREES}, x= longitudes, y= latitudes"
    raise CubeError(
        f"{path}: no place is near the grid: x is {x.min():g} to {x.max():g} and y {y.min():g} to {y.max():g}, "
        f"the grid spans {west:g} to {east:g} and {south:g} to {north:g}: {cure}"
    )


def krige(
    points: Points, grid: RasterGrid, name: str, units: str, variogram: Variogram = "linear", lags: int = 6
) -> xr.Dataset:
    """Interpolate the points of each day by ordinary kriging (PyKrige), with distances in metres.

    Args:
        points: In the CRS of the grid.
        grid: Of the maps; if it is in degrees, distances are those of an equal-area projection around its middle.
        name: Of the variable.
        units: Of the values.
        variogram: Model whose parameters PyKrige fits to each day.
        lags: Classes of distance of that fit.

    Returns:
        `name` and `name`_std (square root of the kriging variance), (time, y, x) float64, for each day with points,
        north first; NaN on days with less than three places.

    Raises:
        CubeError: A variogram cannot be fitted to a day, or no day has places enough.
        ConfigError: The maps do not fit into the memory.
    """
    days = np.unique(points.days)
    asked = f"maps of {counted(len(days), 'day')} of {grid.rows} x {grid.columns} cells"
    check_fits(asked, 2 * len(days) * grid.rows * grid.columns, "choose fewer days by time=, or larger cells", 8)
    target_x, target_y, x, y = _in_metres(points, grid)
    maps = np.full((2, len(days), grid.rows * grid.columns), np.nan)
    few = []
    for k, day in enumerate(days):
        chosen = points.days == day
        place_x, place_y, values = merged(x[chosen], y[chosen], points.values[chosen])
        if len(values) < LEAST_PLACES:
            few.append(day)
            continue
        maps[:, k] = _day(place_x, place_y, values, target_x, target_y, variogram, lags, f"{str(day)[:10]}")
    if len(few) == len(days):
        raise CubeError(f"no day of {len(days)} has values at {LEAST_PLACES} places or more, which kriging needs")
    if few:
        text = f"the first is {str(few[0])[:10]}"
        log.warning(
            "%d of %d days have less than %d places and are missing, %s", len(few), len(days), LEAST_PLACES, text
        )
    shape, dims = (len(days), *grid.shape), ("time", "y", "x")
    about = {"units": units, "grid_mapping": MAPPING}
    text = f"ordinary kriging of points, variogram {variogram}"
    return xr.Dataset(
        {
            name: (dims, maps[0].reshape(shape), {**about, "long_name": f"{name.replace('_', ' ')}, {text}"}),
            f"{name}_std": (dims, maps[1].reshape(shape), {**about, "long_name": "standard error of kriging"}),
        },
        {"time": ("time", days, {"standard_name": "time", "axis": "T"}), **grid.coords()},
    )


def merged(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each place once, with the mean of its values: the matrix of kriging is singular with a place twice.

    Args:
        x: (N,).
        y: (N,).
        values: (N,).
    """
    # a millimetre apart is the same place for the matrix as well
    _, number = np.unique(np.round(np.stack([x, y], 1), 3), axis=0, return_inverse=True)
    number = number.reshape(-1)
    count = np.bincount(number)
    if (count == 1).all():
        return x, y, values
    means = [np.bincount(number, array) / count for array in (x, y, values)]
    return means[0], means[1], means[2]


def _in_metres(points: Points, grid: RasterGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x and y of all pixels, (H * W,), and of the points, (N,), where a unit is as long in each direction."""
    target_x, target_y = (a.ravel() for a in np.meshgrid(grid.x(), grid.y()))
    if not grid.is_geographic:
        return target_x, target_y, points.x, points.y
    from pyproj import Transformer

    # a degree of longitude is shorter than one of latitude
    west, south, east, north = grid.bounds
    local = f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +datum=WGS84 +units=m"
    there = Transformer.from_crs(grid.crs, local, always_xy=True)
    return *there.transform(target_x, target_y), *there.transform(points.x, points.y)


def _day(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    target_x: np.ndarray,
    target_y: np.ndarray,
    variogram: Variogram,
    lags: int,
    day: str,
) -> np.ndarray:
    """Return estimates and standard errors of a day, (2, pixels)."""
    from pykrige.ok import OrdinaryKriging  # type: ignore[import-untyped]

    # the variogram of equal values is zero, which PyKrige cannot fit
    if np.ptp(values) == 0:
        return np.stack([np.full(len(target_x), values[0]), np.zeros(len(target_x))])
    parts: list[Any] = []
    try:
        kriging = OrdinaryKriging(x, y, values, variogram_model=variogram, nlags=lags)
        step = max(1, AT_ONCE // (len(values) + 1))
        for first in range(0, len(target_x), step):
            part = slice(first, first + step)
            parts.append(kriging.execute("points", target_x[part], target_y[part]))
    except (ValueError, np.linalg.LinAlgError) as error:
        why = " ".join(str(error).split())[:120]
        raise CubeError(f"{day}: kriging of {len(values)} places: {why}: try another variogram=") from error
    estimates, variances = (np.concatenate([np.asarray(part[k]) for part in parts]) for k in (0, 1))
    # rounding makes variances at the places slightly negative
    return np.stack([estimates, np.sqrt(np.maximum(variances, 0))])
