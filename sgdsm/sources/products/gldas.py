"""GLDAS-2 Noah soil moisture of GES DISC, three-hourly NetCDF (nc4), 0.25 and 1 degree, as m3 m-3.

Reads `SoilMoi<layer>cm_inst`, the state at a time, not a mean. Water in a layer (kg m-2) divided by its depth is m3
m-3.

Reference: Rodell et al. (2004), doi 10.1175/BAMS-85-3-381; README of GLDAS version 2.
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
    """Return the times of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        layer: Top and bottom of the soil layer in cm: '0_10', '10_40', '40_100' or '100_200'.

    Returns:
        The files, one time each.

    Raises:
        SourceError: If the layer is unknown, a file is GRIB, or a name has no date.
    """
    if layer not in DEPTHS_CM:
        raise SourceError(f"gldas: layer '{layer}', expected one of {', '.join(DEPTHS_CM)}")
    for path in paths:
        # GLDAS-1, and old downloads of GLDAS-2, are GRIB
        if path.suffix.lower() in (".grb", ".grib", ".grb2"):
            raise SourceError(f"{path}: GRIB is not read, expected NetCDF (.nc4), which GES DISC has for all GLDAS-2")
    # EP: early product, before the forcing is final
    found = dated(paths, r"_3H(?:_EP)?\.A(\d{8}\.\d{4})\.", "%Y%m%d.%H%M")
    return Files("gldas", found, partial(read, layer=layer))


def read(path: Path, steps: slice, layer: str = "0_10") -> xr.Dataset:
    """Read one time.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        layer: As in `files`.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, dims (time, lat, lon).

    Raises:
        CubeError: If the values hold an undeclared fill value.
    """
    with xr.open_dataset(path) as raw:
        # inst: the state at the time of the file
        water = raw[f"SoilMoi{layer}cm_inst"]
        values = np.asarray(water.values, np.float32)
        # -9999 divided by the depth would not be recognized
        refuse_fills(values, str(water.name))
        sm = values / np.float32(WATER_KG_M3 * DEPTHS_CM[layer] / 100)
        coords = {"time": raw["time"].values, "lat": raw["lat"].values, "lon": raw["lon"].values}
    maps = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"GLDAS-2 Noah soil moisture, {layer.replace('_', ' to ')} cm"))
