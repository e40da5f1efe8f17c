"""Maps of classes: land cover (ESA CCI, MODIS IGBP, ...), climate zones (Koeppen-Geiger), as GeoTIFF or NetCDF."""

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
    """One map without time, whole numbers as they are stored. label: our name, as land_cover or climate_zone. variable:
    of a NetCDF file with several. bbox: west, south, east, north of what is read.

    The attribute `kind` is 'class'; `missing` is the number that stands for no class, where the file says it;
    `flag_values` and `flag_meanings` are the file's.
    """

    def read(path: Path, steps: slice) -> xr.Dataset:
        stored = layer(path, variable, bbox)
        if stored.dtype.kind not in "iu":
            raise ValueError(f"it holds {stored.dtype}, expected whole numbers of classes")
        attrs: dict[str, Any] = {"kind": "class", "units": "1", "long_name": label.replace("_", " ")}
        attrs |= {k: stored.attrs[k] for k in ("flag_values", "flag_meanings") if k in stored.attrs}
        if "_FillValue" in stored.attrs:
            attrs["missing"] = int(stored.attrs["_FillValue"])
        crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
        stored.attrs = attrs
        return stored.to_dataset(name=label).assign_attrs(crs)

    return Files("class_map", [File(path, np.array([], "datetime64[ns]")) for path in paths], read)
