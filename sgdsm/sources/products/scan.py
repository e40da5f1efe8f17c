"""Soil moisture of SCAN and SNOTEL stations: CSV tables of the NRCS report generator.

Lines that begin with '#' are comments. Columns `Date`, `Station Name` or `Station Id`, `Latitude`, `Longitude`, and
`Soil Moisture Percent -2in (pct) ...`, `Soil Temperature Observed -2in (degC) ...` (or degF); depths in inches. Daily
and hourly reports alike; times are of local standard time. The tables have no quality flags: frozen soil is left out by
its temperature.

Reference: Schaefer et al., J. Atmos. Oceanic Technol. 24, 2073, 2007.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from sgdsm.core.logging import log
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.stations import Daily, Series, Stations, daily_means, gathered

PATTERNS = ("*.csv", "*.txt")
INCH_M = 0.0254
MISSING = -90.0  # -99.9
MOISTURE = re.compile(r"Soil Moisture Percent -(\d+)in \(pct\)")
TEMPERATURE = re.compile(r"Soil Temperature \w+ -(\d+)in \((degC|degF)\)")


def files(
    paths: Sequence[Path],
    depth_m: Sequence[float] = (0.0, 0.1),
    frozen_below: float | None = 4.0,
    *,
    lat: float | None = None,
    lon: float | None = None,
    network: str = "SCAN",
    least_readings: int = 1,
) -> Stations:
    """Return the stations of the tables.

    Args:
        paths: The tables.
        depth_m: Shallowest and deepest accepted depth, m below the surface; the depth nearest to their middle is read.
        frozen_below: Soil temperature in degC at or below which a value is left out, where it was measured; None: all
            values are taken.
        lat: Latitude of the station, degrees, of a table of one station without that column.
        lon: Longitude, likewise.
        network: Network of all stations.
        least_readings: Fewest readings of a day, of an hourly report.

    Returns:
        The stations, read when they are opened.
    """
    daily = Daily(least_readings=least_readings)

    def gather(on_bad_file: OnBadFile) -> xr.Dataset:
        found: dict[str, list[pd.DataFrame]] = {}
        depth = float("nan")
        for path in paths:
            try:
                table, depth = _table(path, depth_m, (lat, lon))
            except SourceError as error:
                if on_bad_file == "fail":
                    raise
                log.info("skipped: %s", error)
                continue
            for name, rows in table.groupby("station"):
                found.setdefault(str(name), []).append(rows)
        series = []
        for name, parts in found.items():
            rows = pd.concat(parts)
            good = rows["sm"].notna()
            if frozen_below is not None:
                good &= ~(rows["temperature"] <= frozen_below)
            rows = rows[good]
            if not len(rows):
                continue
            days, values = daily_means(rows["time"].values, rows["sm"].values, daily=daily)
            north, east = (float(rows[axis].iloc[0]) for axis in ("lat", "lon"))
            series.append(Series(name, network, north, east, depth, days, values))
        return gathered("scan", series)

    return Stations("scan", gather)


def _table(
    path: Path, depth_m: Sequence[float], place: tuple[float | None, float | None]
) -> tuple[pd.DataFrame, float]:
    """Return station, place, time, soil moisture and soil temperature of a table, and the depth in m.

    Raises:
        SourceError: If the table cannot be read, or lacks a column or a place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        raw = pd.read_csv(StringIO("\n".join(lines)), skipinitialspace=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read as a table of SCAN: {reason}") from error
    columns = [str(name) for name in raw.columns]
    depths = {name: int(found[1]) * INCH_M for name in columns if (found := MOISTURE.match(name))}
    if "Date" not in columns or not depths:
        raise SourceError(
            f"{path}: no column 'Date' and 'Soil Moisture Percent -2in (pct) ...', there are {columns[:8]}: expected a "
            "CSV report of NRCS with a row a station and day"
        )
    # -2in is 5.08 cm
    within = {name: depth for name, depth in depths.items() if depth_m[0] - 1e-3 <= depth <= depth_m[1] + 1e-3}
    if not within:
        raise SourceError(
            f"{path}: depth_m={list(depth_m)}: no sensor there, the table has "
            f"{', '.join(f'{d:.3f}' for d in depths.values())} m"
        )
    middle = sum(depth_m) / 2
    chosen = min(within, key=lambda name: abs(within[name] - middle))
    named = next((n for n in ("Station Name", "Station Id") if n in columns), None)
    table = pd.DataFrame({"station": path.stem if named is None else raw[named].astype(str).str.strip()}, raw.index)
    for axis, column, given in (("lat", "Latitude", place[0]), ("lon", "Longitude", place[1])):
        if column not in columns and given is None:
            raise SourceError(f"{path}: no column '{column}': ask the report for it, or give {axis}=")
        table[axis] = raw[column] if given is None else given
    try:
        table["time"] = pd.to_datetime(raw["Date"])
        percent = pd.to_numeric(raw[chosen])
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read as a table of SCAN: {reason}") from error
    percent = percent.where(percent > MISSING)
    beyond = percent[(percent < 0) | (percent > 100)]
    if len(beyond):
        raise SourceError(f"{path}: '{chosen}' holds {beyond.iloc[0]:g}, expected percent from 0 to 100, or nothing")
    table["sm"] = percent / 100
    table["temperature"] = _warmth(raw, columns, depths[chosen])
    return table, depths[chosen]


def _warmth(raw: pd.DataFrame, columns: list[str], depth: float) -> pd.Series:
    """Return the soil temperature at a depth in degC; NaN where the table has none."""
    for name in columns:
        found = TEMPERATURE.match(name)
        if found and abs(int(found[1]) * INCH_M - depth) < 1e-6:
            values = pd.to_numeric(raw[name], errors="coerce")
            values = values.where(values > MISSING)
            return values if found[2] == "degC" else (values - 32) / 1.8
    return pd.Series(np.nan, raw.index)
