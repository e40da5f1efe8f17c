"""Names and units of the variables of every product, and the reasons why a value is rejected.

Soil moisture is `sm` in m3 m-3 (or percent of saturation if the product has only that) with `sm_reason` for each value,
and if the product has them `sm_uncertainty` and its own `flag`. Masks and grids: dims (time, lat, lon) or (time, y, x),
north first, longitudes from -180 to 180, NaN = missing.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import xarray as xr


class Reason(IntEnum):
    """Why a cell has no usable soil moisture on a day; the first that applies, in this order.

    OBSERVED: it has a usable value. NO_DATA: no overpass, or no retrieval. With the others a value was retrieved and is
    rejected.
    """

    OBSERVED = 0
    NO_DATA = 1
    SNOW = 2
    FROZEN = 3
    WATER = 4
    DENSE_VEGETATION = 5
    TERRAIN = 6
    INTERFERENCE = 7
    RAIN = 8
    BARREN = 9
    OUT_OF_RANGE = 10
    NOT_RECOMMENDED = 11
    GAP_FILLED = 12
    FILE_SKIPPED = 13


REASON_ATTRS = {
    "long_name": "why there is no soil moisture",
    "flag_values": np.array(list(Reason), np.uint8),
    "flag_meanings": " ".join(reason.name.lower() for reason in Reason),
    "role": "flag",
    "missing": int(Reason.FILE_SKIPPED),
}
WHOLE = 300.0  # degrees: wider maps are global
M3 = {"units": "m3 m-3", "standard_name": "volume_fraction_of_condensed_water_in_soil", "long_name": "soil moisture"}
PERCENT = {"units": "percent", "long_name": "soil moisture, percent of saturation"}


def reasons(values: np.ndarray, tests: dict[Reason, np.ndarray], low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return `sm_reason`: the first reason, in the order of `Reason`, whose test is True.

    Args:
        values: Soil moisture, any shape, NaN = missing.
        tests: Boolean arrays of the same shape by reason.
        low: Smallest possible value, in the units of `values`.
        high: Largest possible value.

    Returns:
        uint8 array of the same shape.
    """
    reason_of = np.full(values.shape, Reason.OBSERVED, np.uint8)
    with np.errstate(invalid="ignore"):
        # comparisons with NaN are False, and warn
        outside = (values < low) | (values > high) | tests.get(Reason.OUT_OF_RANGE, np.False_)
    tests = {**tests, Reason.OUT_OF_RANGE: outside}
    # written from the last to the first, so that the first one stays
    for reason in sorted(tests, reverse=True):
        reason_of[tests[reason]] = reason
    # where nothing was retrieved, the reason that the product gives says more than 'no data'
    nothing = ~np.isfinite(values)
    reason_of[nothing & (reason_of == Reason.OBSERVED)] = Reason.NO_DATA
    return reason_of


def bit(flags: np.ndarray, number: int) -> np.ndarray:
    """Return True where a bit of an integer flag is set.

    Args:
        flags: Integers of any shape.
        number: Number of the bit, from 0.
    """
    is_set: np.ndarray = (flags.astype(np.int64) >> number) & 1 == 1
    return is_set


def north_up(dataset: xr.Dataset) -> xr.Dataset:
    """Return maps with rows from north to south and rising longitudes.

    Longitudes are from -180 to 180, or beyond 180 for a region that crosses the date line.

    Args:
        dataset: Maps with the coordinates lat and lon, or y and x.
    """
    rows = "lat" if "lat" in dataset.dims else "y"
    # a single row has no direction
    if dataset.sizes.get(rows, 0) > 1 and dataset[rows].values[0] < dataset[rows].values[-1]:
        dataset = dataset.isel({rows: slice(None, None, -1)})
    if "lon" in dataset.dims:
        lon = dataset["lon"].values
        # a region over the date line stays whole: from 170 to 190
        step = np.diff(lon)
        regional = lon.size > 1 and (step > 0).all() and lon[-1] - lon[0] + step.max() < WHOLE and lon[0] < 180.0
        if (lon >= 180.0).any() and not regional:
            wrapped = (lon + 180.0) % 360.0 - 180.0
            dataset = dataset.assign_coords(lon=("lon", wrapped, dataset["lon"].attrs))
        if dataset.sizes["lon"] > 1 and (np.diff(dataset["lon"].values) < 0).any():
            dataset = dataset.isel(lon=np.argsort(dataset["lon"].values, kind="stable"))
    return dataset
