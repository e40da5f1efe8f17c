"""SGD-SM: AMSR2 soil moisture with its gaps filled, daily, 0.25 degree.

Zhang et al. (2021), doi 10.5194/essd-13-1385-2021. Files `LPRM_AMSR2_<date>.nc` with `original_sm_c1` and
`reconstructed_sm_c1` (Latitude, Longitude) in whole percent by volume. Option filled: False leaves out what the product
filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import Files, Unfit, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, Reason, north_up, reasons

PATTERNS = ("LPRM_AMSR2_*.nc",)
DATE = r"(\d{8})\.nc$"


def files(paths: Sequence[Path], filled: bool = True) -> Files:
    """The days of the files, told by their names."""
    return Files("sgd_sm", dated(paths, DATE), partial(read, filled=filled))


def read(path: Path, steps: slice, filled: bool = True) -> xr.Dataset:
    """`sm`, which is the original value where there is one, and `sm_reason` of a day."""
    with xr.open_dataset(path) as raw:
        if not {"Latitude", "Longitude"} <= set(raw.dims):
            raise Unfit(f"has the dimensions {[str(d) for d in raw.dims]}, expected Latitude and Longitude")
        raw = raw.transpose("Latitude", "Longitude")
        original, reconstructed = (_volumetric(raw[n]) for n in ("original_sm_c1", "reconstructed_sm_c1"))
        coords = {"time": dated([path], DATE)[0].times, "lat": raw["Latitude"].values, "lon": raw["Longitude"].values}
    gap = np.isnan(original) & np.isfinite(reconstructed)
    sm = np.where(gap, reconstructed, original) if filled else original
    reason = reasons(sm, {Reason.GAP_FILLED: gap} if filled else {})
    maps = {"sm": (sm, M3), "sm_reason": (reason, REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v[None], a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product="SGD-SM"))


def _volumetric(variable: xr.DataArray) -> np.ndarray:
    values = np.asarray(variable.values, np.float32)
    # besides the fill value there are integers made of NaN and of infinity
    values[~(values >= 0)] = np.nan
    return values / np.float32(100)
