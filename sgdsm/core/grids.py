"""Facts about the Earth and its standard grids: radii, and the sizes of the cylindrical EASE-Grid 2.0 (numpy only).

EASE-Grid 2.0: Brodzik et al., ISPRS Int. J. Geo-Inf. 1, 32, 2012 (doi 10.3390/ijgi1010032) and 3, 1154, 2014 (doi
10.3390/ijgi3031154), with the cell sizes of NSIDC's grid definitions (25025.26 m since the correction of 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Several radii are in use, each by a convention of its own; they differ by 1e-6, but results are kept as they are.
MEAN_EARTH_RADIUS_KM = 6371.0  # rounded mean radius: orbits, distances between cells
AUTHALIC_RADIUS_M = 6_371_007.2  # of the sphere with the area of the WGS84 ellipsoid: slopes of the terrain
MODIS_RADIUS_M = 6_371_007.181  # of the sphere of MODIS' sinusoidal projection
DEGREE_M = 111_195.0  # length of a degree of latitude, on the mean radius

EASE_GRID_CRS = "EPSG:6933"


@dataclass(frozen=True)
class EaseGridSize:
    """Size of a global grid of square cells in the projection of EASE-Grid 2.0, centred on 0 N 0 E.

    Rows run from north to south, columns from west to east.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        cell_size_m: Width of a cell in m of the projection.
    """

    rows: int
    columns: int
    cell_size_m: float

    @property
    def x(self) -> np.ndarray:
        """Centres of the columns in m, rising, (columns,)."""
        return (np.arange(self.columns) + 0.5 - self.columns / 2) * self.cell_size_m

    @property
    def y(self) -> np.ndarray:
        """Centres of the rows in m, falling, (rows,)."""
        return (self.rows / 2 - np.arange(self.rows) - 0.5) * self.cell_size_m

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges in m: left, bottom, right, top."""
        right, top = self.columns * self.cell_size_m / 2, self.rows * self.cell_size_m / 2
        return -right, -top, right, top

    def positions(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the fractional rows and columns of points, counted from the centre of the first cell.

        Args:
            y: Northings in m, any shape.
            x: Eastings in m, any shape.

        Returns:
            Fractional rows, of the shape of `y`, and fractional columns, of the shape of `x`.
        """
        return self.rows / 2 - 0.5 - y / self.cell_size_m, self.columns / 2 - 0.5 + x / self.cell_size_m

    def lines(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and the columns that have these centres.

        Args:
            y: Centres of rows in m.
            x: Centres of columns in m.

        Returns:
            Rows, of the shape of `y`, and columns, of the shape of `x`, int64.

        Raises:
            ValueError: When a value is no centre of a row or a column, that is when it belongs to another grid.
        """
        return self.on_centres(*self.positions(y, x))

    def on_centres(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return fractional rows and columns as whole numbers.

        Args:
            row: Fractional rows, as `positions` returns them.
            column: Fractional columns.

        Returns:
            Rows and columns, int64, of the same shapes.

        Raises:
            ValueError: When one is more than a tenth of a cell from the centre of a cell, or outside the grid.
        """
        for position, count in ((row, self.rows), (column, self.columns)):
            # files keep coordinates in float32, or with three decimals
            off = np.abs(position - np.round(position))
            if not ((off < 0.1) & (position > -0.5) & (position < count - 0.5)).all():
                raise ValueError(f"points off the centres of EASE-Grid 2.0 cells of {self.cell_size_m:.0f} m")
        return np.round(row).astype(np.int64), np.round(column).astype(np.int64)


EASE_GRIDS = {
    "ease2_m36": EaseGridSize(406, 964, 36032.220840584),
    "ease2_m25": EaseGridSize(584, 1388, 25025.26),
    "ease2_m09": EaseGridSize(1624, 3856, 9008.055210146),
}
