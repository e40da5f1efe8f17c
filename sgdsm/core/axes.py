"""The axes of any Dataset, brought to those of a cube: names, order, units, calendar and direction."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.coordinates import check_axes, dates_of
from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log

SPACE_DIMS = (("lat", "lon"), ("y", "x"))
AXES = ("time", "lat", "lon", "y", "x")
SYNONYMS = {
    "latitude": "lat",
    "longitude": "lon",
    "nav_lat": "lat",
    "nav_lon": "lon",
    "valid_time": "time",
    "date": "time",
    "t": "time",
    "projection_y_coordinate": "y",
    "projection_x_coordinate": "x",
    "j": "y",
    "i": "x",
}
CF_AXES = {"latitude": "lat", "longitude": "lon", "T": "time", "Y": "y", "X": "x"}  # names of cf_xarray, and ours
DAY = np.timedelta64(1, "D")


def with_standard_axes(
    dataset: xr.Dataset, target: str, missing_days: str | None, moving: Iterable[str] = ()
) -> xr.Dataset:
    """Return a Dataset with the axes of a cube: (time, lat, lon) or (time, y, x).

    Times are whole days in equal steps, rows go from north to south, columns from west to east.
    What is changed is logged.

    Args:
        dataset: Any Dataset.
        target: Variable whose dims become the axes.
        missing_days: 'insert' adds days that the time axis lacks; else they are an error.
        moving: Variables that change in time. They get a time axis of length 1 where the file has a single map.

    Raises:
        CubeError: The axes cannot be corrected in this way.
    """
    renamed = _rename_dims(dataset, target, [target, *moving])
    check_axes(renamed, [dim for dim in renamed[target].dims if dim != "time"])
    return _north_up(_mend_time(_in_metres(renamed), missing_days))


def axis_names(dataset: xr.Dataset, dims: Iterable[Hashable]) -> dict[Hashable, str]:
    """Return the standard names (time, lat, lon, y, x) of dimensions, see `axis_of`; unknown ones are left out.

    Args:
        dataset: Dataset that has them.
        dims: Names of dimensions.
    """
    attributes = {dim: dataset[dim].attrs if dim in dataset.coords else {} for dim in dims}
    return {dim: name for dim in dims if (name := axis_of(dim, attributes[dim])) is not None}


def axis_of(dim: Hashable, attributes: Mapping[str, Any]) -> str | None:
    """Return the standard name (time, lat, lon, y, x) of a dimension, or None.

    An unambiguous name decides; else the CF attributes of its coordinate; else a name like x and y.

    Args:
        dim: Name of the dimension.
        attributes: Attributes of its coordinate.

    Raises:
        ConfigError: The package cf_xarray is needed and missing.
    """
    name = str(dim).lower()
    name = SYNONYMS.get(name, name)
    if name in ("time", "lat", "lon"):
        return name
    return _by_attributes(dim, attributes) or (name if name in AXES else None)


def _by_attributes(dim: Hashable, attributes: Mapping[str, Any]) -> str | None:
    if not attributes:
        return None
    try:
        from cf_xarray.criteria import coordinate_criteria
    except ImportError as error:
        raise ConfigError(
            f"dimension '{dim}' is not called time, lat, lon, y or x; telling it by its attributes needs more: "
            "pip install cf-xarray"
        ) from error
    texts = {key: str(value).strip() for key, value in attributes.items()}
    for axis, name in CF_AXES.items():
        if any(texts.get(key) in known for key, known in coordinate_criteria[axis].items() if texts.get(key)):
            return name
    return None


def _rename_dims(dataset: xr.Dataset, target: str, moving: Sequence[str]) -> xr.Dataset:
    dims = dataset[target].dims
    renames = {dim: name for dim, name in axis_names(dataset, dims).items() if dim != name}
    dataset = _at_valid_time(dataset, renames, dims)
    # an axis may have a coordinate of the same name beside it: the reference time of a forecast, a second latitude
    beside = [name for name in renames.values() if name in dataset.variables and name not in dims]
    if beside:
        log.info("left out, beside the dimension of that meaning: %s", ", ".join(beside))
    dataset = dataset.drop_vars(beside)
    if renames:
        log.info("dims renamed: %s", ", ".join(f"{old} to {new}" for old, new in renames.items()))
    dataset = _without_single(dataset.rename(renames), moving)
    # what remains must be exactly time and two axes of one kind
    left = set(dataset[target].dims)
    space = next((s for s in SPACE_DIMS if set(s) <= left), None)
    if space is None or left != {"time", *space}:
        raise CubeError(
            f"target '{target}' has dims {tuple(dataset[target].dims)}, expected time and lat, lon (or time and y, x), "
            "called by these names, or known by the attributes units, standard_name or axis of their coordinates"
        )
    for dim in ("time", *space):
        if dim not in dataset.coords:
            raise CubeError(f"dimension '{dim}' of '{target}' has no coordinate values")
    for variable in list(dataset.data_vars):
        order = [d for d in ("time", *space) if d in dataset[variable].dims]
        dataset[variable] = dataset[variable].transpose(*order, ...)
    return dataset


def _at_valid_time(dataset: xr.Dataset, renames: Mapping[Hashable, str], dims: Sequence[Hashable]) -> xr.Dataset:
    """Return a Dataset with the times for which maps are valid, if its axis has the times at which forecasts began."""
    axis = next((dim for dim in dims if renames.get(dim, dim) == "time"), None)
    if axis in (None, "valid_time") or "valid_time" not in dataset.coords or dataset["valid_time"].dims != (axis,):
        return dataset
    log.info("'valid_time' is taken for the time, not '%s'", axis)
    valid = dataset["valid_time"]
    return dataset.drop_vars("valid_time").assign_coords({axis: (axis, valid.values, valid.attrs)})


def _without_single(dataset: xr.Dataset, moving: Sequence[str]) -> xr.Dataset:
    """Return a Dataset without dimensions of length 1 that are no axis of a map (band, depth, number).

    A single map gets a time axis if its time is known.
    """
    # GeoTIFF stacks and ensembles have such dims
    single = [d for d, n in dataset.sizes.items() if n == 1 and d not in AXES]
    if single:
        log.info("left out dimensions of length 1: %s", ", ".join(map(str, single)))
    dataset = dataset.squeeze(single, drop=True)
    time = next((n for n in ("valid_time", "time") if n in dataset.coords and dataset[n].ndim == 0), None)
    if "time" in dataset.dims or time is None:
        return dataset
    at = dataset[time].expand_dims("time").variable
    maps = {name: dataset[name].expand_dims("time").variable for name in moving}
    return dataset.drop_vars("time", errors="ignore").assign(maps).assign_coords(time=at)


def _in_metres(cube: xr.Dataset) -> xr.Dataset:
    # EASE-Grid and polar stereographic files often give kilometres
    for dim in ("y", "x"):
        if dim in cube.dims and cube[dim].attrs.get("units") in ("km", "kilometer", "kilometre"):
            cube = cube.assign_coords({dim: (dim, cube[dim].values * 1000.0, {**cube[dim].attrs, "units": "m"})})
    return cube


def _mend_time(cube: xr.Dataset, missing_days: str | None) -> xr.Dataset:
    time = cube["time"]
    values = dates_of(time)
    days = whole_days(values)
    if np.isnat(days).any():
        raise CubeError("time has missing values")
    dropped = np.flatnonzero(abs(days - values) > np.timedelta64(1, "s"))
    if dropped.size:
        log.info("the time of day was dropped: %s became %s", str(values[dropped[0]])[:16], str(days[dropped[0]])[:10])
    cube = cube.assign_coords(time=("time", days, time.attrs))
    return _without_gaps(_sorted(cube), missing_days)


def _sorted(cube: xr.Dataset) -> xr.Dataset:
    values = cube["time"].values
    if (np.diff(values) < np.timedelta64(0)).any():
        log.info("times were not sorted: sorted them")
        cube = cube.isel(time=np.argsort(values, kind="stable"))
        values = cube["time"].values
    # which of two maps of a day is right is not ours to choose
    repeated = np.flatnonzero(np.diff(values) == np.timedelta64(0))
    if repeated.size:
        raise CubeError(f"time has {repeated.size} duplicated days, the first is {str(values[repeated[0]])[:10]}")
    return cube


def _without_gaps(cube: xr.Dataset, missing_days: str | None) -> xr.Dataset:
    """Return a cube with equal steps of time; missing days are inserted, or an error."""
    values = cube["time"].values
    # the shortest step is that of the record: longer ones are gaps
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


def _without_jump(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube whose longitudes rise across Greenwich: 358, 359, 0, 1 becomes -2, -1, 0, 1 degrees."""
    values = cube["lon"].values
    if values.dtype.kind not in "fi" or (np.diff(values) > 0).all() or (np.diff(values) < 0).all():
        return cube
    shifted = np.where(values > 180, values - 360, values)
    if not (np.diff(shifted) > 0).all():
        return cube  # refused later: the columns are in no order
    log.info("lon goes on at 0 after 360 degrees: counted from -180 to 180")
    return cube.assign_coords(lon=("lon", shifted, cube["lon"].attrs))


def _north_up(cube: xr.Dataset) -> xr.Dataset:
    rows, columns = ("lat", "lon") if "lat" in cube.dims else ("y", "x")
    # models and weights assume that the first row is in the north
    if cube.sizes[rows] > 1 and cube[rows].values[0] < cube[rows].values[-1]:
        log.info("%s rose from south to north: turned it", rows)
        cube = cube.isel({rows: slice(None, None, -1)})
    if columns == "lon":
        cube = _without_jump(cube)
    if cube.sizes[columns] > 1 and cube[columns].values[0] > cube[columns].values[-1]:
        log.info("%s fell from east to west: turned it", columns)
        cube = cube.isel({columns: slice(None, None, -1)})
    return cube
