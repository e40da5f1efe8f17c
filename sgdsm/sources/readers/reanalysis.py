"""ERA5 and ERA5-Land of the Climate Data Store in NetCDF: hourly maps, and daily statistics.

Layouts: the old one (`time`, int16 packed, sometimes a dimension `expver`: 1 final, 5 preliminary) and the new one
(`valid_time`, float32, `expver` a string for each time; amounts and states in different files), what cfgrib makes of
GRIB, and daily statistics, see `reanalysis_layout`. Longitudes may run from 0 to 359.75.

The stamp of an amount is the END of its interval: the one of 00 UTC belongs to the day before. ERA5 has the amount of
the hour; ERA5-Land the amount since 00 UTC, so that its 00 UTC stamp holds the whole day before.

Reference: ECMWF, "ERA5 family: conversion table for accumulated variables"; pages of both data sets in the Climate Data
Store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import suggest
from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.sources.readers.broken import why
from sgdsm.sources.readers.files import File, Files, SourceError, headed
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.packed import LOCK, attributes_of, chunks, listing, opened, unpacked
from sgdsm.sources.readers.reanalysis_layout import Contents, Maps, contents_of, grid_of, refuse_mixed

HOUR = np.timedelta64(1, "h")
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
NEVER_NEGATIVE = ("tp", "sf", "ro", "ssrd", "strd")  # their values below zero are rounding of the packing
KNOWN = (*STATES, *WATER, *RADIATION)
EXTREMES = {"min": "minimum", "max": "maximum"}  # of the states, as cell methods
USABLE = (*KNOWN, *(f"{name}_{end}" for name in STATES for end in EXTREMES))


@dataclass(frozen=True)
class Stamps:
    """Where the maps of a variable are.

    Args:
        times: Times (N,), datetime64[ns], rising.
        file: Number (N,) of the file of each map.
        step: Position (N,) of each map in its file.
    """

    times: np.ndarray
    file: np.ndarray
    step: np.ndarray

    def find(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where times are.

        Args:
            times: Times (M,), datetime64[ns].

        Returns:
            Position (M,) of each time, and True (M,) if it exists.
        """
        at = np.minimum(np.searchsorted(self.times, times), len(self.times) - 1)
        return at, self.times[at] == times


