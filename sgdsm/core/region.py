"""Parts of a cube: periods and boxes of latitude and longitude."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.arguments import fits, shown
from sgdsm.core.cube import space_dims, target_of
from sgdsm.core.errors import ConfigError, CubeError

DATE = re.compile(r"(\d{4}(-\d\d?(-\d\d?([T ][\d:.]+)?)?)?)?")  # or a month, a year, nothing


class Box(NamedTuple):
    """A part of a cube.

    Attributes:
        days: Slice of the time axis.
        rows: Slice of the rows.
        columns: Slice of the columns.
    """

    days: slice
    rows: slice
    columns: slice


def period_of(words: str | slice | None, setting: str = "time") -> tuple[str, str] | None:
    """Return the first and the last day of a period.

    Args:
        words: START:END with dates, months or years, each of which may be empty; a slice of two of these, or of
            days as numpy or datetime has them; None for no period.
        setting: That gives it, for messages.

    Returns:
        Both as text ('' for an open end), or None.

    Raises:
        ConfigError: The text is no period.
    """
    if words is None:
        return None
    if isinstance(words, slice):
        if words.step is not None:
            raise ConfigError(f"{setting}=slice(.., {shown(words.step)}): expected no step")
        words = ":".join("" if end is None else str(end)[:10] for end in (words.start, words.stop))
    first, colon, last = str(words).partition(":")
    if not colon or not (DATE.fullmatch(first) and DATE.fullmatch(last)):
        raise ConfigError(f"{setting}={words}: expected START:END, like 2015-04-01:2015-06-30")
    return first, last


def check_bbox(bbox: Any) -> None:
    """Raise an error for what cannot be a box of latitude and longitude.

    Args:
        bbox: [west, south, east, north], degrees.

    Raises:
        ConfigError: It is anything else.
    """
    words = f"bbox={shown(bbox)}: expected [west, south, east, north] in degrees, south below north"
    if not fits(bbox, tuple[float, float, float, float]):
        raise ConfigError(words)
    west, south, east, north = bbox
    if not (-90 <= south <= north <= 90 and all(-360 <= lon <= 720 for lon in (west, east))):
        raise ConfigError(words)


def box_of(cube: xr.Dataset, time: tuple[str, str] | None = None, bbox: Sequence[float] | None = None) -> Box:
    """Return the part of a cube between two dates and within a box of latitude and longitude.

    Args:
        cube: The cube.
        time: First and last date, inclusive, '' for an open end. A month or a year as an end stands for its last day.
        bbox: [west, south, east, north], degrees.

    Returns:
        Slices of days, rows and columns.

    Raises:
        CubeError: The dates or the box hold nothing, or the box crosses the edge of the grid.
    """
    rows_dim, columns_dim = space_dims(target_of(cube))
    days, rows, columns = (np.arange(cube.sizes[d]) for d in ("time", rows_dim, columns_dim))
    if time is not None:
        index = cube.indexes["time"]
        try:
            # a month or a year as an end stands for its last day
            days = days[index.slice_indexer(*(t or None for t in time))]
        except (ValueError, TypeError) as error:
            raise CubeError(f"time={time[0]}:{time[1]}: expected dates like 2015-04-01:2015-06-30") from error
        if not days.size:
            raise CubeError(
                f"time={time[0]}:{time[1]} holds no day: the cube has {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}"
            )
    if bbox is not None:
        if "lat" not in cube.dims:
            raise CubeError("bbox= needs a cube with lat and lon; this one has y and x")
        west, south, east, north = bbox
        lat, lon = cube["lat"].values, cube["lon"].values
        rows = np.flatnonzero((lat >= south) & (lat <= north))
        # longitudes of the cube and of the box may be of -180..180 or 0..360
        columns = np.flatnonzero((lon - west) % 360 <= (east - west if east - west == 360 else (east - west) % 360))
        if not rows.size or not columns.size:
            reach = f"lat {lat.min():g}..{lat.max():g}, lon {lon.min():g}..{lon.max():g}"
            raise CubeError(f"bbox={list(bbox)} holds no cell: expected [west, south, east, north] within {reach}")
        # a part of a cube is one slice of columns
        if (np.diff(columns) > 1).any():
            raise CubeError(f"bbox={list(bbox)} crosses the edge of the grid at {lon[0]:g}: fill it in two parts")
    return Box(*(slice(int(axis[0]), int(axis[-1]) + 1) for axis in (days, rows, columns)))


def part_of(
    dataset: xr.Dataset, variable: str, time: str | slice | None = None, bbox: Sequence[float] | None = None
) -> xr.Dataset:
    """Return the part of a Dataset between two dates and within a box of latitude and longitude.

    Args:
        dataset: With maps on days.
        variable: One of its variables, (T, H, W).
        time: As in `period_of`.
        bbox: [west, south, east, north], degrees.

    Returns:
        The same variables on fewer days, rows and columns.

    Raises:
        ConfigError: `time` is no period.
        CubeError: As `box_of`.
    """
    maps = dataset[variable].assign_attrs(role="target")
    rows, columns = space_dims(maps)
    box = box_of(maps.to_dataset(name="maps"), period_of(time), bbox)
    return dataset.isel({"time": box.days, rows: box.rows, columns: box.columns})
