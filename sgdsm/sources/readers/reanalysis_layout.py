"""Layout of ERA5 and ERA5-Land in a NetCDF file: axes of time, and statistics over the hours.

Layouts: `time` or `valid_time` of the Climate Data Store; what cfgrib makes of GRIB: `time` (of the forecast) with
`step`, or `time` alone, and `valid_time` along them, beside scalars (`number`, `surface`, `heightAboveGround`, ...). In
`time` x `step` not every pair has a map: empty ones are ignored. Daily statistics of the store
(derived-era5-..-daily-statistics) have a map a day; the name or the history of a file contains the statistic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sgdsm.core.days import whole_days
from sgdsm.core.logging import log
from sgdsm.sources.readers.files import SourceError, Unfit
from sgdsm.sources.readers.packed import LOCK, attributes_of, chunks, named, opened, times_along, unpacked

ALONG = ("valid_time", "time", "step")
VERSIONS = "expver"  # 1 final, 5 preliminary
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STATISTICS = {"mean": "mean", "sum": "sum", "min": "min", "minimum": "min", "max": "max", "maximum": "max"}
WORDS = "|".join(sorted(STATISTICS, key=len, reverse=True))
NAME = re.compile(rf"daily[-_ ]?({WORDS})(?![a-z])", re.IGNORECASE)
# how earthkit, which the store uses, and cdo write the statistic into the history
HISTORY = re.compile(rf"daily_reduce\([^\n]*how=['\"]?({WORDS})|daily_({WORDS})\(|\bday({WORDS})\b")
SHIFT = re.compile(r"time_shift'?: \{'hours': (-?\d+)\}")


@dataclass(frozen=True)
class Place:
    """The maps of a variable in a file, numbered in the order of the file.

    Args:
        times: Time (N,) of each map, datetime64[ns]; of statistics the day.
        there: True (N,) if the map exists.
        statistic: 'mean', 'sum', 'min' or 'max' of the day; '' if a file of days does not say; None: hours.
    """

    times: np.ndarray
    there: np.ndarray
    statistic: str | None = None


class Contents(NamedTuple):
    """Contents of a file.

    Attributes:
        places: Where the maps of each variable are.
        lat: Latitudes (H,), degrees.
        lon: Longitudes (W,), degrees.
    """

    places: dict[str, Place]
    lat: np.ndarray
    lon: np.ndarray


class Maps:
    """The maps of an open variable, numbered along one axis, as `chunks` reads them: (map, [version,] rows, columns).

    Args:
        variable: A variable of netCDF4.
        rows: Name of the dimension of rows.
        columns: Name of the dimension of columns.

    Raises:
        Unfit: If it has dims that are no times and longer than 1.
    """

    def __init__(self, variable: Any, rows: str, columns: str) -> None:
        self.variable = variable
        self.sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
        self.along = [dim for dim in self.sizes if dim in ALONG]
        order = [dim for dim in self.sizes if dim in ALONG or self.sizes[dim] > 1 or dim in (rows, columns)]
        versions = [VERSIONS] if self.sizes.get(VERSIONS, 1) > 1 else []
        if order != [*self.along, *versions, rows, columns] or len(self.along) > 2:
            raise Unfit(f"{variable.name} has dimensions {self.sizes}, expected maps ({rows}, {columns}) of times")
        self.kept = (*versions, rows, columns)
        self.inner = self.sizes[self.along[-1]] if len(self.along) > 1 else 1

    def chunking(self) -> Any:
        """Return the chunk of (map, rows, columns), in the form of netCDF4's `chunking`."""
        chunk = self.variable.chunking()
        if not isinstance(chunk, list):
            return chunk
        depth = [n for dim, n in zip(self.sizes, chunk, strict=True) if dim in self.along] or [1]
        return [1 if max(depth) == 1 else depth[0] * self.inner, *chunk[-2:]]

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        """Return the packed values of a slice of maps, rows and columns."""
        maps, _, rows, columns = key
        top, bottom = maps.start // self.inner, (maps.stop - 1) // self.inner + 1
        # within one row of `time` x `step` only the steps asked for are read, of several rows all steps
        steps = slice(maps.start - top * self.inner, maps.stop - top * self.inner) if bottom == top + 1 else slice(None)
        at: dict[str, Any] = dict.fromkeys(self.sizes, 0)
        at |= dict(zip(self.along, (slice(top, bottom), steps), strict=False))
        at |= dict.fromkeys(self.kept, slice(None)) | dict(zip(self.kept[-2:], (rows, columns), strict=True))
        raw = np.asarray(self.variable[tuple(at.values())])
        raw = raw.reshape(-1, *raw.shape[-len(self.kept) :])
        return raw if bottom == top + 1 else raw[maps.start - top * self.inner : maps.stop - top * self.inner]


