"""In situ soil moisture of the International Soil Moisture Network, read by its own package `ismn`: archives (.zip) of
the formats CEOP, header and values, and mixed, and loose .stm files.

Nothing is written beside the data. Flags: 'G' is good (Dorigo et al., Vadose Zone J. 12, 2013).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, log
from sgdsm.sources.readers.files import OnBadFile, SourceError
from sgdsm.sources.readers.stations import Series, Stations, daily_means, gathered

PATTERNS = ("*.zip", "*.stm")


@dataclass(frozen=True)
class Sensor:
    """A file of soil moisture: where it is, the station, and the depths (m) that its name tells."""

    path: Path
    inside: str
    network: str
    station: str
    top: float
    bottom: float


def files(paths: Sequence[Path], depth_m: Sequence[float] = (0.0, 0.1), flags: Sequence[str] = ("G",)) -> Stations:
    """The stations of the archives; see `open_stations`."""
    return Stations("ismn", lambda on_bad_file: open_stations(paths, depth_m, flags, on_bad_file))


def open_stations(
    paths: Sequence[Path],
    depth_m: Sequence[float] = (0.0, 0.1),
    flags: Sequence[str] = ("G",),
    on_bad_file: OnBadFile = "fail",
) -> xr.Dataset:
    """Daily means of the good readings, dims (time, station), of one sensor a station: of those whose middle lies
    within depth_m (m, from and to) the one nearest to the middle of that range. flags: of a good reading.

    Raises SourceError naming the file that cannot be read, or where no sensor is within the range.
    """
    top, bottom = depth_m
    if not 0 <= top <= bottom:
        raise ConfigError(f"ismn: depth_m={list(depth_m)}: expected two depths in m, the smaller one first")
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
            found.append(_series(sensor, flags))
        except SourceError as error:
            if on_bad_file == "fail":
                raise
            log.info("skipped: %s", error)
    _tell_flags(paths[0], found, flags)
    return gathered("ismn", [series for series, _ in found])


def _tell_flags(path: Path, found: list[tuple[Series, Counter[str]]], flags: Sequence[str]) -> None:
    """Says which flags there are at stations without a good reading, and the words that take the most frequent one.

    Raises SourceError where no station has a good reading.
    """
    without = [(series, counts) for series, counts in found if not series.days.size]
    if not without:
        return
    counts = sum((one for _, one in without), Counter())
    there = ", ".join(f"{flag} {count}" for flag, count in counts.most_common(8)) or "no reading at all"
    told = f"no reading has a flag of {list(flags)}, found {there}"
    # C: beyond the possible range, D: questionable, M: missing
    usable = [flag for flag, _ in counts.most_common() if flag[:1] not in ("C", "D", "M")]
    if usable:
        told += f": flags=[{usable[0]}] takes {'those that nobody checked' if usable[0] == 'U' else 'the first'}"
    if len(without) == len(found):
        raise SourceError(f"{path}: {told}")
    first = without[0][0]
    log.info("%d of %d stations, %s/%s first: %s", len(without), len(found), first.network, first.name, told)


def _sensors(path: Path) -> list[Sensor]:
    from zipfile import BadZipFile, ZipFile

    if path.suffix == ".zip":
        try:
            with ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".stm")]
        except (BadZipFile, OSError) as error:
            raise SourceError(f"{path}: cannot be read as an archive of ISMN: {error}") from error
    else:
        names = [path.name]
    found = []
    for name in names:
        # network, network, station, quantity, from, to, instrument, first day, last day
        parts = Path(name).name.split("_")
        if len(parts) >= 9 and parts[-6] == "sm":
            found.append(Sensor(path, name, parts[0], "_".join(parts[2:-6]), float(parts[-5]), float(parts[-4])))
    return found


def _series(sensor: Sensor, flags: Sequence[str]) -> tuple[Series, Counter[str]]:
    """Daily means of a sensor, and how often each flag occurs among its readings."""
    from ismn.base import IsmnRoot
    from ismn.const import IsmnFileError
    from ismn.filehandlers import DataFile

    where = f"{sensor.path}/{sensor.inside}" if sensor.path.suffix == ".zip" else str(sensor.path)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            root = IsmnRoot(sensor.path if sensor.path.suffix == ".zip" else sensor.path.parent)
            file = DataFile(root, sensor.inside, temp_root=scratch)
            table = file.read_data()
            lat, lon = (_number(file.metadata, name) for name in ("latitude", "longitude"))
            root.close()
        flag = table["soil_moisture_flag"].astype(str).str.strip()
        good = flag.isin(list(flags))
        days, values = daily_means(table.index[good].values, table["soil_moisture"][good].values)
    except (IsmnFileError, OSError, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{where}: cannot be read as a file of ISMN: {reason}") from error
    series = Series(sensor.station, sensor.network, lat, lon, (sensor.top + sensor.bottom) / 2, days, values)
    return series, Counter(flag[table["soil_moisture"].notna()].tolist())


def _number(metadata: Any, name: str) -> float:
    return float(np.atleast_1d(metadata[name].val)[0])
