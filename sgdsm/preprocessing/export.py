"""Write a cube, or a filled file, in other layouts.

One NetCDF file, hierarchical HDF5, a Zarr store, and the daily files of SGD-SM and of ESA CCI's gap-filled product.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import h5py
import numpy as np
import xarray as xr
import zarr

from sgdsm.core.coordinates import check_axes, days_along
from sgdsm.core.cube import by_role, row_bands, target_of, time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import OBSERVED, SM_FILLED, SM_SOURCE, SM_STD
from sgdsm.core.io.hdf5 import NetcdfWriter, require_space, with_places
from sgdsm.core.io.stores import UNFINISHED, chunks, is_remote, one_line_errors, zarr_store
from sgdsm.preprocessing.daily import DailyFiles
from sgdsm.sources.readers.names import Reason

SGD_SM_FILL = -32767
COMMENT = "layout of SGD-SM, rounded to whole percent; the data are those of the attribute source"
FILE = "LPRM_AMSR2_{}.nc"  # what those of SGD-SM are called
CCI_FILE = "ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED_GAPFILLED-{}000000-sgdsm.nc"
CCI_FILL, CCI_UNKNOWN = np.float32(-9999), -1
CCI_COMMENT = "layout of ESA CCI COMBINED_GAPFILLED, made by sgdsm; the data are those of the attribute source"
LINES = "Frozen days are not estimated: there sm is on the line between the days before and after."
NO_REASONS = "Nothing told which days were frozen: frozenmask is missing everywhere, sm is estimated on all days."
FROZEN = (Reason.SNOW, Reason.FROZEN)  # ESA CCI has one flag for snow and temperatures below 0 degree
BAND = 2**26  # values that are in memory at once
VALUES_AT_ONCE = 2**24  # of a variable, as it is written to a Zarr store
EXPORT = "export"  # value of the attribute that marks a store as unfinished
GROUP = {"target": "target", "flag": "target", "dynamic": "dynamic", "static": "static", "land": "static"}


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write one netCDF-4 file, a few days at a time.

    Args:
        dataset: A cube or a filled file.
        path: Name of the file; it appears when it is complete.
    """
    partial = Path(f"{path}.partial")
    coords, variables = _parts(dataset)
    writer = NetcdfWriter(partial, coords, variables, _attrs(dataset))
    try:
        for name in variables:
            for region, values in _blocks(dataset[name]):
                writer.write(name, values, region)
    finally:
        writer.close()
    partial.replace(path)


def write_hdf5(dataset: xr.Dataset, path: Path) -> None:
    """Write HDF5 with the groups coords/, target/, dynamic/ and static/; units, roles and provenance are kept.

    Args:
        dataset: A cube or a filled file.
        path: Name of the file; it appears when it is complete.
    """
    partial = Path(f"{path}.partial")
    coords, variables = _parts(dataset)
    require_space(partial, 0)
    with h5py.File(partial, "w") as file:
        file.attrs.update(_attrs(dataset))
        for name, (values, attrs) in coords.items():
            scale = file.create_dataset(f"coords/{name}", data=values)
            scale.make_scale(name)
            scale.attrs.update(attrs)
        for name, (dims, dtype, attrs) in variables.items():
            group = GROUP.get(str(attrs.get("role")), "target" if "time" in dims else "static")
            # one map a chunk: the usual access is a day
            shape = dataset[name].shape
            chunks = (1, *shape[1:]) if dims[:1] == ("time",) else None
            array = file.create_dataset(
                f"{group}/{name}", shape, dtype, chunks=chunks, compression="gzip" if shape else None
            )
            for axis, dim in enumerate(dims):
                array.dims[axis].attach_scale(file[f"coords/{dim}"])
            array.attrs.update({k: v for k, v in attrs.items() if k != "_FillValue"})
            for region, values in _blocks(dataset[name]):
                require_space(partial, values.nbytes)
                array[region] = values
    partial.replace(path)


