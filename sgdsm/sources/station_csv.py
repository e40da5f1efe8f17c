"""Soil moisture of stations in tables (CSV): one row a reading, with the station's name and place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.cube import log
from sgdsm.sources.files import OnBadFile, SourceError
from sgdsm.sources.stations import Series, Stations, daily_means, gathered

PATTERNS = ("*.csv", "*.txt")


def files(
    paths: Sequence[Path],
    station: str = "station",
    lat: str = "lat",
    lon: str = "lon",
    time: str = "time",
    sm: str = "sm",
    network: str = "csv",
    depth_m: float = 0.05,
    separator: str = ",",
) -> Stations:
    """The stations of the tables. station, lat, lon, time, sm: names of the columns (degrees; ISO 8601, UTC; m3 m-3,
    empty = none). network, depth_m: of all of them."""
    columns = {"station": station, "lat": lat, "lon": lon, "time": time, "sm": sm}

    def gather(on_bad_file: OnBadFile) -> xr.Dataset:
        return open_stations(paths, columns, network, depth_m, separator, on_bad_file)

    return Stations("station_csv", gather)


def open_stations(
    paths: Sequence[Path],
    columns: dict[str, str],
    network: str,
    depth_m: float,
    separator: str = ",",
    on_bad_file: OnBadFile = "fail",
) -> xr.Dataset:
    """Daily means of the readings, dims (time, station); a station may go on in several tables.

    Raises SourceError naming the table that cannot be read, lacks a column, or has values outside 0 to 1.
    """
    import pandas as pd

    tables = []
    for path in paths:
        try:
            tables.append(_table(path, columns, separator))
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            log.info("skipped: %s", error)
    if not tables:
        raise SourceError(f"{paths[0]}: none of {len(paths)} tables can be read")
    found = []
    for name, rows in pd.concat(tables).groupby("station"):
        places = rows[["lat", "lon"]].drop_duplicates()
        if len(places) > 1:
            raise SourceError(
                f"{paths[0]}: station {name} is at {len(places)} places, expected one: {places.values.tolist()}"
            )
        days, values = daily_means(rows["time"].values, rows["sm"].values)
        here = places.iloc[0]
        found.append(Series(str(name), network, float(here["lat"]), float(here["lon"]), depth_m, days, values))
    return gathered("station_csv", found)


def _table(path: Path, columns: dict[str, str], separator: str) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(path, sep=separator, skipinitialspace=True, dtype={columns["station"]: str})
        lacking = [name for name in columns.values() if name not in table]
        if lacking:
            raise SourceError(f"{path}: no column {lacking}, there are {list(table)}")
        table = table[list(columns.values())].set_axis(list(columns), axis=1)
        table["time"] = pd.to_datetime(table["time"], format="ISO8601", utc=True).dt.tz_localize(None)
        table = table.astype({"lat": float, "lon": float, "sm": float})
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read as a table of stations: {reason}") from error
    beyond = table[(table["sm"] < 0) | (table["sm"] > 1)]
    if len(beyond):
        raise SourceError(f"{path}: {columns['sm']}={beyond['sm'].iloc[0]:g}, expected m3 m-3 from 0 to 1, or nothing")
    return table
