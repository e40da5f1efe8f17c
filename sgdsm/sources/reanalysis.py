"""ERA5 and ERA5-Land as the Climate Data Store gives them in NetCDF: hourly maps, and what is daily of them.

Layouts: the old one (`time`, int16 packed, sometimes a dimension `expver`: 1 final, 5 preliminary) and the new one
(`valid_time`, float32, `expver` a string for each time; amounts and states in files of their own). Longitudes may run
from 0 to 359.75. The stamp of an amount is the END of its time: the one of 00 UTC belongs to the day before. ERA5 gives
the amount of the hour; ERA5-Land what fell since 00 UTC, so that its 00 UTC stamp holds the whole day before.

Facts: ECMWF, "ERA5 family: conversion table for accumulated variables"; CDS pages of both data sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.cube import ConfigError, suggest
from sgdsm.sources.files import File, Files, SourceError
from sgdsm.sources.names import north_up
from sgdsm.sources.packed import LOCK, attributes_of, chunks, named, opened, times_of, unpacked

HOUR = np.timedelta64(1, "h")
TIME = ("valid_time", "time")  # where both are there, the second is of something else
SOIL = "volume_fraction_of_condensed_water_in_soil"
# short name: ours, units, CF standard name
STATES: dict[str, tuple[str, str, str | None]] = {
    "t2m": ("air_temperature", "K", "air_temperature"),
    "d2m": ("dewpoint_temperature", "K", "dew_point_temperature"),
    "skt": ("surface_temperature", "K", "surface_temperature"),
    "sp": ("surface_pressure", "Pa", "surface_air_pressure"),
    "u10": ("wind_u", "m s-1", "eastward_wind"),
    "v10": ("wind_v", "m s-1", "northward_wind"),
    "sd": ("snow_water_equivalent", "m", "lwe_thickness_of_surface_snow_amount"),
    "lai_hv": ("lai_high_vegetation", "m2 m-2", None),
    "lai_lv": ("lai_low_vegetation", "m2 m-2", None),
    **{f"swvl{k}": (f"soil_water_layer_{k}", "m3 m-3", SOIL) for k in range(1, 5)},
    **{f"stl{k}": (f"soil_temperature_layer_{k}", "K", "soil_temperature") for k in range(1, 5)},
}
# m of water to mm; evaporation counts as negative there, and as positive here
WATER = {
    "tp": ("precipitation", 1e3, "lwe_thickness_of_precipitation_amount"),
    "sf": ("snowfall", 1e3, "lwe_thickness_of_snowfall_amount"),
    "ro": ("runoff", 1e3, None),
    "e": ("evaporation", -1e3, "lwe_thickness_of_water_evaporation_amount"),
    "pev": ("potential_evaporation", -1e3, None),
}
# J m-2 to the mean in W m-2
RADIATION = {
    "ssrd": ("shortwave_down", "surface_downwelling_shortwave_flux_in_air"),
    "strd": ("longwave_down", "surface_downwelling_longwave_flux_in_air"),
    "ssr": ("shortwave_net", "surface_net_downward_shortwave_flux"),
    "str": ("longwave_net", "surface_net_downward_longwave_flux"),
}
NEVER_NEGATIVE = ("tp", "sf", "ro", "ssrd", "strd")  # what is below zero there is rounding of the packing
KNOWN = (*STATES, *WATER, *RADIATION)


@dataclass(frozen=True)
class Stamps:
    """Where the maps of a variable are: times (rising), and for each the file (a number) and the step in it."""

    times: np.ndarray
    file: np.ndarray
    step: np.ndarray

    def find(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position of each time, and whether it is there."""
        at = np.minimum(np.searchsorted(self.times, times), len(self.times) - 1)
        return at, self.times[at] == times


class Contents(NamedTuple):
    """Of a file: its variables that are known, their times, and the grid."""

    names: set[str]
    times: np.ndarray
    lat: np.ndarray
    lon: np.ndarray


