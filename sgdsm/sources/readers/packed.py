"""Maps in NetCDF files as they are stored: packed numbers, chunks, time axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from sgdsm.core.axes import AXES as AXES
from sgdsm.core.axes import axis_names, axis_of
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import FILLS, numeric_attributes, only_within, valid_limits
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.core.validation import check_values
from sgdsm.sources.readers.broken import why
from sgdsm.sources.readers.files import SourceError, Unfit, headed
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.netcdf3 import whole

LOCK = NETCDF4_PYTHON_LOCK
FLAG_ATTRIBUTES = ("flag_masks", "flag_values", "flag_meanings")
# attributes of a file that are kept; flag_meanings marks codes of classes
DESCRIBED = ("units", "long_name", "standard_name", "flag_meanings")
# calendars whose dates are real ones. IMERG says julian, and means the usual one: both give the same dates in JULIAN
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
JULIAN = (np.datetime64("1900-03-01"), np.datetime64("2100-02-28"))


def unpacked(
    raw: np.ndarray,
    attributes: Mapping[str, Any],
    name: str = "",
    *,
    missing: Sequence[float] = (),
    check: bool = True,
) -> np.ndarray:
    """Return the values of packed numbers; fill values and values outside the valid range become NaN.

    Fill values that the file does not declare are refused here, before any arithmetic: afterwards -9999 may be a sum
    of 0, or a share of -99.99, that nobody recognizes.

    Args:
        raw: Numbers as stored, of any shape.
        attributes: Attributes of the variable, see `sgdsm.core.io.decoding`.
        name: Name of the variable, for messages.
        missing: Unpacked values that the product documents as missing, even if a file does not declare them.
        check: False skips the check for undeclared fill values, as flags of all bits look like one.

    Returns:
        A float32 copy in the shape of `raw`, in the units of the attributes.

    Raises:
        CubeError: If an attribute that should hold a number does not, or if the values hold an undeclared fill value.
    """
    attributes = numeric_attributes(attributes, raw.dtype, name)
    limits = valid_limits(attributes, raw.dtype, name=name)
    if str(attributes.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
        # NetCDF-3 has no unsigned integers: they are stored as signed ones of the same bits
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    # float32 holds 16-bit packed numbers exactly
    values = raw.astype(np.float32)
    if "scale_factor" in attributes or "add_offset" in attributes:
        values *= np.float32(attributes.get("scale_factor", 1.0))
        values += np.float32(attributes.get("add_offset", 0.0))
    for key in FILLS:
        fill = np.atleast_1d(attributes.get(key, np.nan))
        for value in fill[np.isfinite(fill)]:
            values[raw == value.astype(raw.dtype)] = np.nan
    for code in missing:
        values[values == np.float32(code)] = np.nan
    if limits is not None:
        values = only_within(values, limits, float(attributes.get("add_offset", 0.0)))
    # codes of classes are no measurements: 255 may be one of them
    codes = raw.dtype.kind in "iu" and any(key in attributes for key in FLAG_ATTRIBUTES)
    if check and not codes:
        refuse_fills(values, name, attributes)
    return values


def refuse_fills(values: np.ndarray, name: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Raise an error if values hold a fill value that the file does not declare.

    Args:
        values: Unpacked values of any shape, NaN = missing.
        name: Name of the variable, for the message.
        attributes: Attributes of the variable; its units say whether values like 0 are possible.

    Raises:
        CubeError: If the smallest or the largest value is a fill value, by `sgdsm.core.validation.check_values`.
    """
    # not the role or the quantity, which are attributes of cubes
    described = {key: str((attributes or {}).get(key, "")) for key in ("units", "standard_name", "long_name")}
    check_values(xr.DataArray(np.float32(np.nan), name=name, attrs=described), values)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a NetCDF file whose packed numbers are left as they are.

    The library is not safe for threads: every use of the file needs `LOCK`, which is xarray's own lock, so that xarray
    and this package never use the library at the same time.

    Args:
        path: The file.

    Yields:
        A `netCDF4.Dataset`.

    Raises:
        OSError: If the file is truncated or cannot be opened.
    """
    refuse_unsafe(path)
    whole(path)
    with LOCK:
        file = netCDF4.Dataset(path)
        # masked arrays need twice the memory, and hide the stored numbers from `unpacked`
        file.set_auto_maskandscale(False)
    try:
        yield file
    finally:
        with LOCK:
            file.close()


def attributes_of(variable: Any) -> dict[str, Any]:
    """Return the attributes of a variable of netCDF4."""
    return {name: variable.getncattr(name) for name in variable.ncattrs()}


def times_in(path: Path, axes: tuple[str, ...] = ("time",)) -> np.ndarray:
    """Return the times of a file; only the time axis is read.

    Args:
        path: The file.
        axes: Names of time axes; the first that the file has is used.

    Returns:
        Times (N,), datetime64[ns], to the second.

    Raises:
        SourceError: If the file has no time axis that can be read.
    """
    with named(path), opened(path) as file, LOCK:
        return times_of(file, axes)


def times_of(file: Any, axes: tuple[str, ...]) -> np.ndarray:
    """Return the times of an open file.

    Args:
        file: A `netCDF4.Dataset`.
        axes: Names of time axes; the first that the file has is used.

    Returns:
        Times (N,), datetime64[ns], to the second.

    Raises:
        KeyError: If the file has no time axis.
        Unfit: If the axis holds no times.
    """
    axis = next((name for name in axes if name in file.variables and file[name].ndim == 1), None)
    if axis is None:
        raise KeyError(f"no time axis ({' or '.join(axes)}) among {list(file.variables)}")
    return times_along(file[axis])


def times_along(axis: Any) -> np.ndarray:
    """Return the times in a variable of an open file.

    Args:
        axis: A variable of netCDF4.

    Returns:
        datetime64[ns], to the second, in the shape of the variable.

    Raises:
        Unfit: If it holds no times, or has a model calendar.
    """
    units, calendar = (str(getattr(axis, name, "")).strip() for name in ("units", "calendar"))
    if " since " not in units:
        raise Unfit(f"'{axis.name}' has the units '{units}', expected times like 'days since 1970-01-01'")
    calendar = calendar.lower() or "standard"
    numbers = np.asarray(axis[...])
    try:
        dates = decoded(np.append(numbers.ravel(), 0), units)  # the last one is the reference date
    except (OverflowError, ValueError) as error:
        raise Unfit(f"'{axis.name}' holds numbers that are no dates in '{units}': {error}") from error
    julian = calendar == "julian" and bool(((dates >= JULIAN[0]) & (dates <= JULIAN[1])).all())
    if calendar not in CALENDARS and not julian:
        raise Unfit(
            f"'{axis.name}' has the calendar '{calendar}', whose dates are not real ones, expected 'standard': convert "
            "it with xarray's Dataset.convert_calendar('standard')"
        )
    return dates[:-1].reshape(numbers.shape)


def time_axis(file: Any, name: str) -> Any:
    """Return the variable (N,) with the times of a map; it may be in a group above. None if the map has no time axis.

    Args:
        file: A `netCDF4.Dataset`.
        name: Path of the map.

    Raises:
        Unfit: If there is no such map.
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
    """Return a variable of the group of a variable, or of the nearest group above that has it, or None."""
    group = variable.group()
    while group is not None:
        if name in group.variables:
            return group.variables[name]
        group = group.parent
    return None


