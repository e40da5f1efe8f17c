"""SMAP L4 (SPL4SMGP), three-hourly means of a land model that assimilates SMAP, HDF5, 9 km EASE-Grid 2.0.

Option variables: names of the files, as sm_surface, sm_rootzone, soil_temp_layer1, precipitation_total_surface_flux. A
model has values wherever there is land: none is rejected. Files that were cut to a region are read too. Names like
SMAP_L4_SM_gph_20150331T013000_Vv7032_001.h5 tell the middle of the three hours. Facts: product specification document
of L4_SM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, log, suggest
from sgdsm.core.days import whole_days
from sgdsm.sources.readers.ease import M09, Variables
from sgdsm.sources.readers.files import Files, OnBadFile, SourceError, Unfit, dated
from sgdsm.sources.readers.names import M3
from sgdsm.sources.readers.packed import refuse_fills

PATTERNS = ("SMAP_L4_SM_gph_*.h5",)
DATE, FORM = r"_gph_(\d{8}T\d{6})_", "%Y%m%dT%H%M%S"
GROUP = "Geophysical_Data"
MAPS_A_DAY = 8
SECONDS = np.float32(10800.0)  # of a map
RAIN = "precipitation_total_surface_flux"
# ours, units there, what it is
KNOWN: dict[str, tuple[str, str, str]] = {
    "sm_surface": ("soil_water_surface", "m3 m-3", "soil moisture of the model, 0 to 5 cm"),
    "sm_rootzone": ("soil_water_root_zone", "m3 m-3", "soil moisture of the model, 0 to 100 cm"),
    "sm_profile": ("soil_water_profile", "m3 m-3", "soil moisture of the model, down to the bedrock"),
    **{
        f"soil_temp_layer{k}": (f"soil_temperature_layer_{k}", "K", f"soil temperature, layer {k}") for k in range(1, 7)
    },
    "surface_temp": ("surface_temperature", "K", "temperature of the land surface"),
    "snow_mass": ("snow_mass", "kg m-2", "mass of snow"),
    RAIN: ("precipitation", "mm", "precipitation of the time that the map stands for"),
}
STANDARD = {"K": "soil_temperature", "m3 m-3": M3["standard_name"]}


def files(paths: Sequence[Path], variables: Sequence[str] = ("sm_surface",)) -> Files:
    """The times of the files, told by their names. variables: by their names in the files."""
    for name in variables:
        if name not in KNOWN:
            raise ConfigError(f"smap_l4: variable '{name}'{suggest(name, list(KNOWN))}: expected {', '.join(KNOWN)}")
    if not variables:
        raise ConfigError(f"smap_l4: variables=[]: expected some of {', '.join(KNOWN)}")
    return Files("smap_l4", dated(paths, DATE, FORM), partial(read, variables=tuple(variables)))


def read(path: Path, steps: slice, variables: Sequence[str]) -> xr.Dataset:
    """The variables of a time, on the part of the grid that the file has."""
    with h5py.File(path) as file:
        if GROUP not in file:
            raise Unfit(f"no group '{GROUP}', found {sorted(file)}, expected a file of SPL4SMGP")
        lacking = [name for name in variables if name not in file[GROUP]]
        if lacking:
            raise Unfit(f"no variable '{lacking[0]}' in {GROUP}, there are {', '.join(sorted(file[GROUP]))}")
        maps = {name: _values(file[GROUP][name]) for name in variables}
        shape = next(iter(maps.values())).shape
        rows, columns = _lines(file, shape)
    found: Variables = {}
    for name, values in maps.items():
        ours, _, _ = KNOWN[name]
        found[ours] = (values * SECONDS if name == RAIN else values, described(name))
    dataset = M09.dataset(found, dated([path], DATE, FORM)[0].times[0], rows, columns)
    version = re.search(r"_(Vv\d)\d*_", path.name)  # the other digits change within a version
    return dataset.assign_attrs(product="SMAP L4 soil moisture", product_version=version[1] if version else "")


def described(name: str) -> dict[str, Any]:
    """Attributes of a variable."""
    _, units, long_name = KNOWN[name]
    attrs = {"units": units, "long_name": long_name}
    if name == RAIN:
        return {**attrs, "standard_name": "lwe_thickness_of_precipitation_amount", "kind": "amount"}
    standard = "surface_temperature" if name == "surface_temp" else STANDARD.get(units)
    return {**attrs, **({"standard_name": standard} if standard else {})}


def daily(files: Files, days: np.ndarray, on_bad_file: OnBadFile = "fail", bad: list[str] | None = None) -> xr.Dataset:
    """Maps of whole UTC days: means of their eight maps, of precipitation the sum (mm). Days without a file are left
    out. Memory: the maps that are returned, and two more.

    Raises SourceError for a day that has some of its eight files; with on_bad_file='skip' it is left out, and a line on
    it is added to `bad`.
    """
    of = whole_days(files.times)
    notes: list[str] = [] if bad is None else bad
    example = files.example()
    made: dict[np.datetime64, dict[str, np.ndarray]] = {}
    for day in whole_days(days):
        times = files.times[of == day]
        if times.size and (total := _total(files, day, times, on_bad_file, notes)) is not None:
            made[day] = total
    dims = ("time", "y", "x")
    maps: dict[str, Any] = {}
    for name, array in example.data_vars.items():
        amount = array.attrs.get("kind") == "amount"
        values = [total[str(name)] / np.float32(1 if amount else MAPS_A_DAY) for total in made.values()]
        stacked = np.stack(values) if values else np.empty((0, *array.shape[1:]), np.float32)
        maps[str(name)] = (dims, stacked, {**array.attrs, "cell_methods": f"time: {'sum' if amount else 'mean'}"})
    coords = {str(n): c for n, c in example.drop_vars("time").coords.items()}
    return xr.Dataset(maps, {"time": np.array(list(made), "datetime64[ns]"), **coords}, example.attrs)


def _total(
    files: Files, day: np.datetime64, times: np.ndarray, on_bad_file: OnBadFile, notes: list[str]
) -> dict[str, np.ndarray] | None:
    """Sums of the maps of a day; None where one of them is missing or cannot be read, which is noted."""
    note = f"smap_l4: {str(day)[:10]} has {times.size} of {MAPS_A_DAY} files, expected all of the day"
    total: dict[str, np.ndarray] = {}
    if times.size == MAPS_A_DAY:
        for k in range(MAPS_A_DAY):
            part = files.load(times[k : k + 1], on_bad_file, notes)
            if not part.sizes["time"]:
                return None  # noted
            for name, array in part.data_vars.items():
                total[str(name)] = total.get(str(name), np.float32(0)) + array.values[0]
        return total
    if on_bad_file == "fail":
        raise SourceError(f"{note}; files: {files.files[0].path.parent}")
    log.info("skipped: %s", note)
    notes.append(note)
    return None


def _values(stored: h5py.Dataset) -> np.ndarray:
    """A map (float32); NaN where it has the fill value, or lies outside valid_min and valid_max."""
    raw = stored[...]
    if raw.ndim == 3 and raw.shape[0] == 1:
        raw = raw[0]
    if raw.ndim != 2:
        raise Unfit(f"{stored.name} has the shape {raw.shape}, expected a map (rows, columns)")
    values: np.ndarray = raw.astype(np.float32)
    names = [name for name in stored.attrs if name in ("_FillValue", "valid_min", "valid_max")]
    # some tools write numbers as text
    told = {name: np.asarray(stored.attrs[name]).ravel().astype(raw.dtype) for name in names}
    if "_FillValue" in told:
        values[np.isin(raw, told["_FillValue"])] = np.nan
    values[raw < told.get("valid_min", np.array([-np.inf]))[0]] = np.nan
    values[raw > told.get("valid_max", np.array([np.inf]))[0]] = np.nan
    refuse_fills(values, stored.name.rpartition("/")[2])
    return values


def _lines(file: h5py.File, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the 9 km grid that a file has.

    Raises Unfit where they are not told, or are of another grid.
    """
    if shape == (M09.rows, M09.columns):
        return np.arange(M09.rows), np.arange(M09.columns)
    if "x" not in file or "y" not in file or (file["y"].size, file["x"].size) != shape:
        raise Unfit(
            f"maps of {shape} without x and y of that size, expected {(M09.rows, M09.columns)} of the 9 km grid"
        )
    return M09.lines(np.asarray(file["y"], float).ravel(), np.asarray(file["x"], float).ravel())