class Hours:
    """Reader of the maps of several variables, whichever of the files each of them is in.

    Args:
        product: Name of the product, for messages.
        paths: The files.
        variables: Short names; None: all known variables of the files.
        since_midnight: True if amounts are accumulated since 00 UTC (ERA5-Land).
        extremes: Add the day's lowest and highest air temperature.
        daily_statistics: True if the maps are of whole days; None: decided for each file.

    Raises:
        SourceError: If a variable is in no file, or twice at a time, or files have different grids.
        ConfigError: If a variable is unknown, or `extremes` is asked for without t2m.
    """

    def __init__(
        self,
        product: str,
        paths: Sequence[Path],
        variables: Sequence[str] | None,
        *,
        since_midnight: bool,
        extremes: bool,
        daily_statistics: bool | None = None,
    ) -> None:
        for name in variables or ():
            if name not in USABLE:
                raise ConfigError(f"{product}: variable '{name}'{suggest(name, USABLE)}: expected {', '.join(KNOWN)}")
        self.product, self.paths = product, list(paths)
        self.since_midnight, self.extremes = since_midnight, extremes
        # by key: the short name, with an ending for the lowest and the highest of a day
        # all files are opened once, because users split variables and years in any way
        self.places = [self._keyed(contents_of(path, KNOWN, daily_statistics)) for path in self.paths]
        present = {key for one in self.places for key in one.places}
        self.variables = list(variables or [key for key in USABLE if key in present])
        if not self.variables:
            raise SourceError(f"{self.paths[0]}: no variable of {product}, expected one of {', '.join(KNOWN)}")
        if extremes and "t2m" not in self.variables:
            raise ConfigError(f"{product}: extremes=true, but t2m is not among the variables {self.variables}")
        self.of_days = {key for key in self.variables if self._is_of_days(key)}
        if extremes and "t2m" in self.of_days:
            self.variables += [key for key in ("t2m_min", "t2m_max") if key not in self.variables]
            self.of_days |= {"t2m_min", "t2m_max"}
        self.grid = self._grid()
        self.stamps = {key: self._stamps(key) for key in self.variables}

    def _keyed(self, contents: Contents) -> Contents:
        """Return the contents of a file by keys, see `key_of`."""
        return contents._replace(
            places={key_of(n, place.statistic, self.since_midnight): place for n, place in contents.places.items()}
        )

    def _is_of_days(self, key: str) -> bool:
        """Return True if the maps of a variable are daily statistics."""
        of = [(one.places[key], path) for one, path in zip(self.places, self.paths, strict=True) if key in one.places]
        # a mixture of hourly maps and daily means cannot be one variable
        kinds = {place.statistic is not None: path for place, path in of}
        refuse_mixed(key, kinds)
        return True in kinds

    def _present(self) -> str:
        """Return the variables of all files, for a message."""
        return listing(sorted({key for one in self.places for key in one.places}))

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return latitudes (H,) and longitudes (W,) in degrees, in the order of the files.

        Raises:
            SourceError: If no file has one of the variables, or the grids differ.
        """
        pairs = zip(self.paths, self.places, strict=True)
        used = [(path, one) for path, one in pairs if one.places.keys() & set(self.variables)]
        if not used:
            raise SourceError(
                f"{self.paths[0]}: none of {len(self.paths)} files has a variable of {self.variables}, there are "
                f"{self._present()}"
            )
        grid = (used[0][1].lat, used[0][1].lon)
        for path, one in used:
            if not all(
                a.shape == b.shape and np.allclose(a, b, atol=1e-4)
                for a, b in zip(grid, (one.lat, one.lon), strict=True)
            ):
                raise SourceError(f"{path}: another grid than that of {used[0][0]}, expected one region")
        return grid

    def files(self) -> Files:
        """Return the files that hold the main variable; reading them opens the others too."""
        main = _files(self.paths, self.stamps[self._main()])
        main_paths = {file.path for file in main}
        others = {f.path: f for stamps in self.stamps.values() for f in _files(self.paths, stamps)}
        return Files(self.product, main, self, also=[f for path, f in others.items() if path not in main_paths])

    def _main(self) -> str:
        """Return the variable whose times are those of all maps: an hourly one, if there is any."""
        return next((key for key in self.variables if key not in self.of_days), self.variables[0])

    def __call__(self, path: Path, steps: slice) -> xr.Dataset:
        """Read the maps `steps` of a file.

        States are those at the stamp, amounts those of the hour that ends there (NaN where ERA5-Land lacks the stamp
        before), statistics those of the day.

        Args:
            path: File of the main variable.
            steps: Positions among its times.

        Returns:
            All variables, dims (time, lat, lon), north first.

        Raises:
            SourceError: If a file cannot be read, a map is missing, or values hold an undeclared fill value.
        """
        first = self.stamps[self._main()]
        times = np.sort(first.times[first.file == self.paths.index(path)])[steps]
        fields = {}
        for key in self.variables:
            ours, attrs = described(key)
            if key in self.of_days:
                values = converted(key, self._hours(key, whole_days(times)), 86400.0)
            elif self.since_midnight and key not in STATES:
                values = converted(key, self._differences(key, times), 3600.0)
            else:
                values = converted(key, self._hours(key, times), 3600.0)
            fields[ours] = (("time", "lat", "lon"), values, attrs)
            if key == "t2m" and self.extremes and key not in self.of_days:
                # the extremes of one hour are its value
                fields |= {
                    described(f"t2m_{end}")[0]: (*fields[ours][:2], described(f"t2m_{end}")[1]) for end in EXTREMES
                }
        lat, lon = self.grid
        return north_up(xr.Dataset(fields, {"time": times, "lat": lat, "lon": lon}))

    def _differences(self, name: str, times: np.ndarray) -> np.ndarray:
        """Return amounts (N, H, W) of the hours that end at these times, from amounts since 00 UTC."""
        # the stamp of 01 UTC is the first of its day: it is the amount of its hour
        later = times[hour_of(times) != 1]
        asked = np.unique(np.concatenate([times, later - HOUR]))
        raw = self._hours(name, asked, optional=np.setdiff1d(asked, times))
        values: np.ndarray = raw[np.searchsorted(asked, times)]
        # accumulations start again after each 00 UTC stamp
        values[hour_of(times) != 1] -= raw[np.searchsorted(asked, later - HOUR)]
        return values

    def by_file(self, name: str, times: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return which file holds which of some times.

        Args:
            name: Key of the variable.
            times: Times (N,), datetime64[ns], all of which exist.

        Returns:
            Number of each file, and the positions in `times` that it holds.
        """
        stamps = self.stamps[name]
        at, _ = stamps.find(times)
        return [(int(k), np.flatnonzero(stamps.file[at] == k)) for k in np.unique(stamps.file[at])]

    def blocks(
        self, name: str, number: int, times: np.ndarray, size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, slice, slice, np.ndarray]]:
        """Read maps of a file at some times, chunk by chunk.

        Each chunk of the file is decompressed once, and no more than one of them, or one map, is in memory.

        Args:
            name: Key of the variable.
            number: Number of the file.
            times: Times (N,), datetime64[ns], all of which are in that file.
            size: Rows and columns of a map.

        Yields:
            Positions in `times`, rows, columns, and values (n, rows, columns) in the units of the file.

        Raises:
            SourceError: If the file cannot be read, its grid is not `size`, or the values hold an undeclared fill
                value.
        """
        stamps = self.stamps[name]
        steps = stamps.step[stamps.find(times)[0]]
        # chunks are read in the order of the file
        order = np.argsort(steps)
        # the mean of the 24 amounts of a day
        hours = 24 if name not in STATES and self.places[number].places[name].statistic == "mean" else 1
        try:
            with opened(self.paths[number]) as file:
                with LOCK:
                    maps = Maps(file[split(name)[0]], *grid_of(file))
                    attributes = attributes_of(maps.variable)
                if tuple(maps.sizes.values())[-2:] != size:
                    raise ValueError(f"{name} is {maps.sizes}, expected maps of {size[0]} x {size[1]}")
                for which, rows, columns, raw in chunks(maps, steps[order], size):
                    values = unpacked(raw, attributes, split(name)[0])
                    if values.ndim == 4:  # by expver: the final ones, and where there are none the preliminary
                        values = np.where(np.isnan(values[:, 0]), values[:, -1], values[:, 0])
                    yield order[which], rows, columns, values * np.float32(hours) if hours > 1 else values
        except CubeError as error:
            raise SourceError(headed(self.paths[number], error)) from error
        except (OSError, RuntimeError, IndexError, ValueError) as error:
            path = self.paths[number]
            raise SourceError(f"{path}: cannot be read as {self.product} (truncated?): {why(path, error)}") from error

    def _hours(self, name: str, times: np.ndarray, optional: np.ndarray | None = None) -> np.ndarray:
        """Return maps (N, H, W) at these times, in the units of the file; NaN for `optional` times that do not exist.

        Raises:
            SourceError: If another time does not exist.
        """
        lat, lon = self.grid
        _, there = self.stamps[name].find(times)
        lacking = times[~there] if optional is None else np.setdiff1d(times[~there], optional)
        if lacking.size:
            raise SourceError(f"{self.product}: no {name} at {str(lacking[0])[:16]}, which other variables have")
        maps = np.full((len(times), len(lat), len(lon)), np.nan, np.float32)
        where = np.flatnonzero(there)
        for number, here in self.by_file(name, times[where]):
            at = where[here]
            for which, rows, columns, values in self.blocks(name, number, times[at], (len(lat), len(lon))):
                maps[at[which], rows, columns] = values
        return maps

    def _stamps(self, name: str) -> Stamps:
        """Return where the maps of a variable are.

        Raises:
            SourceError: If no file has it, no map has a value, or two maps are of the same time.
        """
        places = {k: one.places[name] for k, one in enumerate(self.places) if name in one.places}
        if not places:
            raise SourceError(
                f"{self.product}: no file of {len(self.paths)} has the variable {name}, there are {self._present()}; "
                f"files: {self.paths[0].parent}"
            )
        # cfgrib's grid of forecasts and steps has empty maps
        there = {k: np.flatnonzero(place.there) for k, place in places.items()}
        times = np.concatenate([places[k].times[step] for k, step in there.items()])
        file = np.concatenate([np.full(len(step), k) for k, step in there.items()])
        step = np.concatenate(list(there.values()))
        if not times.size:
            raise SourceError(f"{self.paths[next(iter(places))]}: no map of {name} has a value")
        order = np.argsort(times, kind="stable")
        times, file, step = times[order], file[order], step[order]
        # times are sorted, so equal ones are neighbours
        twice = np.flatnonzero(times[1:] == times[:-1])
        if twice.size:
            k = twice[0]
            a, b = self.paths[file[k]], self.paths[file[k + 1]]
            raise SourceError(f"{a} and {b}: both hold {name} at {str(times[k])[:16]}, expected one")
        return Stamps(times, file, step)


