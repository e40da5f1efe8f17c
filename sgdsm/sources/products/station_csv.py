"""Soil moisture of stations in tables (CSV): one row a reading in m3 m-3, with the station's name and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pandas as pd
import xarray as xr
from pandas.errors import ParserError, ParserWarning

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.sources.readers.broken import kind_of
from sgdsm.sources.readers.files import OnBadFile, SourceError, Unfit
from sgdsm.sources.readers.stations import Daily, Series, Stations, daily_means, gathered

PATTERNS = ("*.csv", "*.txt")
SEPARATORS = (",", ";", "\t", "|")
# of Excel in western Europe; latin-1 knows every byte
FALLBACKS = ("cp1252", "latin-1")
UTF16 = (b"\xff\xfe", b"\xfe\xff")
NUMBERS = ("lat", "lon", "sm")


@dataclass(frozen=True)
class Form:
    """Format of tables; None: detected in each table.

    Attributes:
        separator: Separator of columns.
        decimal: '.' or ','.
        encoding: Encoding of the text.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


def files(
    paths: Sequence[Path],
    station: str = "station",
    lat: str = "lat",
    lon: str = "lon",
    time: str = "time",
    sm: str = "sm",
    *,
    network: str = "csv",
    depth_m: float = 0.05,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    overpass_hour: float | None = None,
    window_hours: float = 12.0,
    least_readings: int = 1,
) -> Stations:
    """Return the stations of the tables.

    Args:
        paths: The tables.
        station: Column with the name of the station.
        lat: Column with the latitude, degrees.
        lon: Column with the longitude, degrees.
        time: Column with the time, ISO 8601, UTC.
        sm: Column with soil moisture, m3 m-3; empty = missing.
        network: Network of all stations.
        depth_m: Depth of all stations, m below the surface.
        separator: Separator of columns; None: the one of comma, semicolon, tab and | that separates the names of the
            columns.
        decimal: '.' or ','; None: the one that the numbers have.
        encoding: Encoding of the text; None: UTF-8, or else cp1252 or latin-1, which is logged.
        overpass_hour: Local solar hour around which readings count; None: all of the UTC day. See `Daily`.
        window_hours: Length of the window around it.
        least_readings: Fewest readings of a day, of a station that reads every three hours or more often.

    Returns:
        The stations, read when they are opened.

    Raises:
        ConfigError: If `decimal` is neither '.' nor ','.
    """
    columns = {"station": station, "lat": lat, "lon": lon, "time": time, "sm": sm}
    if decimal not in (None, ".", ","):
        raise ConfigError(f"station_csv: decimal='{decimal}', expected '.' or ','")
    form = Form(separator, decimal, encoding)
    daily = Daily(overpass_hour, window_hours, least_readings)

    def gather(on_bad_file: OnBadFile) -> xr.Dataset:
        return open_stations(paths, columns, network, depth_m, form, on_bad_file, daily)

    return Stations("station_csv", gather)


def open_stations(
    paths: Sequence[Path],
    columns: dict[str, str],
    network: str,
    depth_m: float,
    form: Form | None = None,
    on_bad_file: OnBadFile = "fail",
    daily: Daily | None = None,
) -> xr.Dataset:
    """Read daily means of the readings; a station may continue in several tables.

    Args:
        paths: The tables.
        columns: Names of the columns by our names (station, lat, lon, time, sm).
        network: Network of all stations.
        depth_m: Depth of all stations, m below the surface.
        form: Format of the tables; None: detected.
        on_bad_file: 'fail', or 'skip' to log a line for a table that cannot be read.
        daily: Which readings make the mean of a day; by default all.

    Returns:
        `sm` (time, station) in m3 m-3, see `gathered`.

    Raises:
        SourceError: If a table cannot be read, lacks a column, or has values outside 0 to 1.
    """
    tables = []
    for path in paths:
        try:
            tables.append(_table(path, columns, form or Form()))
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            log.info("skipped: %s", error)
    if not tables:
        raise SourceError(f"{paths[0]}: none of {len(paths)} tables can be read")
    series = []
    for name, rows in pd.concat(tables).groupby("station"):
        # two places under one name would be averaged
        places = rows[["lat", "lon"]].drop_duplicates()
        if len(places) > 1:
            raise SourceError(
                f"{paths[0]}: station {name} is at {len(places)} places, expected one: {places.values.tolist()}"
            )
        here = places.iloc[0]
        days, values = daily_means(rows["time"].values, rows["sm"].values, float(here["lon"]), daily)
        series.append(Series(str(name), network, float(here["lat"]), float(here["lon"]), depth_m, days, values))
    return gathered("station_csv", series)


