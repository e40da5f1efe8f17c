"""Maps in NetCDF files as they lie on disk: packed numbers, chunks, time axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from sgdsm.safety import refuse_unsafe
from sgdsm.sources.files import SourceError
from sgdsm.sources.names import north_up
from sgdsm.sources.netcdf3 import whole

LOCK = NETCDF4_PYTHON_LOCK
AXES = ("time", "lat", "lon", "y", "x")
# names in small letters, how the units begin, CF standard name
KNOWN_AXES: dict[str, tuple[tuple[str, ...], str | tuple[str, ...], str]] = {
    "time": (("time", "valid_time"), "", "time"),
    "lat": (("lat", "latitude", "nav_lat"), ("degrees_north", "degree_north", "degrees north"), "latitude"),
    "lon": (("lon", "longitude", "nav_lon"), ("degrees_east", "degree_east", "degrees east"), "longitude"),
    "y": (("y",), "", "projection_y_coordinate"),
    "x": (("x",), "", "projection_x_coordinate"),
}


def unpacked(raw: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Values (float32, a copy) of packed numbers: fill values and what is outside `valid_range` become NaN.

    attributes: those of the variable; `valid_range` counts in packed numbers, as CF has it.
    """
    if str(attributes.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    values = raw.astype(np.float32)
    if "scale_factor" in attributes or "add_offset" in attributes:
        values *= np.float32(attributes.get("scale_factor", 1.0))
        values += np.float32(attributes.get("add_offset", 0.0))
    for name in ("_FillValue", "missing_value"):
        fill = np.atleast_1d(attributes.get(name, np.nan))
        for value in fill[np.isfinite(fill)]:
            values[raw == value.astype(raw.dtype)] = np.nan
    if "valid_range" in attributes:
        low, high = attributes["valid_range"]
        values[(raw < low) | (raw > high)] = np.nan
    return values


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
    return decoded(np.asarray(file[axis][:]), file[axis].units, getattr(file[axis], "calendar", "standard"))


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into a SourceError that names it."""
    try:
        yield
    except (OSError, KeyError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read (truncated, or not such a NetCDF file): {reason}") from error


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
    without time where `times` is empty. variables: our name to the file's. times: of the maps `steps`.

    Raises KeyError for a variable that is not there, and ValueError where a variable is no map.
    """
    whole(path)
    options: dict[str, Any] = {"engine": "netcdf4", "decode_times": False, "mask_and_scale": False}
    with xr.open_dataset(path, **options, drop_variables=["crs", "spatial_ref"]) as raw:
        lacking = [its for its in variables.values() if its not in raw.variables]
        if lacking:
            raise KeyError(f"no variable '{lacking[0]}', there are {', '.join(map(str, raw.data_vars))}")
        found = {}
        for ours, its in variables.items():
            array = with_axes(raw[its])
            attributes = dict(array.attrs)
            array = array.isel(time=steps) if "time" in array.dims and len(times) else array.squeeze(drop=True)
            extra = [str(d) for d in array.dims if d not in AXES]
            if extra or not any({*array.dims} >= pair for pair in ({"lat", "lon"}, {"y", "x"})):
                raise ValueError(f"{its} has dimensions {dict(array.sizes)}, expected maps (rows, columns)")
            array = array.transpose(*(axis for axis in AXES if axis in array.dims))
            values = unpacked(np.asarray(array.values), attributes)
            described = {k: attributes[k] for k in ("units", "long_name", "standard_name") if k in attributes}
            coords = {axis: np.asarray(array[axis].values) for axis in array.dims if axis != "time"}
            time = {"time": times} if "time" in array.dims else {}
            found[ours] = xr.DataArray(values, {**time, **coords}, array.dims, attrs=described)
    return north_up(once_around(xr.Dataset(found)))


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
    names = {}
    for dim in array.dims:
        coordinate = array.coords.get(dim)
        units = str(coordinate.attrs.get("units", "")) if coordinate is not None else ""
        standard = str(coordinate.attrs.get("standard_name", "")) if coordinate is not None else ""
        for axis, (known, unit, cf) in KNOWN_AXES.items():
            by_units = bool(unit) and units.lower().startswith(unit)
            if dim not in names and (by_units or standard == cf or str(dim).lower() in known):
                names[dim] = axis
                if coordinate is None and axis != "time" and array.sizes[dim] > 1:
                    raise ValueError(f"{array.name} has no coordinates along '{dim}'")
    return array.rename({dim: axis for dim, axis in names.items() if dim != axis})
