"""EASE-Grid 2.0, global and cylindrical (EPSG:6933): centres of its cells, and the cells of points.

Rows run from north to south. Reference: Brodzik et al. (2012, 2014), doi 10.3390/ijgi1010032 and 10.3390/ijgi3031154.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.grids import EASE_GRID_CRS, EASE_GRIDS, EaseGridSize
from sgdsm.sources.readers.names import north_up

Variables = dict[str, tuple[np.ndarray, dict[str, Any]]]


class EaseGrid(EaseGridSize):
    """A grid of square cells, centred on 0 N 0 E."""

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
        return self.on_centres(*self._places(lat, lon))

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
        return self.positions(y, x)

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
        return north_up(xr.Dataset(maps, coords, {"crs": EASE_GRID_CRS}))


M36, M25, M09 = (
    EaseGrid(size.rows, size.columns, size.cell_size_m)
    for size in (EASE_GRIDS["ease2_m36"], EASE_GRIDS["ease2_m25"], EASE_GRIDS["ease2_m09"])
)


def _degrees() -> Any:
    """Return the transformation between metres of the grid and degrees."""
    from pyproj import Transformer

    return Transformer.from_crs(EASE_GRID_CRS, "EPSG:4326", always_xy=True)
