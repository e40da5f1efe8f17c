"""Soil moisture of the U.S. Climate Reference Network: daily01 text files `CRND0103-YYYY-STATION.txt`.

28 columns separated by blanks; soil moisture and soil temperature at 5, 10, 20, 50 and 100 cm, the mean of three
sensors; missing values are -99 and -9999. Days are of local standard time. The files have no quality flags: frozen soil
is left out by its temperature.

Reference: Bell et al., J. Hydrometeorol. 14, 977, 2013; readme of NOAA NCEI's daily01 product.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.stations import Series, Stations, gathered

PATTERNS = ("CRND0103-*.txt",)
COLUMNS = 28
DATE, LON, LAT, FIRST_MOISTURE, FIRST_TEMPERATURE = 1, 3, 4, 18, 23
DEPTHS_M = (0.05, 0.1, 0.2, 0.5, 1.0)
MISSING = -90.0  # -99 and -9999; no soil is so cold


def files(paths: Sequence[Path], depth_m: Sequence[float] = (0.0, 0.1), frozen_below: float | None = 4.0) -> Stations:
    """Return the stations of the files; a station has one file a year.

    Args:
        paths: Files of the product.
        depth_m: Shallowest and deepest accepted depth, m below the surface; the depth nearest to their middle is read.
        frozen_below: Soil temperature in degC at or below which a value is left out; None: all values are taken.

    Returns:
        The stations, read when they are opened.

    Raises:
        ConfigError: If no sensor is within the depths.
    """
    top, bottom = depth_m
    within = [k for k, depth in enumerate(DEPTHS_M) if top <= depth <= bottom]
    if not within:
        raise ConfigError(f"uscrn: depth_m={list(depth_m)}: expected a range with one of {list(DEPTHS_M)} m in it")
    level = min(within, key=lambda k: abs(DEPTHS_M[k] - (top + bottom) / 2))

    def gather(on_bad_file: OnBadFile) -> xr.Dataset:
        return open_stations(paths, level, frozen_below, on_bad_file)

    return Stations("uscrn", gather)


def open_stations(
    paths: Sequence[Path], level: int = 0, frozen_below: float | None = 4.0, on_bad_file: OnBadFile = "fail"
) -> xr.Dataset:
    """Read daily means at a depth.

    Args:
        paths: Files of the product.
        level: Index of the depth among 5, 10, 20, 50 and 100 cm.
        frozen_below: Soil temperature in degC at or below which a value is left out; None: all values are taken.
        on_bad_file: 'fail', or 'skip' to log a line for a file that cannot be read.

    Returns:
        `sm` (time, station) in m3 m-3 and `soil_temperature` in degC, see `gathered`.

    Raises:
        SourceError: If a file cannot be read as daily01, or no station has a value.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for path in paths:
        try:
            # CRND0103-2015-AL_Fairhope_3_NE.txt
            name = path.stem.split("-", 2)[-1]
            tables.setdefault(name, []).append(_table(path, level))
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            log.info("skipped: %s", error)
    series = []
    for name, parts in tables.items():
        rows = pd.concat(parts).drop_duplicates("day").sort_values("day")
        good = rows["sm"].notna()
        if frozen_below is not None:
            good &= ~(rows["temperature"] <= frozen_below)
        rows = rows[good]
        if not len(rows):
            continue
        lat, lon = (float(rows[axis].iloc[-1]) for axis in ("lat", "lon"))
        days = rows["day"].values.astype("datetime64[D]")
        values, temperature = rows["sm"].values, rows["temperature"].values
        series.append(Series(name, "USCRN", lat, lon, DEPTHS_M[level], days, values, temperature))
    return gathered("uscrn", series)


def _table(path: Path, level: int) -> pd.DataFrame:
    """Return day, place, soil moisture and soil temperature of a file.

    Raises:
        SourceError: If it is no daily01 file, or its soil moisture is outside of 0 to 1.
    """
    try:
        raw = pd.read_csv(path, sep=r"\s+", header=None, dtype=str)
        if raw.shape[1] != COLUMNS:
            raise SourceError(
                f"{path}: {raw.shape[1]} columns, expected the {COLUMNS} of daily01 (CRND0103); hourly and other files "
                "of USCRN have others"
            )
        numbers = {
            name: pd.to_numeric(raw[column])
            for name, column in {
                "lat": LAT, "lon": LON, "sm": FIRST_MOISTURE + level, "temperature": FIRST_TEMPERATURE + level,
            }.items()
        }  # fmt: skip
        table = pd.DataFrame({"day": pd.to_datetime(raw[DATE], format="%Y%m%d"), **numbers})
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read as daily01 of USCRN: {reason}") from error
    for name in ("sm", "temperature"):
        table[name] = table[name].where(table[name] > MISSING, np.nan)
    beyond = table["sm"][(table["sm"] < 0) | (table["sm"] > 1)]
    if len(beyond):
        raise SourceError(f"{path}: soil moisture {beyond.iloc[0]:g}, expected m3 m-3 from 0 to 1, or -99")
    return table
