"""SGD-SM: gap-filled AMSR2 soil moisture, daily, 0.25 degree.

Reads `original_sm_c1` and `reconstructed_sm_c1` (Latitude, Longitude) of files `LPRM_AMSR2_<date>.nc`; whole percent by
volume become m3 m-3.

Reference: Zhang et al. (2021), doi 10.5194/essd-13-1385-2021.
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
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        filled: False leaves out the values that the product filled.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If a name has no date.
    """
    return Files("sgd_sm", dated(paths, DATE), partial(read, filled=filled))


def read(path: Path, steps: slice, filled: bool = True) -> xr.Dataset:
    """Read a day.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        filled: As in `files`.

    Returns:
        `sm` in m3 m-3, the original value if there is one, and `sm_reason`; dims (time, lat, lon).

    Raises:
        Unfit: If the file has other dimensions.
    """
    with xr.open_dataset(path) as raw:
        if not {"Latitude", "Longitude"} <= set(raw.dims):
            raise Unfit(f"has the dimensions {[str(d) for d in raw.dims]}, expected Latitude and Longitude")
        raw = raw.transpose("Latitude", "Longitude")
        original, reconstructed = (_volumetric(raw[n]) for n in ("original_sm_c1", "reconstructed_sm_c1"))
        coords = {"time": dated([path], DATE)[0].times, "lat": raw["Latitude"].values, "lon": raw["Longitude"].values}
    # the product keeps its original values beside the reconstruction, so both can be distinguished
    gap = np.isnan(original) & np.isfinite(reconstructed)
    sm = np.where(gap, reconstructed, original) if filled else original
    reason = reasons(sm, {Reason.GAP_FILLED: gap} if filled else {})
    maps = {"sm": (sm, M3), "sm_reason": (reason, REASON_ATTRS)}
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v[None], a) for n, (v, a) in maps.items()}, coords)
    return north_up(dataset.assign_attrs(product="SGD-SM"))


def _volumetric(variable: xr.DataArray) -> np.ndarray:
    """Return m3 m-3 (float32), NaN for negative codes."""
    values = np.asarray(variable.values, np.float32)
    # besides the fill value there are integers made of NaN and of infinity
    values[~(values >= 0)] = np.nan
    return values / np.float32(100)
