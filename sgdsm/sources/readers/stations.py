"""Soil moisture of stations: daily means, dims (time, station).

These are point data, which `Files` (of maps) cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.names import M3


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
    """

    name: str
    network: str
    lat: float
    lon: float
    depth_m: float
    days: np.ndarray
    values: np.ndarray


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


def daily_means(times: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the days and the means of the readings of each UTC day.

    Args:
        times: Times (N,) of the readings.
        values: Readings (N,); NaN is omitted.

    Returns:
        Days (M,), datetime64[D], rising, and means (M,).
    """
    times, values = np.asarray(times, "datetime64[ns]"), np.asarray(values, np.float64)
    good = np.isfinite(values) & ~np.isnat(times)
    days, which = np.unique(whole_days(times[good]).astype("datetime64[D]"), return_inverse=True)
    return days, np.bincount(which, values[good], len(days)) / np.bincount(which, minlength=len(days))


def gathered(product: str, series: list[Series]) -> xr.Dataset:
    """Return the series of all stations as one Dataset.

    Args:
        product: Name of the product, for messages.
        series: Series of the stations; those without values are omitted.

    Returns:
        `sm` (time, station) float32 in m3 m-3 with every day from the first to the last, and coordinates `network`,
        `lat`, `lon` (degrees) and `depth_m` (m below the surface) of each station, named NETWORK/NAME.

    Raises:
        SourceError: If no station has a value.
    """
    # the order does not depend on that of the files
    series = sorted((s for s in series if s.days.size), key=lambda s: (s.network, s.name))
    if not series:
        raise SourceError(f"{product}: no station has a good reading")
    first, last = min(s.days[0] for s in series), max(s.days[-1] for s in series)
    time = np.arange(first, last + 1)
    sm = np.full((len(time), len(series)), np.nan, np.float32)
    for k, one in enumerate(series):
        # days without readings stay NaN
        sm[(one.days - first).astype(int), k] = one.values
    degrees = {"lat": "degrees_north", "lon": "degrees_east"}
    coords: dict[str, Any] = {
        "time": time.astype("datetime64[ns]"),
        "station": [f"{s.network}/{s.name}" for s in series],
        "network": ("station", [s.network for s in series]),
        **{axis: ("station", [getattr(s, axis) for s in series], {"units": u}) for axis, u in degrees.items()},
        "depth_m": ("station", [s.depth_m for s in series], {"units": "m", "positive": "down"}),
    }
    attrs = {**M3, "long_name": "soil moisture measured in situ, mean of the day", "cell_methods": "time: mean"}
    return xr.Dataset({"sm": (("time", "station"), sm, attrs)}, coords)
