"""Elevation maps (ETOPO, GMTED, SRTM mosaics, ...): one GeoTIFF or NetCDF file; the sea floor is kept."""

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
    """One map without time. variable: of a NetCDF file with several. bbox: west, south, east, north of what is read."""

    def read(path: Path, steps: slice) -> xr.Dataset:
        stored = layer(path, variable, bbox)
        if str(stored.attrs.get("units", "")).lower() not in METRES:
            raise ValueError(f"its units are '{stored.attrs['units']}', expected metres")
        attrs = {"units": "m", "standard_name": "surface_altitude", "long_name": "elevation"}
        elevation = stored.copy(data=unpacked(stored.values, stored.attrs, variable or "elevation"))
        elevation.attrs = attrs
        crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
        return elevation.to_dataset(name="elevation").assign_attrs(crs)

    return Files("dem", [File(path, np.array([], "datetime64[ns]")) for path in paths], read)
