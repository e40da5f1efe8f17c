"""Grids of rasters: where pixels lie, in a coordinate reference system (CRS), north first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.axes import axis_names
from sgdsm.core.coordinates import check_axes
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import open_dataset
from sgdsm.preprocessing.grid import crs_in
from sgdsm.sources.readers.raster import driver

IMAGES = (".tif", ".tiff", ".jp2", ".vrt", ".img")
MAPPING = "spatial_ref"  # name of the variable with the CRS


@dataclass(frozen=True)
class RasterGrid:
    """Square or rectangular pixels of a CRS, from the north-west corner.

    Attributes:
        crs: As WKT.
        left: West edge of the first column, in units of the CRS.
        top: North edge of the first row.
        width: Of a pixel.
        height: Of a pixel, above 0.
        rows: Their number.
        columns: Their number.
    """

    crs: str
    left: float
    top: float
    width: float
    height: float
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north edge."""
        return self.left, self.top - self.rows * self.height, self.left + self.columns * self.width, self.top

    @property
    def transform(self) -> Any:
        """The same as rasterio takes it."""
        from rasterio import Affine

        return Affine(self.width, 0.0, self.left, 0.0, -self.height, self.top)

    @property
    def is_geographic(self) -> bool:
        """Whether the CRS is in degrees."""
        from pyproj import CRS

        return bool(CRS.from_user_input(self.crs).is_geographic)

    def x(self) -> np.ndarray:
        """Return centres of the columns, (W,)."""
        centres: np.ndarray = self.left + (np.arange(self.columns) + 0.5) * self.width
        return centres

    def y(self) -> np.ndarray:
        """Return centres of the rows, north first, (H,)."""
        centres: np.ndarray = self.top - (np.arange(self.rows) + 0.5) * self.height
        return centres

    def part(self, rows: slice, columns: slice) -> RasterGrid:
        """Return some rows and columns; they may lie beyond the grid."""
        left, top = self.left + columns.start * self.width, self.top - rows.start * self.height
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return RasterGrid(self.crs, left, top, self.width, self.height, height, width)

    def coarsened(self, factor: int) -> RasterGrid:
        """Return the grid of blocks of factor x factor pixels; both sides must hold whole blocks."""
        rows, columns = self.rows // factor, self.columns // factor
        return RasterGrid(self.crs, self.left, self.top, self.width * factor, self.height * factor, rows, columns)

    def coords(self) -> dict[str, tuple[Any, ...]]:
        """Return the coordinates y, x and `spatial_ref`, with CF attributes, as xarray takes them."""
        from pyproj import CRS

        crs = CRS.from_user_input(self.crs)
        names, units = ("latitude", "longitude"), ("degrees_north", "degrees_east")
        if not crs.is_geographic:
            names, units = ("projection_y_coordinate", "projection_x_coordinate"), ("m", "m")
        about = [{"standard_name": n, "units": u} for n, u in zip(names, units, strict=True)]
        edges = f"{self.left!r} {self.width!r} 0.0 {self.top!r} 0.0 {-self.height!r}"  # as GDAL reads it
        return {
            "y": ("y", self.y(), {**about[0], "axis": "Y"}),
            "x": ("x", self.x(), {**about[1], "axis": "X"}),
            MAPPING: ((), np.int32(0), {**crs.to_cf(), MAPPING: self.crs, "GeoTransform": edges}),
        }


def grid_of(path: str | Path) -> RasterGrid:
    """Return the grid of a GeoTIFF, or of the maps of a NetCDF, HDF5 or Zarr file.

    Args:
        path: The file; rows that begin in the south are counted from the north.

    Raises:
        CubeError: The file cannot be read, has no CRS, or its grid is turned or uneven.
    """
    path = Path(path)
    if path.suffix.lower() in IMAGES:
        return _image_grid(path)
    with open_dataset(path) as dataset:
        maps = [name for name, variable in dataset.data_vars.items() if variable.ndim in (2, 3)]
        if not maps:
            raise CubeError(f"{path}: it has no map, expected a variable with rows and columns")
        return map_grid(dataset, str(maps[0]), str(path))[0]