class Hours:
    """Reads the maps of several variables, wherever each of them lies among the files.

    since_midnight: amounts are counted from 00 UTC (ERA5-Land). extremes: `daily` gives the day's lowest and highest
    air temperature too.

    Raises SourceError where a variable is in no file, or twice at a time, or files have different grids.
    """

    def __init__(
        self,
        product: str,
        paths: Sequence[Path],
        variables: Sequence[str] | None,
        since_midnight: bool,
        extremes: bool,
    ) -> None:
        for name in variables or ():
            if name not in KNOWN:
                raise ConfigError(f"{product}: variable '{name}'{suggest(name, KNOWN)}: expected {', '.join(KNOWN)}")
        self.product, self.paths = product, list(paths)
        self.since_midnight, self.extremes = since_midnight, extremes
        contents = [_contents(path) for path in self.paths]
        present = {name for one in contents for name in one.names}
        self.variables = list(variables or [name for name in KNOWN if name in present])
        if not self.variables:
            raise SourceError(f"{self.paths[0]}: no variable of {product}, expected one of {', '.join(KNOWN)}")
        if extremes and "t2m" not in self.variables:
            raise ConfigError(f"{product}: extremes=true, but t2m is not among the variables {self.variables}")
        used = [(p, one) for p, one in zip(self.paths, contents, strict=True) if one.names & set(self.variables)]
        if not used:
            raise SourceError(f"{self.paths[0]}: none of {len(self.paths)} files has a variable of {self.variables}")
        # latitudes and longitudes as they are in the files
        self.grid = (used[0][1].lat, used[0][1].lon)
        for path, one in used:
            pairs = zip(self.grid, (one.lat, one.lon), strict=True)
            if not all(a.shape == b.shape and np.allclose(a, b, atol=1e-4) for a, b in pairs):
                raise SourceError(f"{path}: another grid than that of {used[0][0]}, expected one region")
        self.stamps = {name: self._stamps(name, contents) for name in self.variables}

    def files(self) -> Files:
        """The files with the first variable, whose times are those of all maps; reading finds the others."""
        first = self.stamps[self.variables[0]]
        main = _files(self.paths, first)
        named = {file.path for file in main}
        others = {f.path: f for stamps in self.stamps.values() for f in _files(self.paths, stamps)}
        return Files(self.product, main, self, also=[f for path, f in others.items() if path not in named])

    def __call__(self, path: Path, steps: slice) -> xr.Dataset:
        """Maps of the hours `steps` of a file: states at the stamp, amounts of the hour that ends there (NaN where
        ERA5-Land lacks the stamp before)."""
        first = self.stamps[self.variables[0]]
        times = np.sort(first.times[first.file == self.paths.index(path)])[steps]
        found = {}
        for name in self.variables:
            if self.since_midnight and name not in STATES:
                later = times[hour_of(times) != 1]
                asked = np.unique(np.concatenate([times, later - HOUR]))
                raw = self._hours(name, asked, optional=np.setdiff1d(asked, times))
                values = raw[np.searchsorted(asked, times)]
                values[hour_of(times) != 1] -= raw[np.searchsorted(asked, later - HOUR)]
            else:
                values = self._hours(name, times)
            ours, attrs = described(name)
            found[ours] = (("time", "lat", "lon"), converted(name, values, 3600.0), attrs)
        lat, lon = self.grid
        return north_up(xr.Dataset(found, {"time": times, "lat": lat, "lon": lon}))

    def by_file(self, name: str, times: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Numbers of the files that hold a variable at these times, and which of the times each holds."""
        stamps = self.stamps[name]
        at, _ = stamps.find(times)
        return [(int(k), np.flatnonzero(stamps.file[at] == k)) for k in np.unique(stamps.file[at])]

    def blocks(
        self, name: str, number: int, times: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, slice, slice, np.ndarray]]:
        """Maps of a file at these times, chunk by chunk: positions in `times`, rows, columns, values.

        Each chunk of the file is decompressed once, and no more than one of them, or one map, is in memory.

        Raises SourceError naming the file that cannot be read, or whose grid is not `size`.
        """
        stamps = self.stamps[name]
        steps = stamps.step[stamps.find(times)[0]]
        order = np.argsort(steps)
        try:
            with opened(self.paths[number]) as file:
                with LOCK:
                    variable = file[name]
                    attributes = attributes_of(variable)
                    shape = dict(zip(variable.dimensions, variable.shape, strict=True))
                if tuple(shape.values())[-2:] != size or tuple(shape)[1:-2] not in ((), ("expver",)):
                    raise ValueError(f"{name} is {shape}, expected maps of {size[0]} x {size[1]}")
                for which, rows, columns, raw in chunks(variable, steps[order], size):
                    values = unpacked(raw, attributes)
                    if values.ndim == 4:  # by expver: the final ones, and where there are none the preliminary
                        values = np.where(np.isnan(values[:, 0]), values[:, -1], values[:, 0])
                    yield order[which], rows, columns, values
        except (OSError, RuntimeError, IndexError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise SourceError(
                f"{self.paths[number]}: cannot be read as {self.product} (truncated?): {reason}"
            ) from error

    def _hours(self, name: str, times: np.ndarray, optional: np.ndarray | None = None) -> np.ndarray:
        lat, lon = self.grid
        _, there = self.stamps[name].find(times)
        lacking = times[~there] if optional is None else np.setdiff1d(times[~there], optional)
        if lacking.size:
            raise SourceError(f"{self.product}: no {name} at {str(lacking[0])[:16]}, which other variables have")
        found = np.full((len(times), len(lat), len(lon)), np.nan, np.float32)
        where = np.flatnonzero(there)
        for number, here in self.by_file(name, times[where]):
            at = where[here]
            for which, rows, columns, values in self.blocks(name, number, times[at], (len(lat), len(lon))):
                found[at[which], rows, columns] = values
        return found

    def _stamps(self, name: str, contents: list[Contents]) -> Stamps:
        numbers = [k for k, one in enumerate(contents) if name in one.names]
        if not numbers:
            raise SourceError(f"{self.product}: no file of {len(self.paths)} has the variable {name}")
        times = np.concatenate([contents[k].times for k in numbers])
        file = np.concatenate([np.full(len(contents[k].times), k) for k in numbers])
        step = np.concatenate([np.arange(len(contents[k].times)) for k in numbers])
        order = np.argsort(times, kind="stable")
        times, file, step = times[order], file[order], step[order]
        twice = np.flatnonzero(times[1:] == times[:-1])
        if twice.size:
            k = twice[0]
            a, b = self.paths[file[k]], self.paths[file[k + 1]]
            raise SourceError(f"{a} and {b}: both hold {name} at {str(times[k])[:16]}, expected one")
        return Stamps(times, file, step)


def _files(paths: Sequence[Path], stamps: Stamps) -> list[File]:
    return [File(paths[k], np.sort(stamps.times[stamps.file == k])) for k in np.unique(stamps.file)]


def described(name: str) -> tuple[str, dict[str, Any]]:
    """Our name of a variable, and its attributes."""
    if name in STATES:
        ours, units, standard = STATES[name]
        more = {}
    elif name in WATER:
        ours, _, standard = WATER[name]
        units, more = "mm", {"kind": "amount", "cell_methods": "time: sum"}
    else:
        ours, standard = RADIATION[name]
        units, more = "W m-2", {"cell_methods": "time: mean"}
    named = {"standard_name": standard} if standard else {}
    return ours, {"units": units, "long_name": ours.replace("_", " "), **named, **more}


def converted(name: str, values: np.ndarray, seconds: float) -> np.ndarray:
    """In our units, changed in place; seconds: over which an amount was counted."""
    if name in WATER:
        values *= np.float32(WATER[name][1])
    elif name in RADIATION:
        values /= np.float32(seconds)
    if name in NEVER_NEGATIVE:
        np.maximum(values, 0, out=values)
    return values


def _contents(path: Path) -> Contents:
    with named(path), opened(path) as file, LOCK:
        times = times_of(file, TIME)
        axis = next(name for name in TIME if name in file.variables)
        names = {name for name in KNOWN if name in file.variables and file[name].dimensions[0] == axis}
        lat, lon = (np.asarray(file[name][:], np.float64) for name in ("latitude", "longitude"))
    return Contents(names, times, lat, lon)


def hour_of(times: np.ndarray) -> np.ndarray:
    """Hour of the day, 0 to 23."""
    found: np.ndarray = (times - times.astype("datetime64[D]")) // HOUR
    return found
