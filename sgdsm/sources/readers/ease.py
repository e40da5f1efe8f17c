"""EASE-Grid 2.0, global and cylindrical (EPSG:6933): centres of its cells, and the cells of points.

Rows run from north to south. Reference: Brodzik et al. (2012, 2014), doi 10.3390/ijgi1010032 and 10.3390/ijgi3031154.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.sources.readers.names import north_up

CRS = "EPSG:6933"
Variables = dict[str, tuple[np.ndarray, dict[str, Any]]]


@dataclass(frozen=True)
class EaseGrid:
    """A grid of square cells, centred on 0 N 0 E.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        cell_size_m: Size of a cell, m.
    """

    rows: int
    columns: int
    cell_size_m: float

    @property
    def x(self) -> np.ndarray:
        """Return the centres (columns,) of the columns in m, rising."""
        return (np.arange(self.columns) + 0.5 - self.columns / 2) * self.cell_size_m

    @property
    def y(self) -> np.ndarray:
        """Return the centres (rows,) of the rows in m, falling."""
        return (self.rows / 2 - np.arange(self.rows) - 0.5) * self.cell_size_m

    def cells(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells whose centres are given.

        Args:
            lat: Latitudes (N,) in degrees.
            lon: Longitudes (N,) in degrees.

        Returns:
            Rows (N,) and columns (N,).

        Raises:
            ValueError: If a point is no centre of a cell, so on another grid.
        """
        return self._on_centres(*self._places(lat, lon))

    def lines(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and the columns whose centres are given.

        Args:
            y: Centres (H,) of rows in m.
            x: Centres (W,) of columns in m.

        Returns:
            Rows (H,) and columns (W,).

        Raises:
            ValueError: If a coordinate is no centre of a row or column, so of another grid.
        """
        return self._on_centres(
            self.rows / 2 - 0.5 - y / self.cell_size_m, self.columns / 2 - 0.5 + x / self.cell_size_m
        )

    def _on_centres(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whole numbers of rows and columns; ValueError if a position is not near one."""
        for place, count in ((row, self.rows), (column, self.columns)):
            # coordinates are kept in float32, or with three decimals
            off = np.abs(place - np.round(place))
            if not ((off < 0.1) & (place > -0.5) & (place < count - 0.5)).all():
                raise ValueError(f"points off the centres of EASE-Grid 2.0 cells of {self.cell_size_m:.0f} m")
        return np.round(row).astype(np.int64), np.round(column).astype(np.int64)

    def cells_around(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells that contain points.

        Args:
            lat: Latitudes (N,) in degrees.
            lon: Longitudes (N,) in degrees.

        Returns:
            Rows (N,) and columns (N,); a point beyond the edge of the grid, or without coordinates (NaN), has a row
            that the grid does not have.
        """
        # pyproj gives inf for NaN, which no integer can hold; 90 N is beyond the grid
        known = np.isfinite(lat) & np.isfinite(lon)
        row, column = self._places(np.where(known, lat, 90.0), np.where(known, lon, 0.0))
        # 180 east is 180 west
        return np.round(row).astype(np.int64), np.round(column).astype(np.int64) % self.columns

    def _places(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions in rows and columns, counted from the centre of the first cell."""
        # the projection is cylindrical: x depends on the longitude alone, y on the latitude
        x, _ = _degrees().transform(lon, np.zeros_like(lon), direction="INVERSE")
        _, y = _degrees().transform(np.zeros_like(lat), lat, direction="INVERSE")
        return self.rows / 2 - 0.5 - y / self.cell_size_m, self.columns / 2 - 0.5 + x / self.cell_size_m

    def dataset(
        self,
        variables: Variables,
        time: np.datetime64,
        rows: slice | np.ndarray = slice(None),
        columns: slice | np.ndarray = slice(None),
    ) -> xr.Dataset:
        """Return maps of one time on a part of the grid.

        Args:
            variables: Values (H, W) and attributes by name.
            time: Time of the maps.
            rows: Rows of the grid that the maps have.
            columns: Columns of the grid that the maps have.

        Returns:
            Variables with dims (time, y, x), north first, y and x in m, and coordinates `lat` (y) and `lon` (x) in
            degrees.
        """
        x, y = self.x[columns], self.y[rows]
        coords = {
            "time": ("time", np.array([time], "datetime64[ns]")),
            "y": ("y", y, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", x, {"units": "m", "standard_name": "projection_x_coordinate"}),
            # the projection is cylindrical: latitude depends on the row alone, longitude on the column
            "lat": ("y", _degrees().transform(np.zeros_like(y), y)[1], {"units": "degrees_north"}),
            "lon": ("x", _degrees().transform(x, np.zeros_like(x))[0], {"units": "degrees_east"}),
        }
        # the time axis has the length 1, so that maps can be concatenated
        maps = {name: (("time", "y", "x"), values[None], attrs) for name, (values, attrs) in variables.items()}
        return north_up(xr.Dataset(maps, coords, {"crs": CRS}))


# the 25 km grid of NSIDC is not a multiple of the 36 km and 9 km grids of SMAP
M36 = EaseGrid(406, 964, 36032.220840584)
M25 = EaseGrid(584, 1388, 25025.26)
M09 = EaseGrid(1624, 3856, 9008.055210146)


def _degrees() -> Any:
    """Return the transformation between metres of the grid and degrees."""
    from pyproj import Transformer

    return Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