def map_grid(dataset: xr.Dataset, variable: str, path: str) -> tuple[RasterGrid, xr.DataArray]:
    """Return the grid of a variable, and the variable with the dims (time, y, x) or (y, x), as its rows are stored.

    Args:
        dataset: With a CRS in a grid mapping, unless the coordinates are degrees.
        variable: Its name.
        path: Of the file, for messages.

    Raises:
        CubeError: It is no map or series of maps, has no CRS, or uneven coordinates.
    """
    array = dataset[variable]
    array = array.rename(axis_names(dataset, array.dims))
    names = ("y", "x") if "y" in array.dims else ("lat", "lon")
    try:
        if not set(names) <= set(array.dims) <= {*names, "time"}:
            raise CubeError(f"'{variable}' has dims {list(map(str, array.dims))}: expected maps, in time or not")
        check_axes(array.to_dataset(name="maps"), names)
        crs = crs_in(dataset) or ("EPSG:4326" if names[0] == "lat" else None)
        if crs is None:
            raise CubeError("no CRS: expected a grid mapping with crs_wkt, as spatial_ref")
        factor = 1000.0 if array[names[0]].attrs.get("units") in ("km", "kilometer") else 1.0
        y, x = (array[name].values.astype(np.float64) * factor for name in names)
        height, width = -_step(y, names[0]), _step(x, names[1])
        if width < 0:
            raise CubeError(f"'{names[1]}' falls: expected columns from west to east")
    except (CubeError, ConfigError) as error:
        raise CubeError(f"{path}: {error}") from error
    # the edges of pixels are half a step beyond the outer centres
    top = float(max(y[0], y[-1]) + abs(height) / 2)
    grid = RasterGrid(wkt_of(str(crs), path), float(x[0] - width / 2), top, width, abs(height), len(y), len(x))
    moving = ("time",) if "time" in array.dims else ()
    return grid, array.transpose(*moving, *names)


def wkt_of(crs: str, where: str) -> str:
    """Return a CRS as WKT; ConfigError that names `where` if it is unknown."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return str(CRS.from_user_input(crs).to_wkt())
    except CRSError as error:
        raise ConfigError(f"{where}: unknown CRS '{str(crs)[:60]}': expected one like EPSG:32631") from error


def same_crs(one: str, other: str) -> bool:
    """Return True if two CRS are the same, however they are written."""
    from rasterio.crs import CRS

    return one == other or bool(CRS.from_user_input(one) == CRS.from_user_input(other))


def need_packages(*names: str) -> None:
    """Raise ConfigError that names the extra, where a package is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"this needs {name}: pip install 'sgdsm[downscale]'")


def opened_image(path: Path) -> Any:
    """Open an image by its own driver; CubeError in one line where it cannot be read."""
    import rasterio
    from rasterio.errors import RasterioIOError

    if not path.is_file():
        raise CubeError(f"{path}: no such file (looked in {path.absolute().parent})")
    try:
        return rasterio.open(path, driver=driver(path))
    except RasterioIOError as error:
        raise CubeError(f"{path}: cannot be read as {path.suffix}: {' '.join(str(error).split())[:150]}") from error


def image_grid(file: Any, path: Path) -> RasterGrid:
    """Return the grid of an open image; CubeError where it has no CRS or is turned."""
    move: Mapping[int, float] = file.transform
    a, b, c, d, e, f = (float(move[k]) for k in range(6))
    if b or d or a <= 0:
        raise CubeError(f"{path}: its grid is turned: {(a, b, c, d, e, f)}")
    if file.crs is None:
        raise CubeError(f"{path}: no CRS: `gdal_edit.py -a_srs EPSG:.. {path.name}` writes one")
    top = f if e < 0 else f + e * file.height
    return RasterGrid(file.crs.to_wkt(), c, top, a, abs(e), file.height, file.width)


def _image_grid(path: Path) -> RasterGrid:
    with opened_image(path) as file:
        return image_grid(file, path)


def _step(values: np.ndarray, name: str) -> float:
    if len(values) < 2:
        raise CubeError(
            f"'{name}' has {len(values)} values: expected at least 2, whose distance is the size of a pixel"
        )
    # by (n - 1): the outer centres are one pixel less apart than the edges
    step = (values[-1] - values[0]) / (len(values) - 1)
    off = np.abs(values - (values[0] + step * np.arange(len(values)))).max()
    # coordinates in float32 have 7 digits
    if off > max(0.01 * abs(step), 4e-7 * np.abs(values).max()):
        raise CubeError(f"'{name}' is not evenly spaced: off by {off:.3g} at steps of {step:.6g}")
    return float(step)
