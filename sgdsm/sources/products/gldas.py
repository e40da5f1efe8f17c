"""GLDAS-2 Noah soil moisture, three-hourly, NetCDF (nc4) of GES DISC, 0.25 and 1 degree.

Option layer: top and bottom of the soil layer in cm, as in the names of the variables ("0_10", "10_40", ...). Water in
a layer (kg m-2) over its depth is m3 m-3. Facts: GLDAS-2 README.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, north_up, reasons
from sgdsm.sources.readers.packed import refuse_fills

PATTERNS = ("GLDAS_NOAH*_3H*.nc4",)
DEPTHS_CM = {"0_10": 10.0, "10_40": 30.0, "40_100": 60.0, "100_200": 100.0}
WATER_KG_M3 = 1000.0


def files(paths: Sequence[Path], layer: str = "0_10") -> Files:
    """The times of the files, told by their names."""
    if layer not in DEPTHS_CM:
        raise SourceError(f"gldas: layer '{layer}', expected one of {', '.join(DEPTHS_CM)}")
    for path in paths:
        if path.suffix.lower() in (".grb", ".grib", ".grb2"):
            raise SourceError(f"{path}: GRIB is not read, expected NetCDF (.nc4), which GES DISC has for all GLDAS-2")
    found = dated(paths, r"_3H(?:_EP)?\.A(\d{8}\.\d{4})\.", "%Y%m%d.%H%M")
    return Files("gldas", found, partial(read, layer=layer))


def read(path: Path, steps: slice, layer: str = "0_10") -> xr.Dataset:
    """`sm` and `sm_reason` of a time: the state at that time, not a mean."""
    with xr.open_dataset(path) as raw:
        water = raw[f"SoilMoi{layer}cm_inst"]
        values = np.asarray(water.values, np.float32)
        refuse_fills(values, str(water.name))
        sm = values / np.float32(WATER_KG_M3 * DEPTHS_CM[layer] / 100)
        coords = {"time": raw["time"].values, "lat": raw["lat"].values, "lon": raw["lon"].values}
    maps = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"GLDAS-2 Noah soil moisture, {layer.replace('_', ' to ')} cm"))
