"""Daily maps of hourly reanalyses, summed hour by hour; only the hours that are needed are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.sources.readers.files import Files, OnBadFile, SourceError
from sgdsm.sources.readers.names import north_up
from sgdsm.sources.readers.reanalysis import HOUR, STATES, Hours, converted, described

Reducer = Callable[..., np.ndarray]


def daily(files: Files, days: np.ndarray, on_bad_file: OnBadFile = "fail", bad: list[str] | None = None) -> xr.Dataset:
    """Return maps of whole UTC days: means of states, sums of water (mm), means of radiation (W m-2).

    Means of states are those of the stamps 00 to 23. Daily statistics are taken as they are. Amounts are those of the
    stamps 01 to 24, of ERA5-Land the 00 UTC stamp of the next day alone. If the files were opened with `extremes`,
    `air_temperature_min` and `air_temperature_max` are those of the 24 stamps. A cell without a value at one stamp has
    none on that day.

    Ask for many days at once where files have chunks of many hours, since each call decompresses them again. Memory:
    the maps that are returned, and one chunk of a file.

    Args:
        files: Files of the products era5 or era5_land.
        days: Days (N,), any datetime64.
        on_bad_file: 'fail', or 'skip' to leave a day without values if stamps are missing or a file cannot be used.
        bad: A line on each skipped day or file is added to this list.

    Returns:
        All variables, dims (time, lat, lon), north first.

    Raises:
        ConfigError: If the files are of another product.
        SourceError: If a stamp of a day is missing, a file cannot be read, or values hold an undeclared fill value; not
            with on_bad_file='skip'.
    """
    hours = files.read
    if not isinstance(hours, Hours):
        raise ConfigError(f"daily: files of product '{files.product}', expected era5 or era5_land")
    days = whole_days(days)
    notes: list[str] = []
    grid = hours.grid
    fields = {}
    for name in hours.variables:
        ours, attrs = described(name)
        if name in hours.of_days:
            values = converted(name, _statistics(hours, name, days, on_bad_file, notes), 86400.0)
            _north_up(values, *grid)
            fields[ours] = (("time", "lat", "lon"), values, {"cell_methods": "time: mean", **attrs})
            continue
        taken: dict[str, Reducer] = {ours: np.add}
        if name == "t2m" and hours.extremes:
            taken |= {f"{ours}_min": np.minimum, f"{ours}_max": np.maximum}
        maps = _reduced(hours, name, days, list(taken.values()), on_bad_file, notes)
        if name in STATES:
            # the first reduction is the sum
            maps[0] /= np.float32(24)
        for label, values, cell in zip(taken, maps, ("mean", "minimum", "maximum"), strict=False):
            converted(name, values, 86400.0)
            _north_up(values, *grid)
            fields[label] = (("time", "lat", "lon"), values, {"cell_methods": f"time: {cell}", **attrs})
    # a broken file is noted once for each variable
    for note in dict.fromkeys(notes):
        log.info("skipped: %s", note)
        if bad is not None:
            bad.append(note)
    axes = north_up(xr.Dataset(coords={"lat": grid[0], "lon": grid[1]}))
    return xr.Dataset(fields, {"time": days, "lat": axes["lat"], "lon": axes["lon"]})


def _reduced(
    hours: Hours, name: str, days: np.ndarray, how: list[Reducer], on_bad_file: OnBadFile, notes: list[str]
) -> list[np.ndarray]:
    """Return the maps (day, row, column) over the stamps of a day for each of `how` (add, minimum, maximum).

    Rows and columns are in the order of the files; a day is NaN if one of its stamps is missing or cannot be read.
    """
    stamps = days[:, None] + HOUR * _stamps_of_a_day(hours, name)
    spoilt = ~_complete(hours, name, days, stamps, on_bad_file, notes)
    day = np.repeat(np.flatnonzero(~spoilt), stamps.shape[1])
    times = stamps[~spoilt].ravel()
    lat, lon = hours.grid
    size = (len(lat), len(lon))
    # the neutral element of each reduction
    start = {"add": 0.0, "minimum": np.inf, "maximum": -np.inf}
    reduced = [np.full((len(days), *size), start[f.__name__], np.float32) for f in how]
    for number, here in hours.by_file(name, times):
        try:
            for which, rows, columns, values in hours.blocks(name, number, times[here], size):
                # hour by hour, so that the 24 maps of a day are never in memory together
                for k, of_hour in zip(day[here[which]], values, strict=True):
                    for function, maps in zip(how, reduced, strict=True):
                        part = maps[k, rows, columns]
                        function(part, of_hour, out=part)
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            notes.append(str(error))
            # blocks before the error were added already: the days are of no use
            spoilt[day[here]] = True
    for maps in reduced:
        maps[spoilt] = np.nan
    return reduced


def _complete(
    hours: Hours, name: str, days: np.ndarray, stamps: np.ndarray, on_bad_file: OnBadFile, notes: list[str]
) -> np.ndarray:
    """Return True (N,) for the days that have all their stamps (N, M); a line on each other day is added to `notes`.

    Raises:
        SourceError: If a stamp is missing and `on_bad_file` is 'fail'.
    """
    count = stamps.shape[1]
    whole = hours.stamps[name].find(stamps.ravel())[1].reshape(stamps.shape)
    complete = np.asarray(whole.all(1))
    for k in np.flatnonzero(~complete):
        lacking = stamps[k][~whole[k]]
        note = (
            f"{hours.product}: {str(days[k])[:10]} lacks {lacking.size} of {count} stamps of {name}, the first of them "
            f"{str(lacking[0])[:16]}"
        )
        if on_bad_file == "fail":
            # with one stamp a day the files probably hold daily statistics
            single = len(np.unique(whole_days(hours.stamps[name].times))) == len(hours.stamps[name].times)
            cure = "; if its maps are of whole days, say so by the option daily_statistics=true" if single else ""
            raise SourceError(f"{note}; files: {hours.paths[0].parent}{cure}")
        notes.append(note)
    return complete


def _statistics(hours: Hours, name: str, days: np.ndarray, on_bad_file: OnBadFile, notes: list[str]) -> np.ndarray:
    """Return the maps (day, row, column) of a variable with daily statistics; NaN for days without a map."""
    # dated by the day, as `whole_days` of the file's times
    there = hours.stamps[name].find(days)[1]
    for day in days[~there]:
        note = f"{hours.product}: no daily {name} of {str(day)[:10]}"
        if on_bad_file == "fail":
            raise SourceError(f"{note}; files: {hours.paths[0].parent}")
        notes.append(note)
    size = (len(hours.grid[0]), len(hours.grid[1]))
    daily_maps = np.full((len(days), *size), np.nan, np.float32)
    where = np.flatnonzero(there)
    for number, here in hours.by_file(name, days[where]):
        at = where[here]
        try:
            for which, rows, columns, values in hours.blocks(name, number, days[at], size):
                daily_maps[at[which], rows, columns] = values
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            notes.append(str(error))
            daily_maps[at] = np.nan
    return daily_maps


def _stamps_of_a_day(hours: Hours, name: str) -> np.ndarray:
    """Return the hours after 00 UTC of the stamps that make a day."""
    if name in STATES:
        return np.arange(24)
    return np.array([24]) if hours.since_midnight else np.arange(1, 25)


def _north_up(maps: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> None:
    """Reorder maps in place, one after the other, so that no second copy of all is needed."""
    order = north_up(
        xr.Dataset(
            {"row": ("lat", np.arange(len(lat))), "column": ("lon", np.arange(len(lon)))}, {"lat": lat, "lon": lon}
        )
    )
    cells = np.ix_(order["row"].values, order["column"].values)
    for k in range(len(maps)):
        maps[k] = maps[k][cells]
