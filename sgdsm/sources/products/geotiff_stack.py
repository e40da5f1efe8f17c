"""Dated GeoTIFFs with one map each: any product that is stored so.

Values are multiplied by the scale of the file, plus its offset, and then by the option `scale`. Soil moisture (`sm`, in
m3 m-3 or percent of saturation) gets `sm_reason` too. The units of other variables are those of the options.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import M3, PERCENT, REASON_ATTRS, north_up, reasons
from sgdsm.sources.readers.packed import refuse_fills
from sgdsm.sources.readers.raster import driver

PATTERNS = ("*.tif", "*.tiff", "*.TIF")
UNITS = {"m3 m-3": (M3, 1.0), "percent": (PERCENT, 100.0)}


def files(
    paths: Sequence[Path],
    variable: str = "sm",
    units: str = "m3 m-3",
    date: str = r"(\d{8})",
    date_form: str = "%Y%m%d",
    band: int = 1,
    scale: float = 1.0,
    nodata: float | None = None,
) -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        variable: Our name of the variable; 'sm' is soil moisture.
        units: Units of the scaled values.
        date: Regular expression whose first group is the date in the file name.
        date_form: Format of that date, as for `strptime`.
        band: Number of the band, from 1.
        scale: Factor by which values are multiplied after the file's own scale and offset.
        nodata: Stored number that means missing, besides the one that the file declares.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If the units do not fit soil moisture, or a name has no date.
    """
    # the range of real values is known for these units only
    if variable == "sm" and units not in UNITS:
        raise SourceError(
            f"geotiff_stack: units '{units}' of soil moisture, expected 'm3 m-3' or 'percent' (see scale)"
        )
    found = dated(paths, date, date_form)
    times = {file.path: file.times for file in found}

    def read_(path: Path, steps: slice) -> xr.Dataset:
        return read(path, variable, units, band, scale, nodata).expand_dims(time=times[path])

    return Files("geotiff_stack", found, read_)


def read(path: Path, variable: str, units: str, band: int, scale: float, nodata: float | None) -> xr.Dataset:
    """Read a band of a file as a map.

    Args:
        path: File to read.
        variable: As in `files`.
        units: As in `files`.
        band: As in `files`.
        scale: As in `files`.
        nodata: As in `files`.

    Returns:
        The variable with dims (lat, lon), or (y, x) and the attribute `crs` if the CRS is projected; `sm` with
        `sm_reason`.

    Raises:
        SourceError: If the file has no CRS, a rotated grid or not that band, or if scaled values hold an undeclared
            fill value.
    """
    import rasterio

    with rasterio.open(path, driver=driver(path)) as file:
        if file.crs is None or file.transform.b or file.transform.d:
            raise SourceError(f"{path}: no CRS, or a rotated grid ({file.crs}), expected a georeferenced map")
        if not 1 <= band <= file.count:
            raise SourceError(f"{path}: band {band}, found {file.count}")
        raw = file.read(band)
        values = raw * file.scales[band - 1] + file.offsets[band - 1]
        values = np.where(_missing(raw, (file.nodatavals[band - 1], nodata)), np.nan, values)
        if scale != 1.0:
            # -9999 is hard to recognize after it has been scaled
            _refuse_fills(path, band, values)
        values = (values * scale).astype(np.float32)
        # centres of the cells
        x = file.transform.c + file.transform.a * (np.arange(file.width) + 0.5)
        y = file.transform.f + file.transform.e * (np.arange(file.height) + 0.5)
        # x and y in metres need the CRS; latitudes and longitudes do not
        projected, crs = file.crs.is_projected, file.crs.to_string()
    rows, columns = ("y", "x") if projected else ("lat", "lon")
    attrs, largest = UNITS[units] if variable == "sm" else ({"units": units}, np.inf)
    maps: dict[str, Any] = {variable: ((rows, columns), values, attrs)}
    if variable == "sm":
        maps["sm_reason"] = ((rows, columns), reasons(values, {}, high=largest), REASON_ATTRS)
    dataset = xr.Dataset(maps, {rows: y, columns: x}, {"product": "GeoTIFF", **({"crs": crs} if projected else {})})
    return north_up(dataset)


def _refuse_fills(path: Path, band: int, values: np.ndarray) -> None:
    """Raise SourceError if a band holds an undeclared fill value."""
    try:
        refuse_fills(values.astype(np.float32), f"band {band}")
    except CubeError as error:
        raise SourceError(f"{path}: {error}, or say the option nodata") from error


def _missing(raw: np.ndarray, codes: Sequence[float | None]) -> np.ndarray:
    """Return True where a stored value (H, W) is one of the codes for missing, or not finite."""
    missing = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
    for code in codes:
        if code is not None:
            # large codes such as -3.4e38 are declared with fewer digits than the values have
            missing |= np.isclose(raw, code, rtol=1e-6, atol=0)
    return missing
