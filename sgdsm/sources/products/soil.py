"""Shares of sand, silt and clay (HWSD, SoilGrids, ...) without time, in GeoTIFF files or as variables of a NetCDF file.

SoilGrids 2.0 counts in g/kg, HWSD in percent of weight; both become shares from 0 to 1.

Reference: Poggio et al. (2021), doi 10.5194/soil-7-217-2021 (SoilGrids 2.0); FAO, "Harmonized World Soil Database".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import File, Files, SourceError
from sgdsm.sources.readers.packed import unpacked
from sgdsm.sources.readers.raster import IMAGES, PATTERNS, layer

__all__ = ["PATTERNS", "files"]
ONE = {"1": 1.0, "percent": 100.0, "g/kg": 1000.0}


def files(
    paths: Sequence[Path], maps: Mapping[str, str], units: str = "percent", bbox: Sequence[float] | None = None
) -> Files:
    """Return maps without time.

    Args:
        paths: Files with the maps.
        maps: By our name (sand, silt, clay) a pattern of file names for GeoTIFF (`sand_0-5cm*.tif`), or a variable for
            NetCDF (`T_SAND`).
        units: Units of the files: 'percent', 'g/kg' or '1'.
        bbox: West, south, east, north of the part to read, in the coordinates of the files.

    Returns:
        The files; the maps are shares from 0 to 1. Reading raises a SourceError if they are not in that range.

    Raises:
        SourceError: If a name matches no file or several.
        ConfigError: If the units are unknown.
    """
    if units not in ONE:
        raise ConfigError(f"soil: units={units}: expected one of {', '.join(ONE)}")
    chosen: dict[Path, dict[str, str | None]] = {}
    for ours, its in maps.items():
        # each GeoTIFF has one map, so its name says what it is
        images = [path for path in paths if fnmatch(path.name, its)]
        if len(images) > 1:
            raise SourceError(f"{images[0]} and {images[1].name}: both match '{its}' for {ours}, expected one")
        others = [path for path in paths if path.suffix.lower() not in IMAGES]
        if not images and len(others) != 1:
            raise SourceError(f"{paths[0].parent}: '{its}' for {ours} matches none of {len(paths)} files")
        path = (images or others)[0]
        chosen.setdefault(path, {})[ours] = None if images else its

    def read(path: Path, steps: slice) -> xr.Dataset:
        shares = xr.Dataset()
        for ours, variable in chosen[path].items():
            stored = layer(path, variable, bbox)
            crs: dict[str, Any] = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
            share = stored.copy(data=unpacked(stored.values, stored.attrs, variable or ours) / np.float32(ONE[units]))
            # 2 percent for rounding; more means that the option `units` is wrong
            if float(share.max()) > 1.02 or float(share.min()) < 0:
                raise ValueError(
                    f"{ours} runs from {float(share.min()):g} to {float(share.max()):g} in units '{units}'"
                )
            share.attrs = {"units": "1", "long_name": f"{ours} fraction"}
            shares = shares.assign({ours: share}).assign_attrs(crs)
        return shares

    empty = np.array([], "datetime64[ns]")
    return Files("soil", [File(path, empty) for path in chosen], read, merge=_merge)


def _merge(maps: list[xr.Dataset]) -> xr.Dataset:
    """Return the maps of several files as one Dataset."""
    return xr.merge(maps, join="exact", combine_attrs="override")
