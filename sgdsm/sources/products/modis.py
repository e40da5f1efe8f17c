"""MODIS land products: NDVI, EVI, land surface temperature, leaf area index, albedo.

HDF4 files of the global 0.05 degree grid (MOD13C1, MOD11C1, MCD43C3, ...) and of sinusoidal tiles (MOD13A2, MCD15A2H,
...), put together to one map of all the tiles there are; GeoTIFF and JPEG 2000 files whose name says the variable and
the date. Composites are dated by their first day. Quality layers are not used.

Facts: user guides of collections 6 and 6.1 (scale factors, valid ranges; what is outside them is fill).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, suggest
from sgdsm.core.grids import MODIS_RADIUS_M
from sgdsm.sources.readers.files import File, Files, SourceError, dated
from sgdsm.sources.readers.raster import layer

PATTERNS = ("*.hdf", "*.jp2", "*.tif", "*.tiff")
TILE = re.compile(r"\.h(\d\d)v(\d\d)\.")
SIDE = 1111950.5196666666  # of a tile, m
WEST, NORTH = -20015109.354, 10007554.677  # of the sinusoidal grid, m
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={MODIS_RADIUS_M} +units=m +no_defs"
NDVI = "normalized_difference_vegetation_index"


@dataclass(frozen=True)
class Layer:
    """A variable: what its name holds, scale, valid range of the stored numbers, units, CF standard name."""

    pattern: str
    scale: float
    low: float
    high: float
    units: str = "1"
    standard_name: str | None = None


KNOWN = {
    "ndvi": Layer(r"(?<![A-Za-z])NDVI(?![A-Za-z]| std)", 1e-4, -2000, 10000, "1", NDVI),
    "evi": Layer(r"(?<![A-Za-z])EVI(?![A-Za-z0-9]| std)", 1e-4, -2000, 10000),
    "lst_day": Layer(r"LST_Day(?![A-Za-z])", 0.02, 7500, 65535, "K", "surface_temperature"),
    "lst_night": Layer(r"LST_Night(?![A-Za-z])", 0.02, 7500, 65535, "K", "surface_temperature"),
    "lai": Layer(r"(?<![A-Za-z])Lai(?![A-Za-z])", 0.1, 0, 100, "1", "leaf_area_index"),
    "albedo": Layer(r"Albedo_WSA_shortwave", 1e-3, 0, 1000, "1", "surface_albedo"),  # white-sky
}


def files(paths: Sequence[Path], variables: Sequence[str] | None = None) -> Files:
    """The composites of the files, told by their names. variables: ndvi, evi, lst_day, lst_night, lai, albedo; without
    them all that a file has."""
    for name in variables or ():
        if name not in KNOWN:
            raise ConfigError(f"modis: variable '{name}'{suggest(name, list(KNOWN))}: expected {', '.join(KNOWN)}")
    found = [file for path in paths for file in _dated(path)]
    times = {file.path: file.times for file in found}
    tiles = {path: (int(m[1]), int(m[2])) for path in paths if (m := TILE.search(path.name))}
    if tiles and len(tiles) < len(paths):
        other = next(path for path in paths if path not in tiles)
        raise SourceError(f"{other}: no tile (h08v05) in its name, the other files have one")

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = _hdf(path, variables, tiles) if path.suffix == ".hdf" else _image(path, variables)
        return maps.expand_dims(time=times[path])

    return Files("modis", found, read, merge=_merge if tiles else None)


def _dated(path: Path) -> list[File]:
    if re.search(r"(?:\.A|doy)\d{7}", path.name):
        return dated([path], r"(?:\.A|doy)(\d{7})", "%Y%j")
    return dated([path], r"(\d{4}-\d{2}-\d{2})", "%Y-%m-%d")


def _hdf(path: Path, variables: Sequence[str] | None, tiles: dict[Path, tuple[int, int]]) -> xr.Dataset:
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD

    try:
        file = SD(str(path))
        stored = {name: next((d for d in file.datasets() if re.search(KNOWN[name].pattern, d)), None) for name in KNOWN}
        wanted = variables or [name for name, its in stored.items() if its]
        lacking = [name for name in wanted if stored[name] is None]
        if lacking or not wanted:
            raise KeyError(f"no layer of {lacking or list(KNOWN)}, there are {list(file.datasets())}")
        raw = {name: np.asarray(file.select(stored[name]).get()) for name in wanted}
        file.end()
    except HDF4Error as error:
        raise OSError(f"it is no HDF4 file, or damaged: {error}") from error
    maps = {name: _scaled(name, values) for name, values in raw.items()}
    return _mosaic(path, maps, tiles) if tiles else _global(maps)


def _global(maps: dict[str, np.ndarray]) -> xr.Dataset:
    rows, columns = next(iter(maps.values())).shape
    if columns != 2 * rows:
        raise ValueError(f"a map of {rows} x {columns}, expected a global one or a tile (h08v05) in the name")
    lat, lon = 90 - 180 / rows * (np.arange(rows) + 0.5), -180 + 360 / columns * (np.arange(columns) + 0.5)
    return xr.Dataset(
        {name: (("lat", "lon"), values, _attributes(name)) for name, values in maps.items()}, {"lat": lat, "lon": lon}
    )


def _mosaic(path: Path, maps: dict[str, np.ndarray], tiles: dict[Path, tuple[int, int]]) -> xr.Dataset:
    """A tile at its place on the map that holds all tiles, NaN elsewhere."""
    size = next(iter(maps.values())).shape[0]
    h = np.array(list(tiles.values()))
    (left, top), (right, bottom) = h.min(0), h.max(0)
    y = NORTH - SIDE * top - SIDE / size * (np.arange(size * (bottom - top + 1)) + 0.5)
    x = WEST + SIDE * left + SIDE / size * (np.arange(size * (right - left + 1)) + 0.5)
    row, column = size * (tiles[path][1] - top), size * (tiles[path][0] - left)
    found = {}
    for name, values in maps.items():
        whole = np.full((len(y), len(x)), np.nan, np.float32)
        whole[row : row + size, column : column + size] = values
        found[name] = (("y", "x"), whole, _attributes(name))
    return xr.Dataset(found, {"y": y, "x": x}, {"crs": SINUSOIDAL})


def _image(path: Path, variables: Sequence[str] | None) -> xr.Dataset:
    names = [name for name in variables or KNOWN if re.search(KNOWN[name].pattern, path.name)]
    if len(names) != 1:
        raise SourceError(f"{path}: its name tells none of {', '.join(variables or KNOWN)}, expected one as in NDVI")
    stored = layer(path)
    crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
    maps = stored.copy(data=_scaled(names[0], stored.values))
    maps.attrs = _attributes(names[0])
    return maps.to_dataset(name=names[0]).assign_attrs(crs)


def _scaled(name: str, raw: np.ndarray) -> np.ndarray:
    """Stored whole numbers in units; numbers with a fraction were scaled by whoever made the file."""
    known = KNOWN[name]
    scale = np.float32(known.scale if raw.dtype.kind in "iu" else 1.0)
    low, high = (
        (known.low, known.high) if raw.dtype.kind in "iu" else (known.low * known.scale, known.high * known.scale)
    )
    values: np.ndarray = raw.astype(np.float32) * scale
    values[~((raw >= low) & (raw <= high))] = np.nan
    return values


def _attributes(name: str) -> dict[str, str]:
    known = KNOWN[name]
    attrs = {"units": known.units, "long_name": f"MODIS {name.replace('_', ' ')}"}
    return attrs | ({"standard_name": known.standard_name} if known.standard_name else {})


def _merge(maps: list[xr.Dataset]) -> xr.Dataset:
    """Tiles of one date: each has values where the others have none."""
    found = maps[0]
    for other in maps[1:]:
        found = found.fillna(other)
    return found
