"""Copernicus Global Land Service, 1 km, Europe: surface soil moisture (SSM) and soil water index (SWI).

Reads `ssm` with its noise, or one `SWI_*` variable, in percent of saturation. Stored bytes above 200 are codes of masks
(water, terrain, low sensitivity, ...), see `CODES`.

Reference: attributes `flag_values` and `flag_meanings` of the files; CGLS, product user manuals of SSM 1 km and SWI 1
km.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import PERCENT, REASON_ATTRS, Reason, north_up, reasons

PATTERNS = ("c_gls_SSM1km_*.nc", "c_gls_SWI1km_*.nc")
LARGEST = 200
CODES = {
    Reason.WATER: (251,),
    Reason.TERRAIN: (253,),
    Reason.OUT_OF_RANGE: (241, 242),
    Reason.NOT_RECOMMENDED: (252, 254),  # low sensitivity to soil moisture, low quality
}
FROZEN = 2  # of the surface state flag


def files(paths: Sequence[Path], variable: str = "ssm") -> Files:
    """Return the times of the files that have the variable, dated by their names.

    Args:
        paths: Files of the product, in any order.
        variable: 'ssm', or one of the SWI as 'SWI_005' or 'SWI_040' (characteristic time in days).

    Returns:
        The SSM or the SWI files.

    Raises:
        SourceError: If no file is of that kind.
    """
    # a folder may hold both products
    kind = "SWI1km" if variable.upper().startswith("SWI") else "SSM1km"
    used = [path for path in paths if f"_{kind}_" in path.name]
    if not used:
        raise SourceError(f"cgls: no {kind} file for variable '{variable}' among {len(paths)} files: {paths[0]}")
    return Files("cgls", dated(used, r"1km_(\d{12})_", "%Y%m%d%H%M"), partial(read, variable=variable))


def read(path: Path, steps: slice, variable: str = "ssm") -> xr.Dataset:
    """Read one time.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        variable: As in `files`.

    Returns:
        `sm` in percent of saturation, `sm_reason` and `flag` (the code, 0 = none), of SSM also `sm_uncertainty` in
        percent; dims (time, lat, lon).

    Raises:
        SourceError: If the file lacks the variable.
    """
    # codes would be lost among the fill values if xarray decoded the bytes
    with xr.open_dataset(path, mask_and_scale=False) as raw:
        if variable not in raw:
            raise SourceError(f"{path}: no variable '{variable}', found {sorted(str(n) for n in raw.data_vars)}")
        code = _codes(raw[variable])
        sm = _percent(raw[variable])
        tests = {reason: np.isin(code, codes) for reason, codes in CODES.items()}
        # the surface state flag exists in files of the soil water index only
        if "SSF" in raw:
            # the soil water index is carried on over frozen soil
            tests[Reason.FROZEN] = _codes(raw["SSF"]) == FROZEN
        flag = {"long_name": "code of what is masked", "role": "flag", "missing": 255}
        maps = {
            "sm": (sm, PERCENT),
            "sm_reason": (reasons(sm, tests, high=100.0), REASON_ATTRS),
            "flag": (np.where(code > LARGEST, code, 0).astype(np.uint8), flag),
        }
        if f"{variable}_noise" in raw:
            maps["sm_uncertainty"] = (_percent(raw[f"{variable}_noise"]), {"units": "percent", "long_name": "noise"})
        coords = {"time": raw["time"].values, "lat": raw["lat"].values, "lon": raw["lon"].values}
        version = str(raw.attrs.get("product_version", ""))
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product=f"CGLS {variable} 1 km", product_version=version))


def _codes(variable: xr.DataArray) -> np.ndarray:
    """Return the stored bytes as uint8."""
    # bytes are marked _Unsigned, and may be stored as signed ones
    return np.asarray(variable.values).astype(np.uint8)


def _percent(variable: xr.DataArray) -> np.ndarray:
    """Return percent (float32), NaN where the byte is a code."""
    code = _codes(variable)
    values = code * np.float32(variable.attrs.get("scale_factor", 1.0))
    return np.where(code > LARGEST, np.float32(np.nan), values.astype(np.float32))
