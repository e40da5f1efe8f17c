"""Brightness temperatures of AMSR-E and AMSR2 (NSIDC-0630 v1), daily, EASE-Grid 2.0; one channel and overpass a file.

Reads `TB` in K: (time, y, x) uint16 in 0.01 K, fill 0, missing 60000, valid 5000 to 35000. File names are like
NSIDC-0630-EASE2_N25km-AQUA_AMSRE-2008278-18H-E-GRD-RSS-v1.0.nc: grid, satellite, year and day of the year, channel,
overpass (M and E, morning and evening, on the grids N and S; A and D, ascending and descending, on the grid T).

Reference: user guide of NSIDC-0630, version 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.packed import LOCK, opened, read_maps, times_in

PATTERNS = ("NSIDC*0630*.nc",)
# all that distinguishes files is in their names
PARTS = re.compile(
    r"EASE2_(?P<grid>[NST][\d.]+km).*?[-_](?P<date>\d{7})[-_](?P<channel>\d\d[HV])[-_](?P<overpass>[A-Z])[-_]"
)


def files(paths: Sequence[Path], overpass: str | None = None) -> Files:
    """Return the days of the files, dated by their names.

    The channels become the variables `tb_18h`, `tb_36v`, ... in K; those of one day are merged to one map each.

    Args:
        paths: Files of the product, in any order.
        overpass: 'M', 'E', 'A' or 'D'; may be omitted if the files have only one.

    Returns:
        The files, one time a day.

    Raises:
        SourceError: If a name is not one of NSIDC-0630, the overpass is ambiguous or absent, the files are on several
            grids, or two files hold the same channel of a day.
    """
    parts = {path: _parts(path) for path in paths}
    chosen = _of_overpass(parts, overpass)
    names = {path: _name(parts[path]["channel"]) for path in chosen}
    channels = sorted(set(names.values()))

    def read(path: Path, steps: slice) -> xr.Dataset:
        # the time axis has the middle of the overpass, maps are dated by the day
        days = whole_days(times_in(path))
        channel = read_maps(path, {names[path]: "TB"}, days[steps], steps)[names[path]]
        # the other channels are in other files of that day
        maps = {name: channel if name == names[path] else xr.full_like(channel, np.nan) for name in channels}
        for name, values in maps.items():
            values.attrs = _described(name)
        with opened(path) as file, LOCK:
            # the CRS is described by the attribute srid, as 'urn:ogc:def:crs:EPSG::6931'
            code = re.search(r"EPSG::?(\d+)", str(getattr(file["crs"], "srid", "")))
            version = str(getattr(file, "product_version", ""))
        # without it the maps cannot be placed, and the grid is compared by x and y alone
        crs = {"crs": f"EPSG:{code[1]}"} if code else {}
        return xr.Dataset(maps).assign_attrs(product_version=version, **crs)

    # `Files` accepts several files of a day, because they are merged; but not twice the same channel
    seen: dict[tuple[str, str], Path] = {}
    for path in chosen:
        key = (parts[path]["date"], names[path])
        if key in seen:
            raise SourceError(f"{path} and {seen[key]}: both hold {names[path]} of {key[0]}, expected one file")
        seen[key] = path
    return Files("amsr_tb", dated(chosen, r"[-_](\d{7})[-_]\d\d[HV][-_]", "%Y%j"), read, merge=_merge)


def _of_overpass(parts: dict[Path, dict[str, str]], overpass: str | None) -> list[Path]:
    """Return the files of an overpass.

    Raises:
        SourceError: If the overpass is ambiguous or absent, or the files are on several grids.
    """
    paths = list(parts)
    there = sorted({part["overpass"] for part in parts.values()})
    if overpass is None and len(there) > 1:
        raise SourceError(f"{paths[0].parent}: files of the overpasses {there}: say which one by `overpass`")
    chosen = [path for path, part in parts.items() if overpass in (None, part["overpass"])]
    if not chosen:
        raise SourceError(f"{paths[0]}: none of {len(paths)} files is of the overpass {overpass}, there are {there}")
    # 25 km and 12.5 km, or north and south, cannot be on one map
    grids = sorted({parts[path]["grid"] for path in chosen})
    if len(grids) > 1:
        raise SourceError(f"{paths[0].parent}: files on the grids {grids}, expected one")
    return chosen


def _described(name: str) -> dict[str, str]:
    """Return the attributes of a channel, by our name."""
    what = f"brightness temperature at {name[3:-1]} GHz, {name[-1].upper()} polarisation"
    return {"units": "K", "standard_name": "brightness_temperature", "long_name": what}


def _merge(maps: list[xr.Dataset]) -> xr.Dataset:
    """Return maps of a day whose missing values are taken from the other channels' files."""
    # each file has one channel and NaN for the others
    merged = maps[0]
    for other in maps[1:]:
        merged = merged.fillna(other)
    return merged


def _name(channel: str) -> str:
    """Return our name of a channel: '18H' becomes 'tb_18h'."""
    return f"tb_{int(channel[:-1])}{channel[-1].lower()}"


def _parts(path: Path) -> dict[str, str]:
    """Return grid, date, channel and overpass of a file name.

    Raises:
        SourceError: If the name is not one of NSIDC-0630.
    """
    match = PARTS.search(path.name)
    if match is None:
        raise SourceError(
            f"{path}: no name of NSIDC-0630, expected one like ...EASE2_N25km-AQUA_AMSRE-2008278-18H-E-GRD..."
        )
    return match.groupdict()
