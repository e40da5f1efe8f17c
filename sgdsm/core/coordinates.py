"""Checks of the metadata of a file: coordinates must be places and days, some attributes must be text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.core.errors import CubeError

# what each coordinate may reach; a hair more, for rounding
LIMITS = {
    "lat": (-90.0, 90.0, "degrees north; those of a projection are called y and x"),
    "lon": (-360.0, 720.0, "degrees east; those of a projection are called y and x"),
    "y": (-1e8, 1e8, "metres"),
    "x": (-1e8, 1e8, "metres"),
}
GREGORIAN = ("standard", "gregorian", "proleptic_gregorian")
HAIR = 1e-3  # degrees
TEXT = ("units", "standard_name", "role", "quantity", "calendar", "grid_mapping", "ancillary_variables")


def check_text(dataset: xr.Dataset, names: Iterable[Hashable] | None = None) -> None:
    """Raise an error if an attribute that must be text holds several values.

    Args:
        dataset: Any Dataset.
        names: Variables to check; None for all.

    Raises:
        CubeError: Naming the attribute and the variable.
    """
    for name in dataset.variables if names is None else names:
        attributes = dataset[name].attrs
        for key in TEXT:
            value = attributes.get(key, "")
            # Zarr attributes are JSON, netCDF attributes may be arrays: string methods would fail later
            if isinstance(value, dict) or np.ndim(value):
                raise CubeError(f"the attribute {key} of '{name}' is {_short(value)}: expected text")


def check_axes(dataset: xr.Dataset, dims: Iterable[Hashable]) -> None:
    """Check the coordinates of dimensions: different finite numbers, within LIMITS.

    Args:
        dataset: Any Dataset.
        dims: Names of dimensions.

    Raises:
        CubeError: A coordinate is missing, or holds anything else.
    """
    for dim in dims:
        if dim not in dataset.coords:
            raise CubeError(f"dimension '{dim}' has no coordinate values")
        values = dataset[dim].values
        if values.dtype.kind not in "fiu":
            example = f", like {_short(values[0])}" if values.size else ""
            raise CubeError(f"coordinate '{dim}' holds {values.dtype} values{example}: expected numbers")
        lacking = int((~np.isfinite(values)).sum())
        if lacking:
            raise CubeError(f"coordinate '{dim}' has {lacking} values that are missing or infinite: expected numbers")
        _check_reach(str(dim), values)
        # a place that occurs twice has no unique nearest cell
        once, count = np.unique(values, return_counts=True)
        if once.size < values.size:
            raise CubeError(f"coordinate '{dim}' holds {once[count > 1][0]:g} more than once: expected each place once")


def days_along(dataset: xr.Dataset) -> np.ndarray:
    """Return the days of a time axis, to which its times are rounded.

    Args:
        dataset: Dataset with the coordinate `time`.

    Returns:
        Days, datetime64[ns], (T,).

    Raises:
        CubeError: There is no time axis, its dates are of another calendar or missing, or a day occurs twice.
    """
    if "time" not in dataset.coords:
        raise CubeError("dimension 'time' has no coordinate values: expected dates (CF 'days since ...')")
    days = whole_days(dates_of(dataset["time"]))
    if np.isnat(days).any():
        raise CubeError(f"time has {np.isnat(days).sum()} missing values: expected dates")
    once, count = np.unique(days, return_counts=True)
    if once.size < days.size:
        first = str(once[count > 1][0])[:10]
        raise CubeError(f"time has {days.size - once.size} duplicated days, the first is {first}: expected a map a day")
    return days


def dates_of(time: xr.DataArray) -> np.ndarray:
    """Return the dates of a time axis; those of cftime too if their calendar is the Gregorian one.

    Args:
        time: The coordinate.

    Returns:
        Dates, datetime64, in the shape of `time`.

    Raises:
        CubeError: The calendar is another one, or the values are not dates.
    """
    if time.dtype == object and time.size:
        calendar = getattr(time.values.flat[0], "calendar", None)
        # cftime objects of the usual calendar are dates like any other
        if calendar in GREGORIAN:
            return np.array([date.isoformat() for date in time.values.flat], "datetime64[us]").reshape(time.shape)
        if calendar is not None:
            raise CubeError(
                f"time has the calendar '{calendar}', expected a standard (Gregorian) one: "
                "convert it with xarray's Dataset.convert_calendar('standard')"
            )
    if time.dtype.kind != "M":
        raise CubeError(f"time holds {time.dtype} values, expected dates (CF 'days since ...')")
    return time.values


def _check_reach(dim: str, values: np.ndarray) -> None:
    if dim not in LIMITS or not values.size:
        return
    least, most, what = LIMITS[dim]
    low, high = float(values.min()), float(values.max())
    if low < least - HAIR or high > most + HAIR:
        raise CubeError(f"coordinate '{dim}' goes from {low:g} to {high:g}: expected {least:g} to {most:g} {what}")
    # a second turn would repeat cells
    if dim == "lon" and high - low > 360 + HAIR:
        raise CubeError(f"coordinate 'lon' goes from {low:g} to {high:g}: expected at most once round the globe")


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:60]
