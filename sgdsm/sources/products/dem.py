"""Elevation maps without time (ETOPO, GMTED, SRTM mosaics, ...): one GeoTIFF, JPEG 2000 or NetCDF file, m.

Heights below sea level, and so the sea floor, are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import File, Files
from sgdsm.sources.readers.packed import unpacked
from sgdsm.sources.readers.raster import PATTERNS, layer

__all__ = ["PATTERNS", "files"]
METRES = ("m", "meter", "meters", "metre", "metres", "")


def files(paths: Sequence[Path], variable: str | None = None, bbox: Sequence[float] | None = None) -> Files:
    """Return one map of elevation without time.

    Args:
        paths: The file with the map.
        variable: Variable of a NetCDF file; may be omitted if the file has only one map.
        bbox: West, south, east, north of the part to read, in the coordinates of the file.

    Returns:
        The file; its variable is `elevation` in m. Reading raises a SourceError if the units of the file are not metres
        or the map holds an undeclared fill value.
    """

    def read(path: Path, steps: slice) -> xr.Dataset:
        stored = layer(path, variable, bbox)
        # feet, or kilometres, would go unnoticed
        if str(stored.attrs.get("units", "")).lower() not in METRES:
            raise ValueError(f"its units are '{stored.attrs['units']}', expected metres")
        attrs = {"units": "m", "standard_name": "surface_altitude", "long_name": "elevation"}
        elevation = stored.copy(data=unpacked(stored.values, stored.attrs, variable or "elevation"))
        elevation.attrs = attrs
        crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
        return elevation.to_dataset(name="elevation").assign_attrs(crs)

    return Files("dem", [File(path, np.array([], "datetime64[ns]")) for path in paths], read)
