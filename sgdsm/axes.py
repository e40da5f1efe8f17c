"""Time and space of any Dataset as a cube has them: names, order, units, calendar and direction."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import numpy as np
import xarray as xr

from sgdsm.coordinates import check_axes
from sgdsm.days import whole_days
from sgdsm.errors import CubeError

log = logging.getLogger("sgdsm")

SPACE_DIMS = (("lat", "lon"), ("y", "x"))
SYNONYMS = {
    "latitude": "lat",
    "longitude": "lon",
    "nav_lat": "lat",
    "nav_lon": "lon",
    "valid_time": "time",
    "date": "time",
    "projection_y_coordinate": "y",
    "projection_x_coordinate": "x",
}
DAY = np.timedelta64(1, "D")


def with_standard_axes(dataset: xr.Dataset, target: str, missing_days: str | None) -> xr.Dataset:
    """Dims (time, lat, lon) or (time, y, x) of whole days that rise in equal steps, north to south, west to east.

    missing_days: 'insert' adds the days that are missing; else they are an error. What is changed is told.

    Raises CubeError for axes that cannot be mended so.
    """
    renamed = _rename_dims(dataset, target)
    check_axes(renamed, [dim for dim in renamed[target].dims if dim != "time"])
    return _north_up(_mend_time(_in_metres(renamed), missing_days))


def _rename_dims(dataset: xr.Dataset, target: str) -> xr.Dataset:
    renames: dict[Hashable, str] = {}
    for dim in dataset[target].dims:
        standard = str(dataset[dim].attrs.get("standard_name", "")) if dim in dataset.coords else ""
        name = SYNONYMS.get(
            str(dim).lower(), SYNONYMS.get(standard, standard if standard == "time" else str(dim).lower())
        )
        if name != dim:
            renames[dim] = name
    if renames:
        log.info("dims renamed: %s", ", ".join(f"{old} to {new}" for old, new in renames.items()))
    dataset = dataset.rename(renames)
    dims = set(dataset[target].dims)
    space = next((s for s in SPACE_DIMS if set(s) <= dims), None)
    if space is None or dims != {"time", *space}:
        found = tuple(dataset[target].dims)
        raise CubeError(f"target '{target}' has dims {found}, expected time and lat, lon (or time and y, x)")
    for dim in ("time", *space):
        if dim not in dataset.coords:
            raise CubeError(f"dimension '{dim}' of '{target}' has no coordinate values")
    for variable in list(dataset.data_vars):
        order = [d for d in ("time", *space) if d in dataset[variable].dims]
        dataset[variable] = dataset[variable].transpose(*order, ...)
    return dataset


def _in_metres(cube: xr.Dataset) -> xr.Dataset:
    for dim in ("y", "x"):
        if dim in cube.dims and cube[dim].attrs.get("units") in ("km", "kilometer", "kilometre"):
            cube = cube.assign_coords({dim: (dim, cube[dim].values * 1000.0, {**cube[dim].attrs, "units": "m"})})
    return cube


def _mend_time(cube: xr.Dataset, missing_days: str | None) -> xr.Dataset:
    time = cube["time"]
    if time.dtype == object and time.size:
        calendar = getattr(time.values[0], "calendar", "unknown")
        raise CubeError(
            f"time has the calendar '{calendar}', expected a standard (Gregorian) one: "
            "convert it with xarray's Dataset.convert_calendar('standard')"
        )
    if time.dtype.kind != "M":
        raise CubeError(f"time holds {time.dtype} values, expected dates (CF 'days since ...')")
    days = whole_days(time.values)
    if np.isnat(days).any():
        raise CubeError("time has missing values")
    if (days != time.values).any():
        log.info("the time of day was dropped: %s became %s", str(time.values[0])[:16], str(days[0])[:10])
    cube = cube.assign_coords(time=("time", days, time.attrs))
    values = cube["time"].values
    if (np.diff(values) < np.timedelta64(0)).any():
        log.info("times were not sorted: sorted them")
        cube = cube.isel(time=np.argsort(values, kind="stable"))
        values = cube["time"].values
    repeated = np.flatnonzero(np.diff(values) == np.timedelta64(0))
    if repeated.size:
        raise CubeError(f"time has {repeated.size} duplicated days, the first is {str(values[repeated[0]])[:10]}")
    step = np.diff(values).min() if values.size > 1 else DAY
    uneven = np.flatnonzero(np.diff(values) % step != np.timedelta64(0))
    if uneven.size:
        raise CubeError(
            f"time has steps of {step // DAY} days and one that is no multiple of that after "
            f"{str(values[uneven[0]])[:10]}: expected a map every n days"
        )
    missing = round((values[-1] - values[0]) / step) + 1 - values.size if values.size else 0
    if missing == 0:
        return cube
    if missing_days != "insert":
        gap = np.flatnonzero(np.diff(values) > step)[0]
        raise CubeError(
            f"time lacks {missing} days, the first after {str(values[gap])[:10]}: "
            "fill the calendar, or add them as days without observations: data.missing_days=insert "
            "(missing_days='insert' in Python)"
        )
    log.info("inserted %d missing days without observations", missing)
    calendar = np.arange(values[0], values[-1] + step, step)
    return cube.reindex(time=calendar)


def _north_up(cube: xr.Dataset) -> xr.Dataset:
    rows, columns = ("lat", "lon") if "lat" in cube.dims else ("y", "x")
    if cube.sizes[rows] > 1 and cube[rows].values[0] < cube[rows].values[-1]:
        log.info("%s rose from south to north: turned it", rows)
        cube = cube.isel({rows: slice(None, None, -1)})
    if cube.sizes[columns] > 1 and cube[columns].values[0] > cube[columns].values[-1]:
        log.info("%s fell from east to west: turned it", columns)
        cube = cube.isel({columns: slice(None, None, -1)})
    return cube
