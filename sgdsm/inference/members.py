"""Possible maps: members whose errors hang together as those of the filled values do."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sgdsm.correlation import Correlation, positions
from sgdsm.cube import ConfigError, CubeError
from sgdsm.data.record import day_numbers
from sgdsm.inference.product import OBSERVED


def members(filled: xr.Dataset, count: int = 20, seed: int = 0) -> xr.DataArray:
    """Draw possible maps from a filled file, so that means over cells and days get a right error bar.

    A member is `sm_filled` plus `sm_std` times a Gaussian field with the correlation of the errors in space and time,
    which the file tells; observed values are the same in all. Parts of a file that are drawn apart with the same seed
    fit together. Values below 0 are left, so that means are not biased.

    filled: what predict.py or `sgdsm.fill` gives, or a part of it. count: of members. Returns (member, time, rows,
    columns), float32, in the target's units; NaN where nothing is filled. All is in memory: select a region first.

    Raises CubeError where the Dataset is no filled file with an uncertainty, ConfigError for a count below 1.
    """
    if count < 1:
        raise ConfigError(f"count={count}: expected at least 1")
    missing = [name for name in ("sm_filled", "sm_std") if name not in filled]
    if missing:
        raise CubeError(f"the Dataset has no {missing[0]}: expected what predict.py writes, of a run with uncertainty")
    estimate, std = filled["sm_filled"], filled["sm_std"]
    if estimate.ndim != 3 or estimate.dims[0] != "time":
        raise CubeError(f"sm_filled has dims {estimate.dims}: expected time and two of space; select with slices")
    correlation = Correlation.of(std.attrs)
    places, days = positions(estimate).reshape(-1, 3), day_numbers(filled["time"])
    spread = np.nan_to_num(np.asarray(std.values, np.float32))
    if "sm_source" in filled:
        # what was observed is what the satellite reported
        spread[filled["sm_source"].values == OBSERVED] = 0
    drawn = np.empty((count, *estimate.shape), np.float32)
    for number in range(count):
        drawn[number] = estimate.values + spread * correlation.field(days, places, seed, number).reshape(estimate.shape)
    keep = {k: v for k, v in estimate.attrs.items() if k in ("units", "standard_name", "grid_mapping")}
    attrs = {**keep, "long_name": "possible values, the errors of filled ones correlated in space and time"}
    coords = {**estimate.coords, "member": np.arange(count)}
    return xr.DataArray(drawn, coords, ("member", *estimate.dims), "sm_members", attrs)
