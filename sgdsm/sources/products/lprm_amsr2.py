"""LPRM soil moisture of AMSR2 and AMSR-E, L3, daily, 25 km and 10 km NetCDF of GES DISC.

Reads `soil_moisture_<band>` (Longitude, Latitude) and its error; percent by volume become m3 m-3. The `mask` of the
files is returned as `flag` and rejects nothing: its codes are not documented.

Reference: Owe et al. (2008), doi 10.1029/2007JF000769; GES DISC, documentation of LPRM_AMSR2_A_SOILM3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import Files, SourceError, Unfit, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, north_up, reasons
from sgdsm.sources.readers.passes import mean_of_passes, of_overpass

PATTERNS = ("LPRM-AMSR*_L3_*SOILM3*.nc*",)
DATE = r"_SOILM3_V\d+_(\d{8})"
PASS = r"_([AD])_SOILM3_V\d+_(\d{8})"
BANDS = ("c1", "c2", "c", "x")
FLAG_MISSING = -32767


def files(paths: Sequence[Path], band: str = "c1", overpass: str = "both") -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        band: 'c1' or 'c2' (AMSR2: 6.9 and 7.3 GHz), 'c' (AMSR-E) or 'x' (10.7 GHz).
        overpass: 'am' (descending, 01:30), 'pm' (ascending, 13:30), or 'both' for their mean.

    Returns:
        The files of the overpass.

    Raises:
        SourceError: If band or overpass is unknown, no file is of the overpass, or two files hold the same pass.
    """
    if band not in BANDS:
        raise SourceError(f"lprm_amsr2: band '{band}', expected one of {', '.join(BANDS)}")
    used = of_overpass("lprm_amsr2", paths, overpass, {"am": "_D_SOILM3_", "pm": "_A_SOILM3_"}, PASS)
    return Files("lprm_amsr2", dated(used, DATE), partial(read, band=band), mean_of_passes)


def read(path: Path, steps: slice, band: str = "c1") -> xr.Dataset:
    """Read a pass.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        band: As in `files`.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, and if the file has them `sm_uncertainty` and `flag`; dims (time, lat, lon).

    Raises:
        Unfit: If the file has other dimensions.
        SourceError: If the file lacks the band.
    """
    name = f"soil_moisture_{band}"
    with xr.open_dataset(path, decode_times=False) as raw:
        # the order of the dims differs between versions, their names do not
        if not {"Latitude", "Longitude"} <= set(raw.dims):
            raise Unfit(f"has the dimensions {[str(d) for d in raw.dims]}, expected Latitude and Longitude")
        raw = raw.transpose("Latitude", "Longitude", ...)
        if name not in raw:
            bands = sorted(str(n) for n in raw if str(n).startswith("soil_moisture_"))
            raise SourceError(f"{path}: no variable '{name}', found {bands}")
        sm = _volumetric(raw[name])
        fields = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
        if f"{name}_error" in raw:
            attrs = {"units": "m3 m-3", "long_name": "uncertainty of soil moisture"}
            fields["sm_uncertainty"] = (_volumetric(raw[f"{name}_error"]), attrs)
        if "mask" in raw:
            mask = np.nan_to_num(raw["mask"].values, nan=FLAG_MISSING).astype(np.int16)
            fields["flag"] = (mask, {"long_name": "mask of the product", "role": "flag", "missing": FLAG_MISSING})
        coords = {"time": dated([path], DATE)[0].times, "lat": raw["Latitude"].values, "lon": raw["Longitude"].values}
    maps = {n: (("time", "lat", "lon"), values[None], attrs) for n, (values, attrs) in fields.items()}
    return north_up(xr.Dataset(maps, coords, {"product": f"LPRM soil moisture, band {band}"}))


def _volumetric(variable: xr.DataArray) -> np.ndarray:
    """Return m3 m-3 (float32); codes below -1 become NaN."""
    values = np.asarray(variable.values, np.float32)
    with np.errstate(invalid="ignore"):
        # -1 and above are values of the retrieval, which may be negative by noise
        values = np.where(values < -1, np.float32(np.nan), values)
    return values / np.float32(100) if variable.attrs.get("units") in ("percent", "%") else values
