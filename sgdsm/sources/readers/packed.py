"""Maps in NetCDF files as they lie on disk: packed numbers, chunks, time axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from sgdsm.core.axes import AXES as AXES
from sgdsm.core.axes import axis_names, axis_of
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import FILLS, numeric_attributes, only_within, valid_limits
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.sources.readers.broken import why
from sgdsm.sources.readers.files import SourceError, Unfit, headed
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.netcdf3 import whole

LOCK = NETCDF4_PYTHON_LOCK
# calendars whose dates are real ones. IMERG says julian, and means the usual one: both give the same dates in JULIAN
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
JULIAN = (np.datetime64("1900-03-01"), np.datetime64("2100-02-28"))


def unpacked(raw: np.ndarray, attributes: Mapping[str, Any], name: str = "") -> np.ndarray:
    """Values (float32, a copy) of packed numbers: fill values and what is outside the valid range become NaN.

    attributes: those of the variable, see `sgdsm.core.io.decoding`; name: for messages.

    Raises CubeError for an attribute that should hold a number and does not.
    """
    attributes = numeric_attributes(attributes, raw.dtype, name)
    limits = valid_limits(attributes, raw.dtype, name=name)
    if str(attributes.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    values = raw.astype(np.float32)
    if "scale_factor" in attributes or "add_offset" in attributes:
        values *= np.float32(attributes.get("scale_factor", 1.0))
        values += np.float32(attributes.get("add_offset", 0.0))
    for name in FILLS:
        fill = np.atleast_1d(attributes.get(name, np.nan))
        for value in fill[np.isfinite(fill)]:
            values[raw == value.astype(raw.dtype)] = np.nan
    if limits is None:
        return values
    return only_within(values, limits, float(attributes.get("add_offset", 0.0)))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A NetCDF file, packed numbers left as they are. The library is not safe for threads: every use of the file needs
    `LOCK`, which is xarray's own, so that neither meets the other."""
    import netCDF4

    refuse_unsafe(path)
    whole(path)
    with LOCK:
        file = netCDF4.Dataset(path)
        file.set_auto_maskandscale(False)
    try:
        yield file
    finally:
        with LOCK:
            file.close()


def attributes_of(variable: Any) -> dict[str, Any]:
    """Of a variable of netCDF4."""
    return {name: variable.getncattr(name) for name in variable.ncattrs()}


def times_in(path: Path, axes: tuple[str, ...] = ("time",)) -> np.ndarray:
    """Times (datetime64[ns]) of the first of these axes that a file has; only the axis is read.

    Raises SourceError naming the file without a time axis that can be read.
    """
    with named(path), opened(path) as file, LOCK:
        return times_of(file, axes)


def times_of(file: Any, axes: tuple[str, ...]) -> np.ndarray:
    """Times (datetime64[ns]) of the first of these axes that an open file has. Raises KeyError where it has none."""
    axis = next((name for name in axes if name in file.variables and file[name].ndim == 1), None)
    if axis is None:
        raise KeyError(f"no time axis ({' or '.join(axes)}) among {list(file.variables)}")
    return times_along(file[axis])


def times_along(axis: Any) -> np.ndarray:
    """Times (datetime64[ns], to the second) of a variable of an open file, in its shape.

    Raises Unfit where it holds no times, or has a calendar of its own.
    """
    units, calendar = (str(getattr(axis, name, "")).strip() for name in ("units", "calendar"))
    if " since " not in units:
        raise Unfit(f"'{axis.name}' has the units '{units}', expected times like 'days since 1970-01-01'")
    calendar = calendar.lower() or "standard"
    numbers = np.asarray(axis[...])
    try:
        found = decoded(np.append(numbers.ravel(), 0), units)  # the last one is the date that it counts from
    except (OverflowError, ValueError) as error:
        raise Unfit(f"'{axis.name}' holds numbers that are no dates in '{units}': {error}") from error
    julian = calendar == "julian" and bool(((found >= JULIAN[0]) & (found <= JULIAN[1])).all())
    if calendar not in CALENDARS and not julian:
        raise Unfit(
            f"'{axis.name}' has the calendar '{calendar}', whose dates are not real ones, expected 'standard': convert "
            "it with xarray's Dataset.convert_calendar('standard')"
        )
    return found[:-1].reshape(numbers.shape)


