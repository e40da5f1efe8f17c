"""SMAP L4 (SPL4SMGP): three-hourly means of a land model that assimilates SMAP, HDF5, 9 km EASE-Grid 2.0.

Reads soil moisture (m3 m-3), temperatures (K), snow mass (kg m-2) and precipitation (mm) by their names in the files,
see `KNOWN`. A model has values on all land: none is rejected. Files that were cut to a region are read too. File names
like SMAP_L4_SM_gph_20150331T013000_Vv7032_001.h5 hold the middle of the three hours.

Reference: Reichle et al., product specification document of L4_SM (NASA GMAO office note); user guide of SPL4SMGP
(NSIDC).
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

from sgdsm.core.cube import suggest
from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
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
    """Return the times of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        variables: Names in the files, as 'sm_surface', 'sm_rootzone' or 'precipitation_total_surface_flux'.

    Returns:
        The files, one time each; `daily` makes daily maps of them.

    Raises:
        ConfigError: If a variable is unknown, or none is given.
        SourceError: If a name has no date.
    """
    for name in variables:
        if name not in KNOWN:
            raise ConfigError(f"smap_l4: variable '{name}'{suggest(name, list(KNOWN))}: expected {', '.join(KNOWN)}")
    if not variables:
        raise ConfigError(f"smap_l4: variables=[]: expected some of {', '.join(KNOWN)}")
    return Files("smap_l4", dated(paths, DATE, FORM), partial(read, variables=tuple(variables)))


def read(path: Path, steps: slice, variables: Sequence[str]) -> xr.Dataset:
    """Read one time, on the part of the grid that the file has.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        variables: As in `files`.

    Returns:
        The variables, dims (time, y, x); precipitation is the amount of the three hours, mm.

    Raises:
        Unfit: If the file is none of SPL4SMGP or lacks a variable.
        CubeError: If the values hold an undeclared fill value.
    """
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
    """Return the attributes of a variable."""
    _, units, long_name = KNOWN[name]
    attrs = {"units": units, "long_name": long_name}
    if name == RAIN:
        return {**attrs, "standard_name": "lwe_thickness_of_precipitation_amount", "kind": "amount"}
    standard = "surface_temperature" if name == "surface_temp" else STANDARD.get(units)
    return {**attrs, **({"standard_name": standard} if standard else {})}


def daily(files: Files, days: np.ndarray, on_bad_file: OnBadFile = "fail", bad: list[str] | None = None) -> xr.Dataset:
    """Return maps of whole UTC days: the mean of their eight maps, of precipitation the sum (mm).

    Memory: the maps that are returned, and two more.

    Args:
        files: Files of this product.
        days: Days (N,), any datetime64; those without a file are left out.
        on_bad_file: 'fail', or 'skip' to leave out a day that is not complete.
        bad: A line on each skipped day is added to this list.

    Returns:
        The variables, dims (time, y, x).

    Raises:
        SourceError: If a day has only some of its eight files, or a file cannot be read; not with on_bad_file='skip'.
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
        # no day at all: maps of length 0
        stacked = np.stack(values) if values else np.empty((0, *array.shape[1:]), np.float32)
        maps[str(name)] = (dims, stacked, {**array.attrs, "cell_methods": f"time: {'sum' if amount else 'mean'}"})
    coords = {str(n): c for n, c in example.drop_vars("time").coords.items()}
    return xr.Dataset(maps, {"time": np.array(list(made), "datetime64[ns]"), **coords}, example.attrs)


def _total(
    files: Files, day: np.datetime64, times: np.ndarray, on_bad_file: OnBadFile, notes: list[str]
) -> dict[str, np.ndarray] | None:
    """Return the sums (H, W) of the maps of a day by variable; None if a map is missing or cannot be read.

    Raises:
        SourceError: If the day is not complete and `on_bad_file` is 'fail'.
    """
    note = f"smap_l4: {str(day)[:10]} has {times.size} of {MAPS_A_DAY} files, expected all of the day"
    total: dict[str, np.ndarray] = {}
    if times.size == MAPS_A_DAY:
        for k in range(MAPS_A_DAY):
            # map by map, so that memory does not grow with the eight files
            part = files.load(times[k : k + 1], on_bad_file, notes)
            if not part.sizes["time"]:
                return None  # `load` has added the note
            for name, array in part.data_vars.items():
                total[str(name)] = total.get(str(name), np.float32(0)) + array.values[0]
        return total
    if on_bad_file == "fail":
        raise SourceError(f"{note}; files: {files.files[0].path.parent}")
    log.info("skipped: %s", note)
    notes.append(note)
    return None


def _values(stored: h5py.Dataset) -> np.ndarray:
    """Return a map (H, W) float32, NaN at fill values and outside valid_min and valid_max.

    Raises:
        Unfit: If the variable is no map.
        CubeError: If the values hold an undeclared fill value.
    """
    raw = stored[...]
    # some tools keep a time axis of length 1 when they cut a region
    if raw.ndim == 3 and raw.shape[0] == 1:
        raw = raw[0]
    if raw.ndim != 2:
        raise Unfit(f"{stored.name} has the shape {raw.shape}, expected a map (rows, columns)")
    values: np.ndarray = raw.astype(np.float32)
    names = [name for name in stored.attrs if name in ("_FillValue", "valid_min", "valid_max")]
    # some tools write numbers as text
    bounds = {name: np.asarray(stored.attrs[name]).ravel().astype(raw.dtype) for name in names}
    if "_FillValue" in bounds:
        values[np.isin(raw, bounds["_FillValue"])] = np.nan
    values[raw < bounds.get("valid_min", np.array([-np.inf]))[0]] = np.nan
    values[raw > bounds.get("valid_max", np.array([np.inf]))[0]] = np.nan
    # precipitation is multiplied by 10800 s, after which -9999 would not be recognized
    refuse_fills(values, stored.name.rpartition("/")[2])
    return values


def _lines(file: h5py.File, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the 9 km grid that a file has.

    Raises:
        Unfit: If the file has no coordinates of a part of the grid, or another grid.
    """
    if shape == (M09.rows, M09.columns):
        return np.arange(M09.rows), np.arange(M09.columns)
    if "x" not in file or "y" not in file or (file["y"].size, file["x"].size) != shape:
        raise Unfit(
            f"maps of {shape} without x and y of that size, expected {(M09.rows, M09.columns)} of the 9 km grid"
        )
    return M09.lines(np.asarray(file["y"], float).ravel(), np.asarray(file["x"], float).ravel())
