"""Reading of maps onto a part of a grid: by window where the pixels are the same, else by GDAL's warping."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.downscaling.raster_grid import RasterGrid, image_grid, opened_image, same_crs

Resampling = Literal["nearest", "bilinear", "average"]
SAME = 1e-3  # of a pixel: what is nearer than this is the same place


def read_image(
    path: Path,
    band: str | int,
    part: RasterGrid,
    resampling: Resampling,
    nodata: float | None = None,
    undeclared: float | None = None,
) -> np.ndarray:
    """Return a band of an image on some pixels of a grid, (H, W) float32, NaN where it is missing.

    Args:
        path: The image.
        band: Its number from 1, or its description.
        part: The pixels.
        resampling: Used where the image has other pixels.
        nodata: Number that stands for missing; None: as the file declares it.
        undeclared: The same, where the file declares none.

    Raises:
        CubeError: The file cannot be read, or lacks the band.
    """
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    with opened_image(path) as file:
        number = band_number(file, band, path)
        declared = file.nodatavals[number - 1] if nodata is None else nodata
        fill = undeclared if declared is None else declared
        scale, add = file.scales[number - 1], file.offsets[number - 1]
        own = image_grid(file, path)
        try:
            place = offset_in(own, part) if file.transform.e < 0 else None
            if place is None:
                values = _warped(file, number, fill, own, part, resampling)
            else:
                values = np.full(part.shape, np.nan, np.float32)
                rows, columns = (
                    slice(max(first, 0), min(first + count, size))
                    for first, count, size in zip(place, part.shape, own.shape, strict=True)
                )
                if rows.start < rows.stop and columns.start < columns.stop:
                    window = Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
                    stored = file.read(number, window=window)
                    inside = (
                        slice(rows.start - place[0], rows.stop - place[0]),
                        slice(columns.start - place[1], columns.stop - place[1]),
                    )
                    values[inside] = _without(stored, fill)
        except RasterioError as error:
            raise CubeError(f"{path}: cannot be read: {' '.join(str(error).split())[:150]}") from error
    if scale != 1.0 or add != 0.0:
        values = values * np.float32(scale) + np.float32(add)
    return values


def band_number(file: Any, band: str | int, path: Path) -> int:
    """Return the number of a band of an open image; CubeError where it has no such band.

    Args:
        file: As rasterio opens it.
        band: Number from 1, or description; '' is the only band.
        path: For messages.
    """
    if band == "" and file.count == 1:
        return 1
    if isinstance(band, int) and 1 <= band <= file.count:
        return band
    names = [name or "" for name in file.descriptions]
    if isinstance(band, str) and band and names.count(band) == 1:
        return names.index(band) + 1
    there = ", ".join(name for name in names if name) or f"{file.count} without names"
    raise CubeError(f"{path}: no band {band!r}; its bands are {there}")


def offset_in(own: RasterGrid, part: RasterGrid) -> tuple[int, int] | None:
    """Return row and column of `own` where `part` begins; None where their pixels are not the same."""
    if not same_crs(own.crs, part.crs):
        return None
    if abs(own.width / part.width - 1) > 1e-9 or abs(own.height / part.height - 1) > 1e-9:
        return None
    row, column = (own.top - part.top) / own.height, (part.left - own.left) / own.width
    if max(abs(row - round(row)), abs(column - round(column))) > SAME:
        return None
    return round(row), round(column)


def read_map(array: xr.DataArray, own: RasterGrid, part: RasterGrid, resampling: Resampling) -> np.ndarray:
    """Return a map of a NetCDF or Zarr file on some pixels of a grid, (H, W) float32.

    Args:
        array: Lazy, (rows, columns), from the north or from the south; NaN is missing.
        own: Its grid.
        part: The pixels.
        resampling: How.
    """
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(part.crs, own.crs, *part.bounds)
    # two more cells on each side, for the interpolation
    first_row, last_row = int((own.top - north) // own.height) - 2, int((own.top - south) // own.height) + 3
    first, last = int((west - own.left) // own.width) - 2, int((east - own.left) // own.width) + 3
    rows = slice(max(first_row, 0), min(last_row, own.rows))
    columns = slice(max(first, 0), min(last, own.columns))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return np.full(part.shape, np.nan, np.float32)
    axis = array.dims[0]
    if array.sizes[axis] > 1 and array[axis].values[0] < array[axis].values[-1]:
        array = array.isel({axis: slice(None, None, -1)})
    values = np.asarray(array[rows, columns].values, np.float32)
    cut = own.part(rows, columns)
    place = offset_in(own, part)
    if place is not None and resampling != "average":
        resampling = "nearest"
    return _reprojected(values, cut, part, resampling)


def check_overlap(own: RasterGrid, grid: RasterGrid, path: Path | str) -> None:
    """Raise CubeError if a map lies beside the grid.

    Args:
        own: Of the map.
        grid: The grid.
        path: Of the map, for the message.
    """
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(grid.crs, own.crs, *grid.bounds)
    left, bottom, right, top = own.bounds
    if east <= left or west >= right or north <= bottom or south >= top:
        raise CubeError(
            f"{path}: lies beside the grid: it spans {left:g} to {right:g} and {bottom:g} to {top:g}, the grid "
            f"{west:g} to {east:g} and {south:g} to {north:g} in the same CRS"
        )


def _warped(
    file: Any, number: int, fill: float | None, own: RasterGrid, part: RasterGrid, resampling: Resampling
) -> np.ndarray:
    import rasterio
    from rasterio.warp import Resampling as Methods
    from rasterio.warp import reproject

    values = np.full(part.shape, np.nan, np.float32)
    # GDAL reads what it needs of the image only; what lies outside stays NaN
    reproject(
        rasterio.band(file, number),
        values,
        src_transform=file.transform,
        src_crs=own.crs,
        src_nodata=fill,
        dst_transform=part.transform,
        dst_crs=part.crs,
        dst_nodata=np.nan,
        resampling=Methods[resampling],
    )
    return values


def _reprojected(values: np.ndarray, own: RasterGrid, part: RasterGrid, resampling: Resampling) -> np.ndarray:
    from rasterio.warp import Resampling as Methods
    from rasterio.warp import reproject

    found = np.full(part.shape, np.nan, np.float32)
    reproject(
        values,
        found,
        src_transform=own.transform,
        src_crs=own.crs,
        src_nodata=np.nan,
        dst_transform=part.transform,
        dst_crs=part.crs,
        dst_nodata=np.nan,
        resampling=Methods[resampling],
    )
    return found


def _without(stored: np.ndarray, fill: float | None) -> np.ndarray:
    """Return stored numbers as float32, the fill value as NaN."""
    values = stored.astype(np.float32)
    if fill is not None and np.isfinite(fill):
        # large codes such as -3.4e38 are declared with fewer digits than the values have
        values[np.isclose(stored.astype(np.float64), fill, rtol=1e-6, atol=0)] = np.nan
    return values