def contents_of(path: Path, known: tuple[str, ...], days: bool | None) -> Contents:
    """Return the variables of a file that are `known`.

    Args:
        path: The file.
        known: Short names.
        days: True if the maps are of whole days; None: decided by the file.

    Raises:
        SourceError: If the file cannot be read, or has no times.
    """
    with named(path), opened(path) as file:
        with LOCK:
            rows, columns = grid_of(file)
            lat, lon = (np.asarray(file[name][:], np.float64) for name in (rows, columns))
            dims = {name: file[name].dimensions for name in known if name in file.variables}
            times = {name: _times(file, of) for name, of in dims.items() if {rows, columns} <= set(of)}
            if times and all(found is None for found in times.values()):
                raise Unfit(f"no time axis (valid_time or time) of {next(iter(times))} among {list(file.variables)}")
            history = str(getattr(file, "history", ""))
        places = {}
        for name, found in times.items():
            if found is None:
                continue
            # a file of one map a day may be hours: its name or history decides, unless the option does
            statistic = _of_days(found, statistic_of(path, history), days, name)
            pairs = sum(dim in ALONG for dim in dims[name]) > 1
            there = _there(file[name], rows, columns) if pairs else np.ones(found.size, bool)
            places[name] = Place(found if statistic is None else whole_days(found), there, statistic)
    if any(place.statistic is not None for place in places.values()):
        _warn_time_zone(path, history)
    return Contents(places, lat, lon)


def grid_of(file: Any) -> tuple[str, str]:
    """Return the names of the latitudes and the longitudes of an open file.

    Args:
        file: A `netCDF4.Dataset`.

    Raises:
        Unfit: If it has none, or not one number for each row and column.
    """
    for pair in (("latitude", "longitude"), ("lat", "lon")):
        if all(name in file.variables and file[name].ndim == 1 for name in pair):
            return pair
    raise Unfit(f"no 'latitude' and 'longitude' with one number for each row and column among {list(file.variables)}")


def statistic_of(path: Path, history: str) -> str | None:
    """Return the statistic of the day that a file holds, by its name or the last line of its history with one.

    Args:
        path: The file.
        history: Its attribute `history`.

    Returns:
        'mean', 'sum', 'min', 'max', or None.
    """
    found = NAME.search(path.name)
    if found is None:
        lines = [match for line in history.splitlines() if (match := HISTORY.search(line))]
        found = lines[-1] if lines else None
    return STATISTICS[next(word for word in found.groups() if word).lower()] if found else None


def _warn_time_zone(path: Path, history: str) -> None:
    """Log a warning if the days of a file are not UTC days; of amounts these are shifted by an hour."""
    shifts = SHIFT.findall(history)
    if shifts and int(shifts[-1]) not in (0, -1):
        log.info("%s: its days begin %s hours off 00 UTC; expected UTC+00:00 in the request", path.name, shifts[-1])


def _of_days(times: np.ndarray, statistic: str | None, days: bool | None, name: str) -> str | None:
    """Return the statistic of a variable; None if its maps are of hours.

    Raises:
        Unfit: If maps are said to be of whole days and a day has several.
    """
    # one map on each day
    single = len(np.unique(whole_days(times))) == times.size
    if days and not single:
        raise Unfit(f"{name} has {times.size} maps on {len(np.unique(whole_days(times)))} days, expected one a day")
    if days:
        return statistic or ""
    return statistic if days is None and single else None


def _times(file: Any, dims: tuple[str, ...]) -> np.ndarray | None:
    """Return the times (N,) of the maps of a variable; None if it has none."""
    along = [dim for dim in dims if dim in ALONG]
    valid, time, step = (file.variables.get(name) for name in ("valid_time", "time", "step"))
    # the time that a map is for, whatever the forecast it is from
    if valid is not None and set(valid.dimensions) == set(along):
        return times_along(valid).transpose([valid.dimensions.index(dim) for dim in along]).ravel()
    lacking = set(along) - set(time.dimensions if time is not None else ())
    if time is None or not along or not lacking <= set(step.dimensions if step is not None else ()):
        return None
    since = _along(times_along(time), time.dimensions, along)
    return (since if step is None else since + _along(_step(step), step.dimensions, along)).ravel()


def _along(values: np.ndarray, dims: tuple[str, ...], along: list[str]) -> np.ndarray:
    """Return values along one dim, or none, with axes for the other dims."""
    return values.reshape([-1 if dim in dims else 1 for dim in along])


def _step(step: Any) -> np.ndarray:
    """Return the time since the beginning of the forecast.

    Raises:
        Unfit: If the units are unknown.
    """
    # xarray writes time differences without units as nanoseconds
    units = str(getattr(step, "units", "nanoseconds"))
    seconds = 1e-9 if units.startswith("nano") else SECONDS.get(units[:1])
    if seconds is None:
        raise Unfit(f"'step' has the units '{units}', expected hours")
    found: np.ndarray = np.round(np.asarray(step[...], np.float64) * seconds)
    return found.astype("timedelta64[s]").astype("timedelta64[ns]")


def _there(variable: Any, rows: str, columns: str) -> np.ndarray:
    """Return True (N,) for the maps that have a value."""
    with LOCK:
        maps, attributes = Maps(variable, rows, columns), attributes_of(variable)
        size = (maps.sizes[rows], maps.sizes[columns])
        count = int(np.prod([maps.sizes[dim] for dim in maps.along]))
    exists = np.zeros(count, bool)
    for which, _, _, raw in chunks(maps, np.arange(count), size):
        exists[which] |= np.isfinite(unpacked(raw, attributes, check=False)).any(tuple(range(1, raw.ndim)))
    return exists


def refuse_mixed(name: str, kinds: dict[bool, Path]) -> None:
    """Raise an error if a variable is of hours in one file and of days in another.

    Args:
        name: Key of the variable.
        kinds: A file of each kind; True: daily statistics.

    Raises:
        SourceError: If there are both kinds.
    """
    if len(kinds) > 1:
        raise SourceError(
            f"{kinds[True]}: {name} is of whole days there, and of hours in {kinds[False]}: expected one kind, put the "
            "other files elsewhere or say daily_statistics=false"
        )
