"""Soil moisture of stations: daily means, dims (time, station).

These are point data, which `Files` (of maps) cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.names import M3

HOUR = np.timedelta64(1, "h")
OFTEN_HOURS = 3.5  # a station that reads at least so often must do so on most of a day


@dataclass(frozen=True)
class Daily:
    """Which readings make the mean of a day.

    Args:
        overpass_hour: Local solar hour around which readings count, for a satellite that passes then; a day is the UTC
            day of the overpass. None: all readings of the UTC day.
        window_hours: Length of the window around the overpass.
        least_readings: Fewest readings of a day, of a station that reads every three hours or more often; of a window
            its share of the 24 hours.
    """

    overpass_hour: float | None = None
    window_hours: float = 12.0
    least_readings: int = 1

    def __post_init__(self) -> None:
        if self.overpass_hour is not None and not 0 <= self.overpass_hour <= 24:
            raise ConfigError(f"overpass_hour={self.overpass_hour}: expected a local solar hour, 0 to 24")
        if not 0 < self.window_hours <= 24:
            raise ConfigError(f"window_hours={self.window_hours}: expected more than 0, at most 24")
        if not 1 <= self.least_readings <= 1440:
            raise ConfigError(f"least_readings={self.least_readings}: expected 1 to 1440")


@dataclass(frozen=True)
class Series:
    """A station's daily means.

    Args:
        name: Name of the station.
        network: Name of its network.
        lat: Latitude, degrees.
        lon: Longitude, degrees.
        depth_m: Depth, m below the surface.
        days: Days (N,), datetime64[D], rising.
        values: Soil moisture (N,), m3 m-3.
        temperature: Soil temperature (N,), degC, if the station measures it.
    """

    name: str
    network: str
    lat: float
    lon: float
    depth_m: float
    days: np.ndarray
    values: np.ndarray
    temperature: np.ndarray | None = None


@dataclass(frozen=True)
class Stations:
    """The stations of a product, as `find_files` returns them; `open` is that of `Files`.

    Args:
        product: Name of the product.
        gather: Function that reads all stations.
    """

    product: str
    gather: Callable[[OnBadFile], xr.Dataset]

    def open(self, on_bad_file: OnBadFile = "fail") -> xr.Dataset:
        """Read all stations.

        Args:
            on_bad_file: 'fail', or 'skip' to log a line for a file that cannot be read.

        Returns:
            `sm` (time, station) in m3 m-3, see `gathered`.
        """
        return self.gather(on_bad_file)


def daily_means(times: Any, values: Any, lon: float = 0.0, daily: Daily | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the days and the means of the readings of each day.

    Args:
        times: Times (N,) of the readings, UTC.
        values: Readings (N,); NaN is omitted.
        lon: Longitude of the station, degrees, for the local solar hour.
        daily: Which readings count; by default all of the UTC day.

    Returns:
        Days (M,), datetime64[D], rising, and means (M,).
    """
    daily = daily or Daily()
    times, values = np.asarray(times, "datetime64[ns]"), np.asarray(values, np.float64)
    good = np.isfinite(values) & ~np.isnat(times)
    times, values = times[good], values[good]
    least = 1
    if daily.least_readings > 1 and times.size > 1:
        step = np.median(np.diff(np.sort(times))) / HOUR
        share = 1.0 if daily.overpass_hour is None else daily.window_hours / 24
        least = ceil(daily.least_readings * share) if step <= OFTEN_HOURS else 1
    if daily.overpass_hour is not None:
        # the UTC hour of the overpass, and the day whose overpass is the nearest
        hour = (daily.overpass_hour - lon / 15) % 24
        since = (times - np.datetime64(0, "D")) / HOUR - hour
        nearest = np.round(since / 24)
        near = abs(since - 24 * nearest) <= daily.window_hours / 2
        dated, values = nearest[near].astype(int).astype("datetime64[D]"), values[near]
    else:
        dated = whole_days(times).astype("datetime64[D]")
    days, which = np.unique(dated, return_inverse=True)
    count = np.bincount(which, minlength=len(days))
    means = np.bincount(which, values, len(days)) / np.maximum(count, 1)
    return days[count >= least], means[count >= least]


def gathered(product: str, series: list[Series]) -> xr.Dataset:
    """Return the series of all stations as one Dataset.

    Args:
        product: Name of the product, for messages.
        series: Series of the stations; those without values are omitted.

    Returns:
        `sm` (time, station) float32 in m3 m-3 with every day from the first to the last, and coordinates `network`,
        `lat`, `lon` (degrees) and `depth_m` (m below the surface) of each station, named NETWORK/NAME; and
        `soil_temperature` in degC where stations measure it.

    Raises:
        SourceError: If no station has a value.
    """
    # the order does not depend on that of the files
    series = sorted((s for s in series if s.days.size), key=lambda s: (s.network, s.name))
    if not series:
        raise SourceError(f"{product}: no station has a good reading")
    # a file may have its days in any order
    first, last = min(s.days.min() for s in series), max(s.days.max() for s in series)
    time = np.arange(first, last + 1)
    sm, temperature = (np.full((len(time), len(series)), np.nan, np.float32) for _ in range(2))
    for k, one in enumerate(series):
        # days without readings stay NaN
        at = (one.days - first).astype(int)
        sm[at, k] = one.values
        if one.temperature is not None:
            temperature[at, k] = one.temperature
    degrees = {"lat": "degrees_north", "lon": "degrees_east"}
    coords: dict[str, Any] = {
        "time": time.astype("datetime64[ns]"),
        "station": [f"{s.network}/{s.name}" for s in series],
        "network": ("station", [s.network for s in series]),
        **{axis: ("station", [getattr(s, axis) for s in series], {"units": u}) for axis, u in degrees.items()},
        "depth_m": ("station", [s.depth_m for s in series], {"units": "m", "positive": "down"}),
    }
    attrs = {**M3, "long_name": "soil moisture measured in situ, mean of the day", "cell_methods": "time: mean"}
    dataset = xr.Dataset({"sm": (("time", "station"), sm, attrs)}, coords)
    if any(s.temperature is not None for s in series):
        about = {"units": "degC", "long_name": "soil temperature measured in situ, mean of the day"}
        dataset["soil_temperature"] = (("time", "station"), temperature, about)
    return dataset
