"""Maps of classes without time, as GeoTIFF, JPEG 2000 or NetCDF: land cover, climate zones, soil types.

Class numbers are read as they are stored (ESA CCI land cover, MODIS MCD12 IGBP, Koeppen-Geiger, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import File, Files
from sgdsm.sources.readers.raster import PATTERNS, layer

__all__ = ["PATTERNS", "files"]


def files(
    paths: Sequence[Path],
    label: str = "land_cover",
    variable: str | None = None,
    bbox: Sequence[float] | None = None,
) -> Files:
    """Return one map of classes without time.

    The attribute `kind` of the variable is 'class'; `missing` is the number that stands for no class, if the file
    declares it; `flag_values` and `flag_meanings` are those of the file.

    Args:
        paths: The file with the map.
        label: Our name of the variable, as 'land_cover' or 'climate_zone'.
        variable: Variable of a NetCDF file; may be omitted if the file has only one map.
        bbox: West, south, east, north of the part to read, in the coordinates of the file.

    Returns:
        The file; reading raises a SourceError if it does not hold whole numbers.
    """

    def read(path: Path, steps: slice) -> xr.Dataset:
        stored = layer(path, variable, bbox)
        # floats would be a measured quantity, or classes after interpolation
        if stored.dtype.kind not in "iu":
            raise ValueError(f"it holds {stored.dtype}, expected whole numbers of classes")
        attrs: dict[str, Any] = {"kind": "class", "units": "1", "long_name": label.replace("_", " ")}
        attrs |= {k: stored.attrs[k] for k in ("flag_values", "flag_meanings") if k in stored.attrs}
        # not masked with NaN, which whole numbers do not have
        if "_FillValue" in stored.attrs:
            attrs["missing"] = int(stored.attrs["_FillValue"])
        crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
        stored.attrs = attrs
        return stored.to_dataset(name=label).assign_attrs(crs)

    return Files("class_map", [File(path, np.array([], "datetime64[ns]")) for path in paths], read)