def paths_in(file: Any, before: str = "") -> list[str]:
    """Return the variables of an open file that may be maps, those in groups as 'group/name'.

    Args:
        file: A `netCDF4.Dataset` or a group.
        before: Path of the group, with a slash at its end.
    """
    # variables of one dimension are axes
    names = [before + name for name, variable in file.variables.items() if variable.ndim > 1]
    for name, group in file.groups.items():
        names += paths_in(group, f"{before}{name}/")
    return names


def listing(names: Sequence[str], most: int = 20) -> str:
    """Return names as the text of a message.

    Args:
        names: The names.
        most: Largest number of names to list.
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "none"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a SourceError that names it.

    Args:
        path: The file.

    Raises:
        SourceError: If the code in the `with` block fails to read the file.
    """
    try:
        yield
    except (Unfit, CubeError) as error:
        raise SourceError(headed(path, error)) from error
    except (OSError, KeyError, IndexError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise SourceError(
            f"{path}: cannot be read (truncated, or not such a NetCDF file): {why(path, error)}"
        ) from error


def decoded(numbers: np.ndarray, units: str, calendar: str = "standard") -> np.ndarray:
    """Return the times of numbers with CF units like 'days since 1970-01-01'.

    Args:
        numbers: Numbers of any shape.
        units: CF units.
        calendar: CF calendar.

    Returns:
        datetime64[ns], to the second, in the same shape.
    """
    dates = netCDF4.num2date(numbers, units, calendar, only_use_cftime_datetimes=False, only_use_python_datetimes=True)
    # numbers are floats in some products: rounded to the second
    return (np.asarray(dates, "datetime64[ms]") + 500).astype("datetime64[s]").astype("datetime64[ns]")


def chunks(
    variable: Any, steps: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, slice, slice, np.ndarray]]:
    """Read packed maps chunk by chunk, so that each chunk of the file is decompressed once.

    A file without chunks, or with one for each time, is read map by map.

    Args:
        variable: A variable of netCDF4, dims (time, ..., rows, columns).
        steps: Positions (N,) on its time axis, rising.
        size: Rows and columns of a map.

    Yields:
        Positions in `steps`, rows, columns, and the packed values (n, ..., rows, columns) there.
    """
    with LOCK:
        chunking = variable.chunking()
    depth, tile = 1, size
    # files without chunks say 'contiguous', or None
    if isinstance(chunking, list) and chunking[0] > 1:
        depth, tile = chunking[0], (min(chunking[-2], size[0]), min(chunking[-1], size[1]))
    for top in range(0, size[0], tile[0]):
        for left in range(0, size[1], tile[1]):
            rows, columns = slice(top, min(top + tile[0], size[0])), slice(left, min(left + tile[1], size[1]))
            for group in np.unique(steps // depth):
                which = np.flatnonzero(steps // depth == group)
                # from the first to the last step of a chunk, as all of it is decompressed anyway
                first, last = int(steps[which[0]]), int(steps[which[-1]]) + 1
                with LOCK:
                    raw = np.asarray(variable[(slice(first, last), ..., rows, columns)])
                yield which, rows, columns, raw[steps[which] - first]


def read_maps(
    path: Path, variables: Mapping[str, str], times: np.ndarray, steps: slice, missing: Sequence[float] = ()
) -> xr.Dataset:
    """Read maps of a CF NetCDF file, unpacked, whatever order and names their dims have there.

    Other dims (band, depth, expver, number) may have the length 1.

    Args:
        path: The file.
        variables: The file's name of a variable by our name; of one in a group 'group/name'.
        times: Times (N,) of the maps `steps`; empty: maps without time.
        steps: Positions on the time axis.
        missing: Unpacked values that the product documents as missing, even if a file does not declare them.

    Returns:
        float32 in the units of the file, dims (time, lat, lon) or (time, y, x), or without time; north first.

    Raises:
        Unfit: If a variable is not there, or is no map.
        CubeError: If the values hold an undeclared fill value.
    """
    whole(path)
    with _arrays(path, list(variables.values())) as raw:
        fields = {}
        for ours, its in variables.items():
            array = with_axes(raw[its])
            attributes = dict(array.attrs)
            array = array.isel(time=steps) if "time" in array.dims and len(times) else array
            kept = AXES if len(times) else AXES[1:]
            array = array.isel({d: 0 for d in array.dims if d not in kept and array.sizes[d] == 1}, drop=True)
            _refuse_more(its, array)
            array = array.transpose(*(axis for axis in AXES if axis in array.dims))
            values = unpacked(np.asarray(array.values), attributes, its, missing=missing)
            described = {k: attributes[k] for k in DESCRIBED if k in attributes}
            coords = {axis: np.asarray(array[axis].values) for axis in array.dims if axis != "time"}
            time = {"time": times} if "time" in array.dims else {}
            fields[ours] = xr.DataArray(values, {**time, **coords}, array.dims, attrs=described)
    return north_up(once_around(xr.Dataset(fields)))


def _refuse_more(its: str, array: xr.DataArray) -> None:
    """Raise Unfit if an array is not one map for each time."""
    problem = f"{its} has dimensions { ({str(d): n for d, n in array.sizes.items()}) }, expected maps (rows, columns)"
    extra = [str(d) for d in array.dims if d not in AXES]
    if extra:
        raise Unfit(f"{problem}: write a file with one '{extra[0]}' alone, as xarray's isel({extra[0]}=0) takes it")
    if not any({*array.dims} >= pair for pair in ({"lat", "lon"}, {"y", "x"})):
        raise Unfit(f"{problem}, recognized by names, units or standard names of their coordinates")


@contextmanager
def _arrays(path: Path, names: Sequence[str]) -> Iterator[dict[str, xr.DataArray]]:
    """Yield variables of a file by their paths, packed; coordinates in a group above are added.

    Raises:
        Unfit: If a variable is not there.
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
        arrays = {}
        for name in names:
            *above, last = name.split("/")
            levels = ["/".join(above[:k]) for k in range(len(above), -1, -1)]
            for level in levels:
                if level not in groups:
                    group = xr.open_dataset(path, group=level or None, drop_variables=["crs", "spatial_ref"], **options)
                    groups[level] = stack.enter_context(group)
            array = groups[levels[0]][last]
            # xarray does not look for coordinates in the groups above
            for dim in [dim for dim in array.dims if dim not in array.coords]:
                axis = next((groups[level][dim] for level in levels if dim in groups[level].variables), None)
                array = array if axis is None else array.assign_coords({dim: (dim, axis.values, axis.attrs)})
            arrays[name] = array
        yield arrays


def once_around(dataset: xr.Dataset) -> xr.Dataset:
    """Return maps without the columns that come again after 360 degrees: some grids run from 20 to 380.

    Args:
        dataset: Maps; those without `lon` are returned as they are.
    """
    if "lon" not in dataset.dims or dataset.sizes["lon"] < 2:
        return dataset
    # float32 degrees would not reach a difference of 360 exactly
    lon = dataset["lon"].values.astype(np.float64)
    return dataset.isel(lon=lon - lon[0] < 360.0 - 0.01 * abs(lon[1] - lon[0]))


def with_axes(array: xr.DataArray) -> xr.DataArray:
    """Return a variable whose dims are called time, lat, lon, y, x, recognized by their names or their units.

    Args:
        array: A variable with its coordinates.

    Raises:
        ValueError: If it has no coordinates along one of its dims.
    """
    names = axis_names(array.coords.to_dataset(), array.dims)
    for dim, axis in names.items():
        if axis != "time" and dim not in array.coords and array.sizes[dim] > 1:
            raise ValueError(f"{array.name} has no coordinates along '{dim}'")
    beside = [axis for dim, axis in names.items() if dim != axis and axis in array.coords]
    return array.drop_vars(beside).rename({dim: axis for dim, axis in names.items() if dim != axis})