def time_axis(file: Any, name: str) -> Any:
    """Of a map in an open file, the variable with its times (1-D), which may lie in a group above; None without.

    Raises Unfit where there is no such map.
    """
    if name not in (there := paths_in(file)):
        raise Unfit(f"no variable '{name}', there are {listing(there)}")
    variable = file[name]
    for dim in variable.dimensions:
        axis = _above(variable, dim)
        if axis is None or axis_of(dim, attributes_of(axis)) != "time":
            continue
        valid = _above(variable, "valid_time")  # as cfgrib writes it: the time that maps are for, not of the forecast
        return valid if valid is not None and valid.dimensions == (dim,) else axis
    return None


def _above(variable: Any, name: str) -> Any:
    """A variable with this name in the group of a variable, or in the nearest one above; None without."""
    group = variable.group()
    while group is not None:
        if name in group.variables:
            return group.variables[name]
        group = group.parent
    return None


def paths_in(file: Any, before: str = "") -> list[str]:
    """Of an open file, the variables that may be maps, those in groups as 'group/name'."""
    found = [before + name for name, variable in file.variables.items() if variable.ndim > 1]
    for name, group in file.groups.items():
        found += paths_in(group, f"{before}{name}/")
    return found


def listing(names: Sequence[str], most: int = 20) -> str:
    """Names in a message, not more than `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into a SourceError that names it."""
    try:
        yield
    except (Unfit, CubeError) as error:
        raise SourceError(headed(path, error)) from error
    except (OSError, KeyError, IndexError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise SourceError(
            f"{path}: cannot be read (truncated, or not such a NetCDF file): {why(path, error)}"
        ) from error


def decoded(numbers: np.ndarray, units: str, calendar: str = "standard") -> np.ndarray:
    """Times (datetime64[ns], to the second) of numbers with CF units like 'days since 1970-01-01'."""
    import netCDF4

    dates = netCDF4.num2date(numbers, units, calendar, only_use_cftime_datetimes=False, only_use_python_datetimes=True)
    # numbers are floats in some products: half a second more, then cut
    return (np.asarray(dates, "datetime64[ms]") + 500).astype("datetime64[s]").astype("datetime64[ns]")


def chunks(
    variable: Any, steps: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, slice, slice, np.ndarray]]:
    """Packed maps of rising `steps` of a variable (time, ..., rows, columns), each chunk of the file read once.

    Gives positions in `steps`, rows, columns, and the packed values there; size: of a map. A file without chunks, or
    with one for each time, is read map by map.
    """
    with LOCK:
        chunking = variable.chunking()
    depth, tile = 1, size
    if isinstance(chunking, list) and chunking[0] > 1:
        depth, tile = chunking[0], (min(chunking[-2], size[0]), min(chunking[-1], size[1]))
    for top in range(0, size[0], tile[0]):
        for left in range(0, size[1], tile[1]):
            rows, columns = slice(top, min(top + tile[0], size[0])), slice(left, min(left + tile[1], size[1]))
            for group in np.unique(steps // depth):
                which = np.flatnonzero(steps // depth == group)
                first, last = int(steps[which[0]]), int(steps[which[-1]]) + 1
                with LOCK:
                    raw = np.asarray(variable[(slice(first, last), ..., rows, columns)])
                yield which, rows, columns, raw[steps[which] - first]


def read_maps(path: Path, variables: Mapping[str, str], times: np.ndarray, steps: slice) -> xr.Dataset:
    """Maps of a CF NetCDF file, unpacked: dims (time, lat, lon) or (time, y, x), whatever their order and names there;
    without time where `times` is empty. variables: our name to the file's, in a group as 'group/name'. times: of the
    maps `steps`. Other dims (band, depth, expver, number) may have the length 1.

    Raises Unfit for a variable that is not there, or is no map.
    """
    whole(path)
    with _arrays(path, list(variables.values())) as raw:
        found = {}
        for ours, its in variables.items():
            array = with_axes(raw[its])
            attributes = dict(array.attrs)
            array = array.isel(time=steps) if "time" in array.dims and len(times) else array
            kept = AXES if len(times) else AXES[1:]
            array = array.isel({d: 0 for d in array.dims if d not in kept and array.sizes[d] == 1}, drop=True)
            _refuse_more(its, array)
            array = array.transpose(*(axis for axis in AXES if axis in array.dims))
            values = unpacked(np.asarray(array.values), attributes, its)
            described = {k: attributes[k] for k in ("units", "long_name", "standard_name") if k in attributes}
            coords = {axis: np.asarray(array[axis].values) for axis in array.dims if axis != "time"}
            time = {"time": times} if "time" in array.dims else {}
            found[ours] = xr.DataArray(values, {**time, **coords}, array.dims, attrs=described)
    return north_up(once_around(xr.Dataset(found)))


def _refuse_more(its: str, array: xr.DataArray) -> None:
    """Raises Unfit where an array is not one map for each time."""
    told = f"{its} has dimensions { ({str(d): n for d, n in array.sizes.items()}) }, expected maps (rows, columns)"
    extra = [str(d) for d in array.dims if d not in AXES]
    if extra:
        raise Unfit(f"{told}: write a file with one '{extra[0]}' alone, as xarray's isel({extra[0]}=0) takes it")
    if not any({*array.dims} >= pair for pair in ({"lat", "lon"}, {"y", "x"})):
        raise Unfit(f"{told}, told by names, units or standard names of their coordinates")


@contextmanager
def _arrays(path: Path, names: Sequence[str]) -> Iterator[dict[str, xr.DataArray]]:
    """Variables of a file by their paths, packed; axes that lie in a group above are added.

    Raises Unfit for a variable that is not there.
    """
    with opened(path) as file, LOCK:
        there = [*file.variables, *paths_in(file)]
        maps = paths_in(file)
    lacking = [name for name in names if name not in there]
    if lacking:
        raise Unfit(f"no variable '{lacking[0]}', there are {listing(maps)}")
    options: dict[str, Any] = {"engine": "netcdf4", "decode_times": False, "mask_and_scale": False}
    with ExitStack() as stack:
        groups: dict[str, xr.Dataset] = {}
        found = {}
        for name in names:
            *above, last = name.split("/")
            levels = ["/".join(above[:k]) for k in range(len(above), -1, -1)]
            for level in levels:
                if level not in groups:
                    group = xr.open_dataset(path, group=level or None, drop_variables=["crs", "spatial_ref"], **options)
                    groups[level] = stack.enter_context(group)
            array = groups[levels[0]][last]
            for dim in [dim for dim in array.dims if dim not in array.coords]:
                axis = next((groups[level][dim] for level in levels if dim in groups[level].variables), None)
                array = array if axis is None else array.assign_coords({dim: (dim, axis.values, axis.attrs)})
            found[name] = array
        yield found


def once_around(dataset: xr.Dataset) -> xr.Dataset:
    """Without the columns that come back after 360 degrees (some grids run from 20 to 380)."""
    if "lon" not in dataset.dims or dataset.sizes["lon"] < 2:
        return dataset
    lon = dataset["lon"].values.astype(np.float64)
    return dataset.isel(lon=lon - lon[0] < 360.0 - 0.01 * abs(lon[1] - lon[0]))


def with_axes(array: xr.DataArray) -> xr.DataArray:
    """A variable whose axes are called time, lat, lon, y, x, as their names or their units tell.

    Raises ValueError where a map has no coordinates along its axes.
    """
    names = axis_names(array.coords.to_dataset(), array.dims)
    for dim, axis in names.items():
        if axis != "time" and dim not in array.coords and array.sizes[dim] > 1:
            raise ValueError(f"{array.name} has no coordinates along '{dim}'")
    beside = [axis for dim, axis in names.items() if dim != axis and axis in array.coords]
    return array.drop_vars(beside).rename({dim: axis for dim, axis in names.items() if dim != axis})
