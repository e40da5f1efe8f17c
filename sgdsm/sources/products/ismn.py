"""In-situ soil moisture of the International Soil Moisture Network, read by its own package `ismn`.

Reads archives (.zip) in the CEOP, header-and-values and mixed formats, and single .stm files; m3 m-3. Nothing is
written beside the data. Only readings with a good flag are used, by default 'G'.

Reference: Dorigo et al. (2021), doi 10.5194/hess-25-5749-2021; flags: Dorigo et al. (2013), doi 10.2136/vzj2012.0097.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.stations import Daily, Series, Stations, daily_means, gathered

PATTERNS = ("*.zip", "*.stm")


@dataclass(frozen=True)
class Sensor:
    """A file of soil moisture of one sensor.

    Attributes:
        path: Archive or .stm file.
        inside: Name of the file within the archive.
        network: Name of the network.
        station: Name of the station.
        top: Upper end of the measured layer, m below the surface.
        bottom: Lower end of the measured layer, m below the surface.
    """

    path: Path
    inside: str
    network: str
    station: str
    top: float
    bottom: float


def files(
    paths: Sequence[Path],
    depth_m: Sequence[float] = (0.0, 0.1),
    flags: Sequence[str] = ("G",),
    *,
    overpass_hour: float | None = None,
    window_hours: float = 12.0,
    least_readings: int = 1,
) -> Stations:
    """Return the stations of the archives.

    Args:
        paths: Archives (.zip) and .stm files.
        depth_m: Shallowest and deepest accepted depth, m below the surface.
        flags: Quality flags of readings that are used.
        overpass_hour: Local solar hour around which readings count; None: all of the UTC day. See `Daily`.
        window_hours: Length of the window around it.
        least_readings: Fewest readings of a day, of a station that reads every three hours or more often.

    Returns:
        The stations, read when they are opened; see `open_stations`.
    """
    daily = Daily(overpass_hour, window_hours, least_readings)
    return Stations("ismn", lambda on_bad_file: open_stations(paths, depth_m, flags, on_bad_file, daily))


def open_stations(
    paths: Sequence[Path],
    depth_m: Sequence[float] = (0.0, 0.1),
    flags: Sequence[str] = ("G",),
    on_bad_file: OnBadFile = "fail",
    daily: Daily | None = None,
) -> xr.Dataset:
    """Read daily means of the good readings, one sensor a station.

    Of the sensors whose middle depth lies within `depth_m`, the one nearest to the middle of that range is used.

    Args:
        paths: Archives (.zip) and .stm files.
        depth_m: Shallowest and deepest accepted depth, m below the surface.
        flags: Quality flags of readings that are used.
        on_bad_file: 'fail', or 'skip' to log a line for a file that cannot be read.
        daily: Which readings make the mean of a day; by default all.

    Returns:
        `sm` (time, station) in m3 m-3, see `gathered`.

    Raises:
        ConfigError: If the depths are not two numbers in rising order.
        SourceError: If a file cannot be read, no sensor is within the depths, or no station has a good reading.
    """
    top, bottom = depth_m
    if not 0 <= top <= bottom:
        raise ConfigError(f"ismn: depth_m={list(depth_m)}: expected two depths in m, the smaller one first")
    # one sensor a station: values of several depths of one place are correlated
    nearest: dict[tuple[str, str], tuple[float, Sensor]] = {}
    for sensor in (s for path in paths for s in _sensors(path)):
        middle = (sensor.top + sensor.bottom) / 2
        key, far = (sensor.network, sensor.station), abs(middle - (top + bottom) / 2)
        if top <= middle <= bottom and (key not in nearest or far < nearest[key][0]):
            nearest[key] = (far, sensor)
    if not nearest:
        raise SourceError(
            f"{paths[0]}: no sensor of soil moisture from {top} to {bottom} m depth in {len(paths)} files"
        )
    found = []
    for _, sensor in nearest.values():
        try:
            found.append(_series(sensor, flags, daily or Daily()))
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            log.info("skipped: %s", error)
    _log_flags(paths[0], found, flags)
    return gathered("ismn", [series for series, _ in found])


def _log_flags(path: Path, found: list[tuple[Series, Counter[str]]], flags: Sequence[str]) -> None:
    """Log which flags occur at stations without a good reading, and the option that accepts the most frequent one.

    Args:
        path: First archive, for the message.
        found: Series of each station, and how often each flag occurs there.
        flags: Flags of a good reading.

    Raises:
        SourceError: If no station has a good reading.
    """
    without = [(series, counts) for series, counts in found if not series.days.size]
    if not without:
        return
    counts = sum((one for _, one in without), Counter())
    there = ", ".join(f"{flag} {count}" for flag, count in counts.most_common(8)) or "no reading at all"
    problem = f"no reading has a flag of {list(flags)}, found {there}"
    # C: beyond the possible range, D: questionable, M: missing
    usable = [flag for flag, _ in counts.most_common() if flag[:1] not in ("C", "D", "M")]
    if usable:
        problem += f": flags=[{usable[0]}] takes {'those that nobody checked' if usable[0] == 'U' else 'the first'}"
    if len(without) == len(found):
        raise SourceError(f"{path}: {problem}")
    first = without[0][0]
    log.info("%d of %d stations, %s/%s first: %s", len(without), len(found), first.network, first.name, problem)


def _sensors(path: Path) -> list[Sensor]:
    """Return the sensors of soil moisture in an archive or a file, by the names of the files.

    Raises:
        SourceError: If the archive cannot be opened.
    """
    if path.suffix == ".zip":
        try:
            with ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".stm")]
        except (BadZipFile, OSError) as error:
            raise SourceError(f"{path}: cannot be read as an archive of ISMN: {error}") from error
    else:
        names = [path.name]
    sensors = []
    for name in names:
        # network, network, station, quantity, from, to, instrument, first day, last day
        parts = Path(name).name.split("_")
        # names of stations may contain underscores, so parts are counted from the end
        if len(parts) >= 9 and parts[-6] == "sm":
            sensors.append(Sensor(path, name, parts[0], "_".join(parts[2:-6]), float(parts[-5]), float(parts[-4])))
    return sensors


def _series(sensor: Sensor, flags: Sequence[str], daily: Daily) -> tuple[Series, Counter[str]]:
    """Return daily means of a sensor, and how often each flag occurs among its readings.

    Raises:
        SourceError: If the file cannot be read.
    """
    from ismn.base import IsmnRoot
    from ismn.const import IsmnFileError
    from ismn.filehandlers import DataFile

    where = f"{sensor.path}/{sensor.inside}" if sensor.path.suffix == ".zip" else str(sensor.path)
    try:
        # the package unpacks each file before it reads it
        with tempfile.TemporaryDirectory() as scratch:
            root = IsmnRoot(sensor.path if sensor.path.suffix == ".zip" else sensor.path.parent)
            file = DataFile(root, sensor.inside, temp_root=scratch)
            table = file.read_data()
            lat, lon = (_number(file.metadata, name) for name in ("latitude", "longitude"))
            root.close()
        # a reading may have several flags, as 'D01,D03': then it is not equal to a good one
        flag = table["soil_moisture_flag"].astype(str).str.strip()
        # a mean of the day may be of few readings
        good = flag.isin(list(flags))
        days, values = daily_means(table.index[good].values, table["soil_moisture"][good].values, lon, daily)
    except (IsmnFileError, OSError, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{where}: cannot be read as a file of ISMN: {reason}") from error
    series = Series(sensor.station, sensor.network, lat, lon, (sensor.top + sensor.bottom) / 2, days, values)
    return series, Counter(flag[table["soil_moisture"].notna()].tolist())


def _number(metadata: Any, name: str) -> float:
    """Return a number of the metadata."""
    return float(np.atleast_1d(metadata[name].val)[0])
