"""MODIS land products of collections 6 and 6.1: NDVI, EVI, land surface temperature (K), leaf area index, albedo.

Reads HDF4 files of the global 0.05 degree grid (MOD13C1, MOD11C1, MCD43C3, ...) and of sinusoidal tiles (MOD13A2,
MCD15A2H, ...), which become one map of all tiles; also GeoTIFF and JPEG 2000 files whose name contains variable and
date. Composites are dated by their first day. Quality layers are used where quality='good' is asked for.

Reference: user guides of MOD13, MOD11, MCD15 and MCD43, collections 6 and 6.1 (scale factors and valid ranges; values
outside them are fill; meaning of the quality layers).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
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
    """A variable of the product.

    Attributes:
        pattern: Regular expression for the name of the layer or of the file.
        scale: Factor from stored numbers to units.
        low: Smallest valid stored number.
        high: Largest valid stored number.
        units: Units of the scaled values.
        standard_name: CF standard name.
    """

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


@dataclass(frozen=True)
class Quality:
    """A quality layer, and what in it is good.

    Attributes:
        pattern: Regular expression for the name of the layer, or for what stands in its file's name.
        bits: Lowest bits that count.
        most: Largest good value of them.
    """

    pattern: str
    bits: int
    most: int = 0


VI, ALBEDO = r"VI[_ ]Quality", "BRDF_Albedo_Band_Mandatory_Quality_shortwave"
QUALITY = {
    # MODLAND_QA: produced, good quality
    "ndvi": (Quality(VI, 2),),
    "evi": (Quality(VI, 2),),
    "lst_day": (Quality("QC_Day", 2),),
    "lst_night": (Quality("QC_Night", 2),),
    # main algorithm, saturated or not
    "lai": (Quality("FparLai_QC", 1),),
    # of MCD43A3 full inversions; of MCD43C3 three quarters of them or more
    "albedo": (Quality(ALBEDO, 8), Quality(r"BRDF_Quality", 8, 2)),
}
ANY_QUALITY = re.compile("|".join(q.pattern for its in QUALITY.values() for q in its))


def files(
    paths: Sequence[Path], variables: Sequence[str] | None = None, quality: Literal["good", "any"] = "any"
) -> Files:
    """Return the composites of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        variables: Some of ndvi, evi, lst_day, lst_night, lai and albedo; None: all that a file has.
        quality: 'good' takes values only where the quality layer calls them so (of images, the file beside them with
            VI_Quality, QC_Day, QC_Night, FparLai_QC, ... in place of the variable); 'any' takes all.

    Returns:
        The files; the tiles of a date become one map.

    Raises:
        ConfigError: If a variable is unknown.
        SourceError: If a name has no date, or only some of the files are tiles.
    """
    for name in variables or ():
        if name not in KNOWN:
            raise ConfigError(f"modis: variable '{name}'{suggest(name, list(KNOWN))}: expected {', '.join(KNOWN)}")
    # images of quality are read beside those that they tell of
    if any(path.suffix != ".hdf" and not ANY_QUALITY.search(path.name) for path in paths):
        paths = [path for path in paths if path.suffix == ".hdf" or not ANY_QUALITY.search(path.name)]
    screened = quality == "good"
    found = [file for path in paths for file in _dated(path)]
    times = {file.path: file.times for file in found}
    tiles = {path: (int(m[1]), int(m[2])) for path in paths if (m := TILE.search(path.name))}
    # tiles and global maps are on different grids
    if tiles and len(tiles) < len(paths):
        other = next(path for path in paths if path not in tiles)
        raise SourceError(f"{other}: no tile (h08v05) in its name, the other files have one")

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = _hdf(path, variables, tiles, screened) if path.suffix == ".hdf" else _image(path, variables, screened)
        return maps.expand_dims(time=times[path])

    return Files("modis", found, read, merge=_merge if tiles else None)


def _dated(path: Path) -> list[File]:
    """Return the file at the date in its name.

    Raises:
        SourceError: If the name has no date.
    """
    if re.search(r"(?:\.A|doy)\d{7}", path.name):
        return dated([path], r"(?:\.A|doy)(\d{7})", "%Y%j")
    return dated([path], r"(\d{4}-\d{2}-\d{2})", "%Y-%m-%d")


def _hdf(path: Path, variables: Sequence[str] | None, tiles: dict[Path, tuple[int, int]], screened: bool) -> xr.Dataset:
    """Read the variables (rows, columns) of an HDF4 file.

    Raises:
        OSError: If the file is no HDF4 file.
        KeyError: If it lacks a variable, or its quality layer.
    """
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD

    try:
        file = SD(str(path))
        # names of layers differ between products, as '1 km 16 days NDVI' and 'CMG 0.05 Deg 16 days NDVI'
        stored = {name: next((d for d in file.datasets() if re.search(KNOWN[name].pattern, d)), None) for name in KNOWN}
        wanted = variables or [name for name, its in stored.items() if its]
        lacking = [name for name in wanted if stored[name] is None]
        if lacking or not wanted:
            raise KeyError(f"no layer of {lacking or list(KNOWN)}, there are {list(file.datasets())}")
        raw = {name: np.asarray(file.select(stored[name]).get()) for name in wanted}
        good = {}
        for name in wanted if screened else ():
            own = [(d, its) for its in QUALITY[name] for d in file.datasets() if re.search(its.pattern, d)]
            if not own:
                raise KeyError(
                    f"no quality layer of {name} among {list(file.datasets())}: quality=any takes all values"
                )
            good[name] = _good(np.asarray(file.select(own[0][0]).get()), own[0][1])
        file.end()
    except HDF4Error as error:
        raise OSError(f"it is no HDF4 file, or damaged: {error}") from error
    maps = {name: _scaled(name, values) for name, values in raw.items()}
    for name, kept in good.items():
        maps[name][~kept] = np.nan
    return _mosaic(path, maps, tiles) if tiles else _global(maps)


def _global(maps: dict[str, np.ndarray]) -> xr.Dataset:
    """Return maps of the whole globe with their coordinates.

    Raises:
        ValueError: If the maps do not have the shape of a global one.
    """
    rows, columns = next(iter(maps.values())).shape
    # the global grid is recognized by its shape: HDF4 files have no coordinates
    if columns != 2 * rows:
        raise ValueError(f"a map of {rows} x {columns}, expected a global one or a tile (h08v05) in the name")
    lat, lon = 90 - 180 / rows * (np.arange(rows) + 0.5), -180 + 360 / columns * (np.arange(columns) + 0.5)
    return xr.Dataset(
        {name: (("lat", "lon"), values, _attributes(name)) for name, values in maps.items()}, {"lat": lat, "lon": lon}
    )


def _mosaic(path: Path, maps: dict[str, np.ndarray], tiles: dict[Path, tuple[int, int]]) -> xr.Dataset:
    """Return a tile at its place on the map that holds all tiles, NaN elsewhere.

    Args:
        path: File of the tile.
        maps: Values (rows, columns) of the tile by name.
        tiles: Horizontal and vertical number of each tile.

    Returns:
        Maps (y, x) on the sinusoidal grid, m.
    """
    size = next(iter(maps.values())).shape[0]
    h = np.array(list(tiles.values()))
    (left, top), (right, bottom) = h.min(0), h.max(0)
    # centres of the cells
    y = NORTH - SIDE * top - SIDE / size * (np.arange(size * (bottom - top + 1)) + 0.5)
    x = WEST + SIDE * left + SIDE / size * (np.arange(size * (right - left + 1)) + 0.5)
    row, column = size * (tiles[path][1] - top), size * (tiles[path][0] - left)
    mosaic = {}
    for name, values in maps.items():
        # float32, as memory grows with the number of tiles
        whole = np.full((len(y), len(x)), np.nan, np.float32)
        whole[row : row + size, column : column + size] = values
        mosaic[name] = (("y", "x"), whole, _attributes(name))
    return xr.Dataset(mosaic, {"y": y, "x": x}, {"crs": SINUSOIDAL})


def _image(path: Path, variables: Sequence[str] | None, screened: bool) -> xr.Dataset:
    """Read a GeoTIFF or JPEG 2000 file.

    Raises:
        SourceError: If the file name does not contain exactly one known variable, or its quality is missing.
    """
    names = [name for name in variables or KNOWN if re.search(KNOWN[name].pattern, path.name)]
    if len(names) != 1:
        raise SourceError(f"{path}: its name contains none of {', '.join(variables or KNOWN)}, expected one as in NDVI")
    stored = layer(path)
    crs = {"crs": stored.attrs["crs"]} if "crs" in stored.attrs else {}
    values = _scaled(names[0], stored.values)
    if screened:
        beside, its = _quality_beside(path, names[0])
        flags = layer(beside)
        if flags.shape != stored.shape:
            raise SourceError(f"{beside}: {flags.shape} pixels, but {stored.shape} of {path.name}")
        values[~_good(flags.values, its)] = np.nan
    maps = stored.copy(data=values)
    maps.attrs = _attributes(names[0])
    return maps.to_dataset(name=names[0]).assign_attrs(crs)


def _quality_beside(path: Path, name: str) -> tuple[Path, Quality]:
    """Return the image of the quality of another one, and how it is read; SourceError where there is none.

    Args:
        path: Image of a variable, like MOD11A1.061_LST_Day_1km_doy2020001_aid0001.tif.
        name: Of the variable.
    """
    # what stands before and after the variable is the same in both names; _1km and _500m are of the variable
    match = re.search(f"(?:{KNOWN[name].pattern})(?:_1km|_500m)?", path.name)
    assert match is not None
    head, tail = path.name[: match.start()], path.name[match.end() :]
    for its in QUALITY[name]:
        wanted = re.compile(re.escape(head) + f"(?:{its.pattern})" + re.escape(tail))
        for other in sorted(path.parent.iterdir()):
            if wanted.fullmatch(other.name):
                return other, its
    raise SourceError(
        f"{path}: no image of its quality beside it, with {its.pattern} in its name: quality=any takes all"
    )


def _good(flags: np.ndarray, its: Quality) -> np.ndarray:
    """Return True where a quality layer (stored whole numbers) calls a value good."""
    bits = flags.astype(np.int64) & ((1 << its.bits) - 1)
    good: np.ndarray = bits <= its.most
    return good


def _scaled(name: str, raw: np.ndarray) -> np.ndarray:
    """Return values (float32) in units, NaN outside the valid range.

    Integers are stored numbers; floats were scaled already by whoever made the file.
    """
    known = KNOWN[name]
    # files that were converted to floats hold scaled values already
    scale = np.float32(known.scale if raw.dtype.kind in "iu" else 1.0)
    low, high = (
        (known.low, known.high) if raw.dtype.kind in "iu" else (known.low * known.scale, known.high * known.scale)
    )
    values: np.ndarray = raw.astype(np.float32) * scale
    values[~((raw >= low) & (raw <= high))] = np.nan
    return values


def _attributes(name: str) -> dict[str, str]:
    """Return the attributes of a variable."""
    known = KNOWN[name]
    attrs = {"units": known.units, "long_name": f"MODIS {name.replace('_', ' ')}"}
    return attrs | ({"standard_name": known.standard_name} if known.standard_name else {})


def _merge(maps: list[xr.Dataset]) -> xr.Dataset:
    """Return the map of all tiles of a date: each tile has values where the others have none."""
    merged = maps[0]
    for other in maps[1:]:
        merged = merged.fillna(other)
    return merged