def _files(paths: Sequence[Path], stamps: Stamps) -> list[File]:
    """Return the files with the times of a variable."""
    return [File(paths[k], np.sort(stamps.times[stamps.file == k])) for k in np.unique(stamps.file)]


def split(key: str) -> tuple[str, str]:
    """Return the short name of a variable, and 'min' or 'max' for the day's lowest or highest, else ''.

    Args:
        key: Key of the variable, as 't2m' or 't2m_min'.
    """
    name, _, end = key.rpartition("_")
    return (name, end) if end in EXTREMES and name in STATES else (key, "")


def key_of(name: str, statistic: str | None, since_midnight: bool) -> str:
    """Return the key of a variable among all others.

    Amounts of a day are their sum (or the mean of ERA5's hours), states their mean. Other statistics have keys of their
    own; of them the lowest and the highest of states are used.

    Args:
        name: Short name.
        statistic: 'mean', 'sum', 'min' or 'max' of the day; '' unknown, None: hourly maps.
        since_midnight: True if amounts are accumulated since 00 UTC.
    """
    usual = {"mean"} if name in STATES else {"sum"} if since_midnight else {"sum", "mean"}
    return f"{name}_{statistic}" if statistic and statistic not in usual else name


def described(key: str) -> tuple[str, dict[str, Any]]:
    """Return our name of a variable, and its attributes.

    Args:
        key: Key of the variable.
    """
    name, end = split(key)
    if name in STATES:
        ours, units, standard = STATES[name]
        extra = {"cell_methods": f"time: {EXTREMES[end]}"} if end else {}
        ours = f"{ours}_{end}" if end else ours
    elif name in WATER:
        ours, _, standard = WATER[name]
        units, extra = "mm", {"kind": "amount", "cell_methods": "time: sum"}
    else:
        ours, standard = RADIATION[name]
        units, extra = "W m-2", {"cell_methods": "time: mean"}
    cf_name = {"standard_name": standard} if standard else {}
    return ours, {"units": units, "long_name": ours.replace("_", " "), **cf_name, **extra}


def converted(name: str, values: np.ndarray, seconds: float) -> np.ndarray:
    """Convert values to our units, in place.

    Args:
        name: Key of the variable.
        values: Values in the units of the file, any shape.
        seconds: Length of the interval of an amount, s.

    Returns:
        The same array: mm, W m-2, or unchanged for states.
    """
    if name in WATER:
        values *= np.float32(WATER[name][1])
    elif name in RADIATION:
        values /= np.float32(seconds)
    if name in NEVER_NEGATIVE:
        np.maximum(values, 0, out=values)
    return values


def hour_of(times: np.ndarray) -> np.ndarray:
    """Return the hour of the day, 0 to 23.

    Args:
        times: Times (N,), datetime64.
    """
    hours: np.ndarray = (times - times.astype("datetime64[D]")) // HOUR
    return hours
