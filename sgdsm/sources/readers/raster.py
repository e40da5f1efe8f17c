"""One map of a GeoTIFF, JPEG 2000 or NetCDF file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.netcdf3 import whole
from sgdsm.sources.readers.packed import once_around, with_axes

IMAGES = (".tif", ".tiff", ".jp2", ".vrt", ".bil", ".img")
DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".bil": "EHdr", ".vrt": "VRT"}
PATTERNS = tuple(f"*{end}" for end in (".nc", ".nc4", ".cdf", ".tif", ".tiff", ".jp2"))


def layer(path: Path, variable: str | None = None, bbox: Sequence[float] | None = None) -> xr.DataArray:
    """Read a map as it is stored (packed numbers, fill values), north first.

    Args:
        path: The file.
        variable: Variable of a NetCDF file; may be omitted if it has only one map.
        bbox: West, south, east, north in the coordinates of the file: only that part is read.

    Returns:
        Dims (lat, lon) or (y, x), with the attributes of the file; of an image `_FillValue` and, unless its coordinates
        are geographic, `crs` (WKT).

    Raises:
        KeyError: If the file lacks the variable.
        ValueError: If it has no such map, or no cell within `bbox`.
    """
    stored = _image(path, bbox) if path.suffix.lower() in IMAGES else _netcdf(path, variable, bbox)
    name = "layer"
    return north_up(once_around(stored.to_dataset(name=name)))[name]


def driver(path: Path) -> str | None:
    """Return the GDAL driver to read an image with; None for GDAL's own choice.

    GDAL's own choice depends on the contents of a file, which may be a list of other files and of addresses. Such a
    list is accepted only from a user who names a .vrt file.

    Args:
        path: The image.
    """
    suffix = path.suffix.lower()
    if suffix == ".img":
        with path.open("rb") as stream:
            return "HFA" if stream.read(4) == b"EHFA" else "ENVI"
    return DRIVERS.get(suffix)


def _image(path: Path, bbox: Sequence[float] | None) -> xr.DataArray:
    """Read a map of an image.

    Raises:
        ValueError: If the grid is rotated.
    """
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path, driver=driver(path)) as file:
        # a and e are the sizes of a cell, c and f the corner of the first one, b and d a rotation
        move = file.transform
        if move.b or move.d:
            raise ValueError(f"its grid is turned: {tuple(move)[:6]}")
        columns = move.c + move.a * (np.arange(file.width) + 0.5)
        rows = move.f + move.e * (np.arange(file.height) + 0.5)
        take_rows, take_columns = _within(rows, columns, bbox)
        window = Window.from_slices(
            (take_rows.start, take_rows.stop),
            (take_columns.start, take_columns.stop),
            height=file.height,
            width=file.width,
        )
        # only the window is read: a global map of 100 m has 80 GB
        values = file.read(1, window=window)
        # world files without a CRS are mostly in degrees
        degrees = file.crs is None or file.crs.is_geographic
        attrs: dict[str, Any] = {} if degrees else {"crs": file.crs.to_wkt()}
        if file.nodata is not None:
            attrs["_FillValue"] = file.nodata
        if file.scales[0] != 1.0 or file.offsets[0] != 0.0:
            attrs |= {"scale_factor": file.scales[0], "add_offset": file.offsets[0]}
    dims = ("lat", "lon") if degrees else ("y", "x")
    return xr.DataArray(values, {dims[0]: rows[take_rows], dims[1]: columns[take_columns]}, dims, attrs=attrs)


def _netcdf(path: Path, variable: str | None, bbox: Sequence[float] | None) -> xr.DataArray:
    """Read a map of a NetCDF file.

    Raises:
        KeyError: If the file lacks the variable.
        ValueError: If the variable is no map, or must be named because there are several.
    """
    whole(path)
    options: dict[str, Any] = {"engine": "netcdf4", "decode_times": False, "mask_and_scale": False}
    with xr.open_dataset(path, **options) as file:
        # axes of length 1 do not make a map a series
        maps = [str(n) for n, v in file.data_vars.items() if sum(size > 1 for size in v.shape) == 2]
        if variable is None and not maps:
            raise ValueError(f"it has no map (rows, columns) among {list(map(str, file.variables))}")
        if variable is None and len(maps) != 1:
            raise ValueError(f"it has the maps {maps}: say which one is meant by `variable`")
        name = variable or maps[0]
        if name not in file:
            raise KeyError(f"no variable '{name}', there are {', '.join(map(str, file.data_vars))}")
        array = with_axes(file[name])
        array = array.isel({d: 0 for d in array.dims if d not in ("lat", "lon", "y", "x") and array.sizes[d] == 1})
        dims = ("lat", "lon") if "lat" in array.dims else ("y", "x")
        if set(array.dims) != set(dims):
            raise ValueError(f"{name} has dimensions {dict(array.sizes)}, expected a map")
        array = array.transpose(*dims)
        rows, columns = (np.asarray(array[dim].values) for dim in dims)
        take_rows, take_columns = _within(rows, columns, bbox)
        values = np.asarray(array[take_rows, take_columns].values)
        attrs = dict(array.attrs)
    if str(attrs.pop("_Unsigned", "")).lower() == "true" and values.dtype.kind == "i":
        values = values.view(values.dtype.str.replace("i", "u"))
    return xr.DataArray(values, {dims[0]: rows[take_rows], dims[1]: columns[take_columns]}, dims, attrs=attrs)


def _within(rows: np.ndarray, columns: np.ndarray, bbox: Sequence[float] | None) -> tuple[slice, slice]:
    """Return the rows and the columns within a box (west, south, east, north).

    Raises:
        ValueError: If there are none.
    """
    if bbox is None:
        return slice(0, len(rows)), slice(0, len(columns))
    west, south, east, north = bbox
    slices = []
    for axis, low, high in ((rows, south, north), (columns, west, east)):
        inside = np.flatnonzero((axis >= low) & (axis <= high))
        if not inside.size:
            raise ValueError(f"no cell within bbox={list(bbox)}: it spans {axis.min():.3f} to {axis.max():.3f}")
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return slices[0], slices[1]