def _table(path: Path, columns: dict[str, str], form: Form) -> Any:
    """Return a table with our names of columns.

    Raises:
        SourceError: If the table cannot be read, a reading has no place, or values are outside 0 to 1.
    """
    try:
        raw = path.read_bytes()
        if not raw.strip():
            raise SourceError(f"{path}: is empty")
        # text has no zero bytes, unless it is UTF-16
        if b"\0" in raw and not raw.startswith(UTF16) and form.encoding is None:
            raise Unfit(f"{kind_of(path) or 'holds bytes that are no text'}, expected a table (CSV)")
        text = _text(path, raw, form.encoding)
        table = _columns(text, columns, form.separator)
        table["time"] = pd.to_datetime(table["time"], format="ISO8601", utc=True).dt.tz_localize(None)
        decimal = form.decimal or _decimal(table)
        for name in NUMBERS:
            table[name] = _numbers(table[name], columns[name], decimal)
    except Unfit as error:
        raise SourceError(f"{path}: {error}") from error
    except (OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path}: cannot be read as a table of stations: {reason}") from error
    # rows without a reading may lack a place: it is not needed
    unknown = table[["lat", "lon"]].isna().any(axis=1) & table["sm"].notna()
    if unknown.any():
        raise SourceError(f"{path}: station {table['station'][unknown].iloc[0]} has readings without a place")
    # percent, or a fill value
    beyond = table[(table["sm"] < 0) | (table["sm"] > 1)]
    if len(beyond):
        raise SourceError(f"{path}: {columns['sm']}={beyond['sm'].iloc[0]:g}, expected m3 m-3 from 0 to 1, or nothing")
    return table


def _text(path: Path, raw: bytes, encoding: str | None) -> str:
    """Return the text of a table.

    Raises:
        ValueError: If the text is not in the encoding that was given.
    """
    if encoding is not None:
        return raw.decode(encoding)
    if raw.startswith(UTF16):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        for fallback in FALLBACKS:
            try:
                text = raw.decode(fallback)
            except UnicodeDecodeError:
                continue
            log.info("%s is not in UTF-8: read as %s; if names look wrong, say encoding=", path.name, fallback)
            return text
        raise


def _columns(text: str, columns: dict[str, str], separator: str | None) -> Any:
    """Return the columns under our names, as text.

    Raises:
        Unfit: If a column is missing.
    """
    found: dict[str, list[str]] = {}
    for mark in (separator,) if separator else SEPARATORS:
        head = pd.read_csv(StringIO(text), sep=mark, skipinitialspace=True, nrows=0)
        found[mark] = [str(name).strip() for name in head]
        if set(columns.values()) <= set(found[mark]):
            table = _rows(text, mark)
            table.columns = pd.Index(found[mark])
            return table[list(columns.values())].set_axis(list(columns), axis=1)
    # the separator that gives the most columns gives the most helpful message
    mark, names = max(found.items(), key=lambda one: len(one[1]))
    lacking = [name for name in columns.values() if name not in names]
    raise Unfit(f"no column {lacking}, there are {names} with the separator '{mark}': name yours by the options")


def _rows(text: str, mark: str) -> Any:
    """Return a table of text.

    Raises:
        Unfit: If rows have more fields than there are names, so that columns are ambiguous.
    """
    try:
        with catch_warnings():
            # pandas only warns if it drops fields
            simplefilter("error", ParserWarning)
            return pd.read_csv(StringIO(text), sep=mark, skipinitialspace=True, dtype=str, index_col=False)
    except (ParserError, ParserWarning) as error:
        reason = " ".join(str(error).split())[:120]
        raise Unfit(
            f"rows with more fields than names of columns ({reason}): with decimal commas, part the columns by ';' or "
            "quote the numbers"
        ) from error


def _decimal(table: Any) -> str:
    """Return the decimal sign of the numbers; '.' if all are whole.

    Raises:
        Unfit: If numbers have commas and points.
    """
    # columns are read as text, because 1,5 would be 15 with a separator of thousands
    text = [str(value) for name in NUMBERS for value in table[name].dropna().unique()]
    commas, points = (next((value for value in text if sign in value), None) for sign in ",.")
    if commas and points:
        raise Unfit(f"numbers with commas and with points, as {commas} and {points}: say decimal=',' or decimal='.'")
    return "," if commas else "."


def _numbers(column: Any, name: str, decimal: str) -> Any:
    """Return the numbers of a column of text.

    Raises:
        Unfit: If a text is no number.
    """
    text = column.str.strip()
    if decimal == ",":
        wrong = text[text.str.contains(".", regex=False, na=False)]
        if len(wrong):
            raise Unfit(f"{name}={wrong.iloc[0]}, expected a number with a decimal comma: say decimal='.'")
        text = text.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(text, errors="coerce")
    wrong = column[numbers.isna() & text.notna() & (text != "")]
    if len(wrong):
        raise Unfit(f"{name}={wrong.iloc[0]}, expected a number with a decimal '{decimal}', or nothing")
    return numbers.astype(float)
