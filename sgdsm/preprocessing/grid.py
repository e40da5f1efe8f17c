"""Grids: those that cubes are made on, and those of products.

The sizes of EASE-Grid 2.0 are in `sgdsm.core.grids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.grids import DEGREE_M, EASE_GRID_CRS, EASE_GRIDS
from sgdsm.preprocessing.overlaps import (
    Pair,
    around,
    cell_of,
    circular_around,
    edges_of,
    is_regular,
    turned,
)

DEGREES = {"global_025": 0.25, "global_010": 0.1}
NO_NORTH = "expected (west, south, east, north) in degrees, south < north"


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of rows and columns: their centres and edges, in degrees, or in metres of a CRS.

    Longitudes rise: east of a date line that the grid crosses they are beyond 180.

    Args:
        rows: Centres of the rows, (H,): latitudes in degrees (crs None), or y in m; north first.
        columns: Centres of the columns, (W,): longitudes in degrees, or x in m.
        row_edges: Edges of the rows, (H + 1,).
        column_edges: Edges of the columns, (W + 1,).
        crs: What pyproj understands; None: degrees.
    """

    rows: np.ndarray
    columns: np.ndarray
    row_edges: np.ndarray
    column_edges: np.ndarray
    crs: str | None = None

    @classmethod
    def named(cls, name: str, bbox: Sequence[float] | None = None) -> Grid:
        """Return a global grid, or a part of it.

        Args:
            name: global_025, global_010, ease2_m36, ease2_m25 or ease2_m09.
            bbox: (west, south, east, north) in degrees, as for `regular`.

        Raises:
            ConfigError: When the name is unknown, or the bbox holds no centre.
        """
        if name in DEGREES:
            return cls.regular(DEGREES[name], bbox)
        if name not in EASE_GRIDS:
            known = [*DEGREES, *EASE_GRIDS]
            raise ConfigError(f"grid '{name}'{suggest(name, known)}: expected one of {', '.join(known)}")
        size = EASE_GRIDS[name]
        # cells in metres of the projection; latitudes and longitudes follow from it
        grid = cls.projected(EASE_GRID_CRS, size.cell_size_m, size.bounds)
        return grid if bbox is None else grid._cropped(bbox)

    @classmethod
    def regular(cls, resolution: float, bbox: Sequence[float] | None = None) -> Grid:
        """Return a grid of square cells in degrees that begin at 90 N and 180 W.

        Args:
            resolution: Size of a cell, degrees.
            bbox: (west, south, east, north) in degrees: only the cells whose centres lie in it; west > east crosses the
                date line.

        Raises:
            ConfigError: When the resolution does not divide 180 degrees, or the bbox holds no centre.
        """
        # rounded, because the quotient may not be whole in floating point
        count = round(180 / resolution) if resolution > 0 else 0
        if count < 1 or abs(count * resolution - 180) > 1e-6 * resolution:
            raise ConfigError(f"grid resolution {resolution}: expected degrees that divide 180, like 0.25")
        row_edges = 90.0 - np.arange(count + 1) * (180.0 / count)
        column_edges = -180.0 + np.arange(2 * count + 1) * (180.0 / count)
        grid = cls(_middles(row_edges), _middles(column_edges), row_edges, column_edges)
        return grid if bbox is None else grid._cropped(bbox)

    @classmethod
    def projected(cls, crs: str, resolution_m: float, bounds: Sequence[float]) -> Grid:
        """Return a grid of square cells of a CRS in metres.

        Args:
            crs: What pyproj understands.
            resolution_m: Size of a cell, m.
            bounds: (left, bottom, right, top) in m, a whole number of cells apart.

        Raises:
            ConfigError: When the bounds are not whole cells apart, or the CRS is unknown.
        """
        _known_crs(crs)
        left, bottom, right, top = (float(b) for b in bounds)
        # bounds are in float: a thousandth of a cell is rounding
        sizes = np.array([top - bottom, right - left]) / resolution_m
        rows, columns = np.round(sizes).astype(int)
        if min(rows, columns) < 1 or np.abs(sizes - [rows, columns]).max() > 1e-3:
            raise ConfigError(
                f"grid bounds {tuple(bounds)}: expected (left, bottom, right, top) a whole number of cells of "
                f"{resolution_m} m apart, found {sizes[1]:.3f} x {sizes[0]:.3f}"
            )
        row_edges = top - np.arange(rows + 1) * resolution_m
        column_edges = left + np.arange(columns + 1) * resolution_m
        return cls(_middles(row_edges), _middles(column_edges), row_edges, column_edges, crs)

    @classmethod
    def of(cls, source: xr.Dataset) -> Grid:
        """Return the grid that the coordinates of a Dataset describe: 1-D lat and lon, or y and x with a CRS.

        Edges are half-way between the centres. Between latitudes that are evenly spaced in the cylindrical EASE-Grid
        2.0 they are those of that grid.

        Args:
            source: A Dataset; the order of its rows is kept.

        Raises:
            ConfigError: When lat and lon are 2-D and differ along rows and columns, or a CRS is missing.
        """
        crs = crs_in(source)
        lat, lon = source.coords.get("lat"), source.coords.get("lon")
        in_axes = {"y", "x"} <= set(source.coords) and crs is not None
        if in_axes and _known_crs(str(crs)).is_geographic:
            lat, lon = source["y"], source["x"]
        elif in_axes:
            # some products have km instead of m
            factor = [1000.0 if source[d].attrs.get("units") in ("km", "kilometer") else 1.0 for d in ("y", "x")]
            rows, columns = (source[d].values.astype(float) * f for d, f in zip(("y", "x"), factor, strict=True))
            return cls(rows, columns, edges_of(rows, "y"), edges_of(columns, "x"), crs)
        if lat is None or lon is None:
            raise ConfigError(
                f"no grid in the coordinates {list(source.coords)}: expected lat and lon, or y, x and crs"
            )
        rows, columns = lat.values.astype(float), lon.values.astype(float)
        if rows.ndim == 2:
            if not (np.ptp(rows, 1).max() < 1e-3 and np.ptp(columns, 0).max() < 1e-3):
                raise ConfigError("lat and lon differ along rows and columns: expected 1-D axes, or y, x and crs")
            rows, columns = rows[:, 0], columns[0]
        # files from 0 to 360 or across the date line: make the longitudes rise
        columns = np.unwrap(columns, period=360.0)
        row_edges, column_edges = _lat_edges(rows), edges_of(columns, "lon")
        # a first column that is repeated as the last counts once
        step = np.sign(column_edges[-1] - column_edges[0])
        column_edges = column_edges[0] + step * np.minimum(np.abs(column_edges - column_edges[0]), 360.0)
        return cls(rows, columns, row_edges, column_edges)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.rows.size, self.columns.size

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the dimensions."""
        return ("lat", "lon") if self.crs is None else ("y", "x")

    @cached_property
    def is_rectilinear(self) -> bool:
        """True if each row has one latitude and each column one longitude, as in the cylindrical EASE-Grid 2.0."""
        if self.crs is None:
            return True
        y, x = (np.array([a[0], a[a.size // 2], a[-1]]) for a in (self.row_edges, self.column_edges))
        lat = self._degrees(self.row_edges[:, None], x)[0]
        lon = self._degrees(y[:, None], self.column_edges)[1]
        lon = np.unwrap(lon, period=360.0)
        # a grid from one end of the globe to the other has its ends at 180 or -180
        lon = np.abs((lon - lon[:1] + 180.0) % 360.0 - 180.0)
        # a millionth of a degree is rounding in the projection
        return bool(np.isfinite(lat).all() and np.isfinite(lon).all() and np.ptp(lat, 1).max() < 1e-6 > lon.max())

    def lat(self) -> np.ndarray:
        """Return latitudes of the centres in degrees; (H,), or (H, W) if they differ along a row."""
        if self.crs is None:
            return self.rows
        if self.is_rectilinear:
            return self._degrees(self.rows, np.full(self.shape[0], self.columns[0]))[0]
        return self._degrees(self.rows[:, None], self.columns)[0]

    def lon(self) -> np.ndarray:
        """Return longitudes of the centres in degrees; (W,), or (H, W) if they differ along a column."""
        if self.crs is None:
            return self.columns
        if self.is_rectilinear:
            return _rising(self._degrees(np.full(self.shape[1], self.rows[0]), self.columns)[1])
        return self._degrees(self.rows[:, None], self.columns)[1]

    def coords(self) -> xr.Coordinates:
        """Return coordinates with CF attributes; with a CRS y, x, latitudes, longitudes and the grid mapping `crs`."""
        lat_attrs = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"}
        lon_attrs = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"}
        if self.crs is None:
            lat = ("lat", self.rows, {**lat_attrs, "axis": "Y"})
            return xr.Dataset(coords={"lat": lat, "lon": ("lon", self.columns, {**lon_attrs, "axis": "X"})}).coords
        both = ("y", "x")
        names = {d: {"standard_name": f"projection_{d}_coordinate", "units": "m", "axis": d.upper()} for d in both}
        return xr.Dataset(
            coords={
                "y": ("y", self.rows, names["y"]),
                "x": ("x", self.columns, names["x"]),
                "lat": ("y" if self.is_rectilinear else both, self.lat(), lat_attrs),
                "lon": ("x" if self.is_rectilinear else both, self.lon(), lon_attrs),
                "crs": ((), 0, _known_crs(self.crs).to_cf()),
            }
        ).coords

    def find(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the cell that holds each point.

        Args:
            lat: Latitudes in degrees, (N,).
            lon: Longitudes in degrees, (N,).

        Returns:
            Row and column of each point, (N,) int; both -1 if no cell holds it.
        """
        y, x = self._native(lat, lon)
        # a rectilinear grid is searched in degrees, which needs no transformation of the points
        row_edges, column_edges = self.degree_edges if self.is_rectilinear else (self.row_edges, self.column_edges)
        row, column = cell_of(row_edges, y), cell_of(column_edges, x)
        inside = (row >= 0) & (column >= 0)
        return np.where(inside, row, -1), np.where(inside, column, -1)

    def matches(self, other: Grid) -> bool:
        """Return True if both grids have the same cells, up to a hundredth of a cell."""
        if self.shape != other.shape or self.dims != other.dims:
            return False
        if self.crs is not None and other.crs is not None and _known_crs(self.crs) != _known_crs(other.crs):
            return False
        # edges, not centres: two grids with equal centres may differ in their outermost cells
        pairs = ((self.row_edges, other.row_edges), (self.column_edges, other.column_edges))
        return all(np.abs(a - b).max() < 0.01 * np.abs(np.diff(a)).min() for a, b in pairs)

    @cached_property
    def degree_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges of rows, (H + 1,), and of columns, (W + 1,), in degrees; only if the grid is rectilinear in them."""
        if self.crs is None:
            return self.row_edges, self.column_edges
        lat = self._degrees(self.row_edges, np.full(self.row_edges.size, self.columns[0]))[0]
        lon = self._degrees(np.full(self.column_edges.size, self.rows[0]), self.column_edges)[1]
        return lat, _rising(lon)

    @property
    def size_m(self) -> float:
        """Approximate size of a cell, m."""
        return float(np.median(np.abs(np.diff(self.row_edges)))) * (DEGREE_M if self.crs is None else 1.0)

    def around(self, lat: np.ndarray, lon: np.ndarray) -> tuple[Pair, Pair]:
        """Return the two rows and the two columns around each point.

        Args:
            lat: Latitudes in degrees, (N,).
            lon: Longitudes in degrees, (N,).

        Returns:
            A pair of rows and a pair of columns for each point, weighted in the grid's own coordinates.
        """
        y, x = self._native(lat, lon)
        if self.is_rectilinear:
            row_edges, column_edges = self.degree_edges
            return around(self.lat(), row_edges, y), circular_around(self.lon(), column_edges, x)
        return around(self.rows, self.row_edges, y), around(self.columns, self.column_edges, x)

    def parts(self, split: int, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split each cell of some rows into split x split parts.

        Args:
            split: Parts along each side of a cell.
            rows: Rows of the grid.

        Returns:
            Centres of the parts: latitudes and longitudes in degrees, and the number of the cell of each, (N,) each.
        """
        # centres of the parts, as shares of the cell
        inner = (np.arange(split) + 0.5) / split
        y, x = (
            (edges[:-1, None] + np.diff(edges)[:, None] * inner).ravel()
            for edges in (self.row_edges[rows.start : rows.stop + 1], self.column_edges)
        )
        row = np.arange(rows.start, rows.stop).repeat(split)
        cell = row[:, None] * self.shape[1] + np.arange(self.shape[1]).repeat(split)
        lat, lon = self._degrees(y[:, None], x)
        if not self.is_rectilinear:
            # the corners of a world map lie outside the world; the projection maps them to some other place
            back = self._transformer.transform(lon, lat, direction="INVERSE")[0]
            lat = np.where(np.abs(np.asarray(back) - x) < self.size_m, lat, np.nan)
        return lat.ravel(), lon.ravel(), cell.ravel()

    def _native(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points in degrees as y and x of this grid; if rectilinear, as lat, and lon from its west edge on."""
        if self.is_rectilinear:
            return lat, turned(self.degree_edges[1], lon)
        x, y = self._transformer.transform(lon, lat, direction="INVERSE")
        return np.asarray(y), np.asarray(x)

    def _degrees(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.broadcast_arrays(y, x)
        if self.crs is None:
            return y, x
        lon, lat = self._transformer.transform(x, y)
        return np.asarray(lat), np.asarray(lon)

    @cached_property
    def _transformer(self) -> Any:
        from pyproj import Transformer

        crs = _known_crs(str(self.crs))
        # no change of datum: products give latitudes on the ellipsoid or sphere of their CRS, as MODIS does
        return Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)

    def _cropped(self, bbox: Sequence[float]) -> Grid:
        """Return the cells of a global grid whose centres lie in a bbox in degrees."""
        if len(bbox) != 4 or not -90 <= bbox[1] < bbox[3] <= 90:
            raise ConfigError(f"bbox {tuple(bbox)}: {NO_NORTH}")
        west, south, east, north = (float(b) for b in bbox)
        lat, lon = self.lat(), self.lon()
        inside = np.flatnonzero((lat >= south) & (lat <= north))
        # a box across the date line has west > east
        width = 360.0 if east - west >= 360.0 else (east - west) % 360.0
        east_of = (lon - west) % 360.0
        count, first = int((east_of <= width).sum()), int(np.argmin(east_of))
        if not inside.size or not count:
            raise ConfigError(f"bbox {tuple(bbox)}: holds no centre of a cell, {NO_NORTH}")
        r = slice(inside[0], inside[-1] + 1)
        circle = self.column_edges[-1] - self.column_edges[0]
        columns = np.concatenate([self.columns, self.columns + circle])[first : first + count]
        edges = np.concatenate([self.column_edges, self.column_edges[1:] + circle])[first : first + count + 1]
        return Grid(self.rows[r], columns, self.row_edges[r.start : r.stop + 1], edges, self.crs)


def _middles(edges: np.ndarray) -> np.ndarray:
    middles: np.ndarray = (edges[:-1] + edges[1:]) / 2
    return middles


def _rising(lon: np.ndarray) -> np.ndarray:
    """Return longitudes from west to east, without a jump; from -180 if the first lies on the date line."""
    lon = np.where((np.arange(lon.size) == 0) & (lon > 180.0 - 1e-9), -180.0, lon)
    return np.unwrap(lon, period=360.0)


def _lat_edges(lat: np.ndarray) -> np.ndarray:
    # half-way between the centres, unless the rows are those of an equal-area cylindrical grid
    edges = edges_of(lat, "lat")
    if not is_regular(lat):
        from pyproj import Transformer

        transform = Transformer.from_crs("EPSG:4326", EASE_GRID_CRS, always_xy=True).transform
        y = np.asarray(transform(np.zeros_like(lat), lat)[1])
        if is_regular(y):
            # no cell reaches beyond the poles
            south, north = transform((0, 0), (-90, 90))[1]
            metres = np.clip(edges_of(y, "lat"), south, north)
            edges = np.asarray(transform(np.zeros_like(metres), metres, direction="INVERSE")[1])
    # cells of a row of centres at the pole end there
    return np.clip(edges, -90.0, 90.0)


def _known_crs(crs: str) -> Any:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise ConfigError(f"grid crs '{crs}': expected one that pyproj knows, like '{EASE_GRID_CRS}'") from error


def crs_in(source: xr.Dataset) -> str | None:
    """Return the CRS of a Dataset, from a grid mapping variable or the global attribute `crs`; None if it has none.

    Args:
        source: A Dataset.

    Raises:
        ConfigError: When a grid mapping is incomplete.
    """
    for key, variable in source.variables.items():
        for name in ("crs_wkt", "spatial_ref"):
            if name in variable.attrs:
                return str(variable.attrs[name])
        if "grid_mapping_name" in variable.attrs:
            from pyproj import CRS
            from pyproj.exceptions import CRSError

            try:
                return str(CRS.from_cf(variable.attrs).to_wkt())
            except (CRSError, KeyError) as error:
                kind = variable.attrs["grid_mapping_name"]
                raise ConfigError(f"grid mapping '{key}' ({kind}): expected a complete one of CF ({error})") from error
    return str(source.attrs["crs"]) if "crs" in source.attrs else None