def write_zarr(dataset: xr.Dataset, path: str | Path) -> None:
    """Write a Zarr store, local or on an object store, some days at a time.

    Until it is complete an attribute marks the store as unfinished.

    Args:
        dataset: A cube or a filled file.
        path: Folder or URL.
    """
    here = not is_remote(path)
    store = zarr_store(f"{path}.partial" if here else path, write=True)
    # as many days at a time as the largest variable allows
    per_day = max(int(np.prod(dataset[name].shape[1:])) for name in dataset.data_vars)
    days = max(1, VALUES_AT_ONCE // per_day)
    encoding = {str(name): _encoding(dataset[name], days) for name in dataset.variables}
    lazy = (
        dataset.drop_encoding()
        .assign_attrs({UNFINISHED: EXPORT})
        .chunk(dict.fromkeys({"time"} & {*dataset.dims}, days))
    )
    # one block of days after another: memory stays bounded
    with one_line_errors(path), warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        # zarr warns that it is not in the specification yet; xarray opens such stores faster
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        lazy.to_zarr(store, mode="w", encoding=encoding, consolidated=False)
        zarr.open_group(store, mode="r+", use_consolidated=False).attrs.pop(UNFINISHED)
        zarr.consolidate_metadata(store)
    if here:
        Path(f"{path}.partial").replace(path)


def is_begun(path: str) -> bool:
    """Return True if a store at a URL is one that `write_zarr` has not finished."""
    with one_line_errors(path):
        try:
            group = zarr.open_group(zarr_store(path), mode="r", use_consolidated=False)
        except (FileNotFoundError, ValueError):
            return False
        return group.attrs.get(UNFINISHED) == EXPORT


def write_sgd_sm(dataset: xr.Dataset, folder: Path, plan: str = "") -> int:
    """Write daily files in the layout of the SGD-SM product, for its users.

    `original_sm_c1` and `reconstructed_sm_c1` are in whole percent, rounded (that product truncates), (Latitude,
    Longitude), fill value -32767.

    Args:
        dataset: A filled file, or a cube, for which both variables are the same.
        folder: Destination of the files.
        plan: Identifies the data; an interrupted folder is resumed if it is the same.

    Returns:
        The number of files.

    Raises:
        CubeError: When the dataset is neither, its units are not m3 m-3, or its grid is projected.
        ConfigError: When the folder holds other files of these names.
    """
    if SM_FILLED in dataset:
        # `sm_filled` holds observed values too: the original ones are those with that source
        filled = dataset[SM_FILLED]
        about = {"source": dataset.attrs.get("source", "")}
        target = filled.where(dataset[SM_SOURCE] == OBSERVED).assign_attrs({**filled.attrs, **about})
    elif len(by_role(dataset, "target")) == 1:
        filled = target = target_of(dataset)
    else:
        raise CubeError("neither a filled file (no 'sm_filled') nor a cube (no variable with the role of the target)")
    files = _daily(target, folder, FILE, "SGD-SM", plan)
    coords = {
        "Latitude": (target["lat"].values, {"units": "degrees_north"}),
        "Longitude": (target["lon"].values, {"units": "degrees_east"}),
    }
    attrs = {"units": "percent", "_FillValue": SGD_SM_FILL}
    dims = ("Latitude", "Longitude")
    variables = dict.fromkeys(("original_sm_c1", "reconstructed_sm_c1"), (dims, "int16", attrs))
    for day, partial in files.missing():
        date = files.dates[day]
        about = {"Conventions": "CF-1.10", "date": date, "source": str(target.attrs.get("source", ""))}
        writer = NetcdfWriter(partial, coords, variables, {**about, "comment": COMMENT})
        try:
            for name, source in zip(variables, (target, filled), strict=True):
                writer.write(name, _percent(source[day].values), (slice(None), slice(None)))
        finally:
            writer.close()
    files.end()
    return target.shape[0]


def write_cci_gapfilled(dataset: xr.Dataset, folder: Path, plan: str = "") -> int:
    """Write daily files in the layout of ESA CCI COMBINED_GAPFILLED (Preimesberger et al., ESSD 17, 4305, 2025).

    `sm` (m3 m-3), `gapmask` (0: not observed), `frozenmask` (1: frozen) and, where the file has `sm_std`,
    `sm_uncertainty` (m3 m-3). In frozen spells `sm` is on the line between the values before and after, as in that
    product, because water stays in frozen soil; at the ends of the record it is the nearest value.

    Args:
        dataset: A filled file, with the `sm_reason` of the cube that was filled, which marks frozen days; without it
            `frozenmask` is missing everywhere.
        folder: Destination of the files.
        plan: Identifies the data; an interrupted folder is resumed if it is the same.

    Returns:
        The number of files.

    Raises:
        CubeError: When the dataset is no filled file, its units are not m3 m-3, or its grid is projected.
        ConfigError: When the folder holds other files of these names.
    """
    if SM_FILLED not in dataset:
        raise CubeError("the layout cci_gapfilled needs a filled file, with 'sm_filled'")
    sm = dataset[SM_FILLED]
    files = _daily(sm, folder, CCI_FILE, "cci_gapfilled", plan)
    lines = _lines(sm, dataset["sm_reason"], dataset[SM_SOURCE]) if "sm_reason" in dataset else None
    coords = {
        "lat": (sm["lat"].values, {"units": "degrees_north"}),
        "lon": (sm["lon"].values, {"units": "degrees_east"}),
    }
    variables = _cci_variables(with_uncertainty=SM_STD in dataset)
    about = {"Conventions": "CF-1.10", "source": str(dataset.attrs.get("source", "")), "product_version": "sgdsm"}
    about["comment"] = f"{CCI_COMMENT}. {NO_REASONS if lines is None else LINES}"
    for day, partial in files.missing():
        number = (sm["time"].values[day] - np.datetime64("1970-01-01")) // np.timedelta64(1, "D")
        time = np.array([number], np.int32), {"units": "days since 1970-01-01", "calendar": "standard"}
        line = np.full(sm.shape[1:], np.nan, np.float32) if lines is None else lines[day]
        frozen = np.isfinite(line)
        values = {
            "sm": np.where(frozen, line, sm[day].values),
            "gapmask": (dataset[SM_SOURCE][day].values == OBSERVED).astype(np.int8),
            "frozenmask": np.full(line.shape, CCI_UNKNOWN, np.int8) if lines is None else frozen.astype(np.int8),
        }
        if SM_STD in dataset:
            values["sm_uncertainty"] = np.where(frozen, np.nan, dataset[SM_STD][day].values)
        attrs = {**about, "date": files.dates[day]}
        writer = NetcdfWriter(partial, {"time": time, **coords}, variables, attrs)
        try:
            for name, day_map in values.items():
                day_map = np.where(np.isnan(day_map), CCI_FILL, day_map) if day_map.dtype.kind == "f" else day_map
                writer.write(name, day_map[None], (slice(None),) * 3)
        finally:
            writer.close()
    files.end()
    return len(files.dates)


def _cci_variables(with_uncertainty: bool) -> dict[str, Any]:
    """Describe the variables of ESA CCI COMBINED_GAPFILLED: name -> dims, dtype and attributes."""
    dims, mask = ("time", "lat", "lon"), {"flag_values": np.array([0, 1], np.int8)}
    value = {"units": "m3 m-3", "_FillValue": CCI_FILL}
    variables: dict[str, Any] = {
        "sm": (dims, "float32", {**value, "long_name": "volumetric soil moisture, gaps filled"}),
        "gapmask": (dims, "int8", {**mask, "flag_meanings": "not_observed observed"}),
        "frozenmask": (
            dims,
            "int8",
            {**mask, "flag_meanings": "not_frozen frozen", "_FillValue": np.int8(CCI_UNKNOWN)},
        ),
    }
    if with_uncertainty:
        long_name = "standard deviation of filled values, of observed ones where the product gave it"
        variables["sm_uncertainty"] = (dims, "float32", {**value, "long_name": long_name})
    return variables


LAYOUTS: dict[str, Callable[..., Any]] = {
    "zarr": write_zarr,
    "netcdf": write_netcdf,
    "hdf5": write_hdf5,
    "sgd_sm": write_sgd_sm,
    "cci_gapfilled": write_cci_gapfilled,
}
DAILY = ("sgd_sm", "cci_gapfilled")  # a folder of files


def layout_of(output: str, layout: str | None) -> str:
    """Return the layout that is asked for, or that the ending of the output implies.

    Args:
        output: Name of the output.
        layout: A key of LAYOUTS, or None.

    Raises:
        ConfigError: When neither gives a layout, or they contradict each other.
    """
    by_ending = {".zarr": "zarr", ".nc": "netcdf", ".h5": "hdf5", ".hdf5": "hdf5"}.get(Path(output).suffix)
    chosen = layout or by_ending
    if chosen not in LAYOUTS:
        raise ConfigError(
            f"layout={layout}, output={output}: expected layout= {', '.join(LAYOUTS)}, or an output .nc, .h5 or .zarr"
        )
    if layout is not None and by_ending not in (None, layout):
        raise ConfigError(f"output={output} ends like {by_ending}, but layout={layout}")
    return str(chosen)


def _daily(target: xr.DataArray, folder: Path, name: str, layout: str, plan: str) -> DailyFiles:
    """Begin the files of the days, or resume them."""
    if target.attrs.get("units") != "m3 m-3":
        units = target.attrs.get("units", "1")
        raise CubeError(f"'{target.name}' is in '{units}', the layout of {layout} needs m3 m-3")
    if target.dims != ("time", "lat", "lon"):
        raise CubeError(f"'{target.name}' has dims {target.dims}, the layout of {layout} needs time, lat and lon")
    check_axes(target.to_dataset(), ("lat", "lon"))
    dates = [str(day)[:10].replace("-", "") for day in days_along(target.to_dataset())]
    files = DailyFiles(folder, name, dates, plan)
    files.begin()
    return files


def _lines(sm: xr.DataArray, reason: xr.DataArray, source: xr.DataArray) -> np.ndarray:
    """Return `sm` in frozen spells, NaN elsewhere; (T, H, W) float32, in a temporary file."""
    with tempfile.TemporaryFile() as file:  # deleted when the memory map is
        lines = np.memmap(file, np.float32, "w+", shape=sm.shape)
    # a line needs all days of a cell, so bands of rows are in memory
    days, rows = np.arange(sm.shape[0]), max(1, BAND // max(1, sm.shape[0] * sm.shape[2]))
    for begin in range(0, sm.shape[1], rows):
        band = (slice(None), slice(begin, begin + rows))
        values = np.asarray(sm[band].values, np.float32)
        frozen = np.isin(reason[band].values, FROZEN) & (source[band].values != OBSERVED) & np.isfinite(values)
        unfrozen = np.isfinite(values) & ~frozen
        interpolated = np.full(values.shape, np.nan, np.float32)
        for row, column in np.argwhere(frozen.any(0)):
            place = (slice(None), row, column)
            spell, known = frozen[place], unfrozen[place]
            # where every day is frozen there is no line: the estimate stays
            line = np.interp(days[spell], days[known], values[place][known]) if known.any() else values[place][spell]
            interpolated[spell, row, column] = line
        lines[band] = interpolated
    return lines


def _percent(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), np.round(np.nan_to_num(values) * 100), SGD_SM_FILL).astype(np.int16)


def _parts(dataset: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    # NetCDF and HDF5 have no datetimes: by CF days are counted from a reference
    coords: dict[str, Any] = {}
    for dim in dataset.dims:
        values, attrs = dataset[dim].values, dict(dataset[dim].attrs)
        if values.dtype.kind == "M":
            attrs |= {"units": f"days since {str(values[0])[:10]}", "calendar": "standard"}
            values = ((values - values[0]) / np.timedelta64(1, "D")).astype(np.int32)
        coords[str(dim)] = values, attrs
    variables: dict[str, Any] = {}
    for name in dataset.data_vars:
        variable = dataset[name]
        # text variables have no place in these layouts
        if variable.dtype.kind not in "fiub":
            continue
        attrs = dict(variable.attrs)
        dtype = np.dtype(np.int8) if variable.dtype.kind == "b" else variable.dtype
        if dtype.kind == "f":
            attrs["_FillValue"] = np.nan
        if "flag_values" in attrs:
            # CF asks for the variable's own type, which Zarr's attributes (JSON) do not keep
            attrs["flag_values"] = np.asarray(attrs["flag_values"], dtype)
        variables[str(name)] = variable.dims, dtype, attrs
    places = {str(n): c for n, c in dataset.coords.items() if n not in dataset.dims and c.dtype.kind in "fiu"}
    return coords, with_places(variables, {n: (c.dims, c.values, c.attrs) for n, c in places.items()})


def _encoding(variable: xr.DataArray, days: int) -> dict[str, Any]:
    """Return how a variable is stored in Zarr: packed as in its own file, in chunks that suit object stores."""
    kept = ("dtype", "_FillValue", "scale_factor", "add_offset", "units", "calendar")
    encoding = {k: variable.encoding[k] for k in kept if k in variable.encoding}
    if variable.dims[:1] == ("time",) and variable.ndim == 3:
        encoding["chunks"] = chunks(variable.shape, days if days < variable.shape[0] else None)  # type: ignore[arg-type]
    return encoding


def _attrs(dataset: xr.Dataset) -> dict[str, Any]:
    return {str(k): v for k, v in dataset.attrs.items()}


def _blocks(variable: xr.DataArray) -> Any:
    if variable.dims[:1] != ("time",):
        yield (slice(None),) * variable.ndim if variable.ndim else (), variable.values
        return
    if variable.ndim == 1:
        yield (slice(None),), variable.values
        return
    # bands of rows and blocks of days: memory stays bounded for any shape
    for rows in row_bands(variable):
        for days in time_chunks(variable[:, rows]):
            yield (days, rows, *[slice(None)] * (variable.ndim - 2)), variable[days, rows].values
