"""Recipes of `downscale prepare`: a grid, days, and the sources of predictors and target."""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sgdsm.core.arguments import check_value
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.downscaling.fine_sources import KINDS, FineSource, Raster
from sgdsm.downscaling.raster_grid import RasterGrid, grid_of, wkt_of

KEYS = {
    "start": str,
    "end": str,
    "grid": dict[str, Any],
    "sources": dict[str, Any],
    "coarse_m": float,
    "fine_days": list[str] | None,
    "folder": str | None,
}
REQUIRED = ("start", "end", "grid", "sources")
MOST_DAYS = 100_000


@dataclass(frozen=True)
class FineRecipe:
    """How the 1 km cube and the 10 m stack are made.

    Attributes:
        days: All days of the cube, datetime64[D], (T,).
        fine_days: Days of the stack, (F,).
        grid: Of the stack; whole cells of the cube.
        factor: Pixels along a side of a cell.
        sources: By name.
        folder: Where relative paths start.
        digest: SHA-256 of the recipe's text.
    """

    days: np.ndarray
    fine_days: np.ndarray
    grid: RasterGrid
    factor: int
    sources: dict[str, FineSource]
    folder: Path
    digest: str

    @property
    def coarse(self) -> RasterGrid:
        """Grid of the cube."""
        return self.grid.coarsened(self.factor)


def read_recipe(path: str) -> FineRecipe:
    """Read a recipe and find the files of its sources.

    Args:
        path: YAML file; relative paths in it start at its `folder`, by default that of the recipe.

    Raises:
        ConfigError: It cannot be read, or a setting cannot work.
        CubeError: Files are missing, cannot be read, or lie beside the grid.
    """
    given = _plain(path)
    for key, value in given.items():
        if key not in KEYS:
            raise ConfigError(
                f"{path}: unknown key '{key}'{suggest(str(key), list(KEYS))}; known are {', '.join(KEYS)}"
            )
        check_value(f"{path}: {key}", value, KEYS[key])
    for key in REQUIRED:
        if not given.get(key):
            raise ConfigError(f"{path}: {key} is not given")
    folder = Path(path).parent / (given.get("folder") or ".")
    days = _days(given["start"], given["end"], path)
    fine_days = days if given.get("fine_days") is None else _some(given["fine_days"], days, path)
    grid, factor = _grid(given["grid"], float(given.get("coarse_m", 1000.0)), folder, path)
    sources = {str(name): _source(value, f"{path}: sources.{name}") for name, value in given["sources"].items()}
    _check_names(sources, path)
    for name, source in sources.items():
        place = grid.coarsened(factor) if source.role == "target" else grid
        source.open(name, folder, place)
        source.source = source.source or name
        _check_days(source, days)
    _check_files(sources, path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return FineRecipe(days, fine_days, grid, factor, sources, folder, digest)


def _plain(path: str) -> dict[Any, Any]:
    if not Path(path).is_file():
        raise ConfigError(f"recipe={path}: no such file")
    try:
        given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"recipe={path}: not a YAML file: {' '.join(str(error).split())[:150]}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"recipe={path}: expected keys and values: {', '.join(KEYS)}")
    # YAML reads dates that are not quoted as such
    return {key: _texts(value) for key, value in given.items()}


def _texts(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return [_texts(one) for one in value] if isinstance(value, list) else value


def _day(text: str, key: str, path: str) -> np.datetime64:
    wrong = ConfigError(f"{path}: {key}={text}: expected a date like 2019-01-31")
    try:
        day = np.datetime64(text, "D")
    except ValueError:
        raise wrong from None
    if np.isnat(day):
        raise wrong
    return day


def _days(start: str, end: str, path: str) -> np.ndarray:
    first, last = _day(start, "start", path), _day(end, "end", path)
    if not first <= last < first + MOST_DAYS:
        raise ConfigError(f"{path}: end={end}: expected a day from start={start} on, at most {MOST_DAYS} days later")
    return np.arange(first, last + 1)


def _some(wanted: list[str], days: np.ndarray, path: str) -> np.ndarray:
    chosen = np.unique(np.array([_day(text, "fine_days", path) for text in wanted], "datetime64[D]"))
    outside = chosen[~np.isin(chosen, days)]
    if len(outside):
        raise ConfigError(f"{path}: fine_days: {outside[0]} is not within {days[0]} to {days[-1]}")
    return chosen


def _grid(given: Mapping[str, Any], coarse_m: float, folder: Path, path: str) -> tuple[RasterGrid, int]:
    """Return the fine grid, and its pixels along a side of a coarse cell."""
    keys = {"like"} if "like" in given else {"crs", "resolution_m", "bounds"}
    if set(given) != keys:
        raise ConfigError(f"{path}: grid={dict(given)}: expected like: FILE, or crs:, resolution_m: and bounds:")
    if "like" in given:
        whole = grid_of(folder / str(given["like"]))
    else:
        check_value(f"{path}: grid.resolution_m", given["resolution_m"], float)
        check_value(f"{path}: grid.bounds", given["bounds"], tuple[float, float, float, float])
        (west, south, east, north), size = given["bounds"], float(given["resolution_m"])
        if not (west < east and south < north and size > 0):
            raise ConfigError(f"{path}: grid.bounds={list(given['bounds'])}: expected [west, south, east, north]")
        # pixels: by their edges, so that the last one is whole
        rows, columns = round((north - south) / size), round((east - west) / size)
        crs = wkt_of(str(given["crs"]), f"{path}: grid.crs")
        whole = RasterGrid(crs, float(west), float(north), size, size, rows, columns)
        if max(abs(rows * size - (north - south)), abs(columns * size - (east - west))) > 1e-3 * size:
            raise ConfigError(f"{path}: grid.bounds={list(given['bounds'])}: expected whole pixels of {size:g} m apart")
    if whole.is_geographic:
        raise ConfigError(f"{path}: grid: its CRS is in degrees: expected one in metres, like EPSG:32631")
    factor = round(coarse_m / whole.width)
    if factor < 2 or abs(factor * whole.width - coarse_m) > 1e-6 * coarse_m or abs(whole.height - whole.width) > 1e-9:
        pixel = f"{whole.width:g} x {whole.height:g} m"
        raise ConfigError(f"{path}: coarse_m={coarse_m:g}: expected a multiple of the pixels of {pixel}, 2 or more")
    rows, columns = whole.rows // factor * factor, whole.columns // factor * factor
    if not rows or not columns:
        raise ConfigError(f"{path}: grid: {whole.rows} x {whole.columns} pixels hold no cell of {coarse_m:g} m")
    if (rows, columns) != whole.shape:
        if "like" not in given:
            raise ConfigError(
                f"{path}: grid.bounds={list(given['bounds'])}: expected whole cells of {coarse_m:g} m apart"
            )
        log.info("grid: %d x %d of %d x %d pixels are whole cells of %g m", rows, columns, *whole.shape, coarse_m)
    return whole.part(slice(0, rows), slice(0, columns)), factor


def _source(given: Any, where: str) -> FineSource:
    kind = given.get("kind") if isinstance(given, Mapping) else given
    if not isinstance(given, Mapping) or not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{where}: kind={kind}: expected one of {', '.join(KINDS)}")
    made = KINDS[kind]
    arguments = {name: value for name, value in given.items() if name != "kind"}
    known = list(inspect.signature(made).parameters)
    hints = typing.get_type_hints(made)
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError(f"{where}: unknown key '{name}'{suggest(str(name), known)}; known are {', '.join(known)}")
        check_value(f"{where}.{name}", value, hints[name])
    for name in ("files", "variables"):
        if not arguments.get(name):
            raise ConfigError(f"{where}: {name} is not given")
    gap = arguments.get("max_gap_days")
    if gap is not None and not 1 <= gap <= 366:
        raise ConfigError(f"{where}.max_gap_days={gap}: expected 1 to 366 days")
    if kind != "raster" and "max_gap_days" in arguments and gap is None:
        raise ConfigError(f"{where}.max_gap_days=null: images are not taken every day: expected a number of days")
    try:
        return made(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_names(sources: Mapping[str, FineSource], path: str) -> None:
    names = [str(name) for source in sources.values() for name in source.variables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: sources: several make '{twice[0]}'")
    taken = {"time", "y", "x", "spatial_ref"} & set(names)
    if taken:
        raise ConfigError(f"{path}: sources: a variable cannot be named {', '.join(sorted(taken))}")
    targets = [name for name, source in sources.items() if source.role == "target"]
    if len(targets) > 1:
        raise ConfigError(f"{path}: sources {', '.join(targets)} have the role target: expected one")
    if len(targets) == len(sources):
        raise ConfigError(f"{path}: sources: expected at least one predictor")


def _check_days(source: FineSource, days: np.ndarray) -> None:
    """Raise an error if a day lacks its map: values go by date, never by their number in a list of files."""
    if source.role == "static":
        return
    if source.max_gap_days is None and source.role == "dynamic":
        lacking = days[~np.isin(days, source.days)]
        if len(lacking):
            raise ConfigError(
                f"{source.where}: no map of {lacking[0]}"
                + (f" and {len(lacking) - 1} more days" * (len(lacking) > 1))
                + f" among those of {source.days[0]} to {source.days[-1]}: max_gap_days: interpolates in time"
            )
        return
    reach = np.timedelta64(source.max_gap_days or 0, "D")
    if not ((source.days >= days[0] - reach) & (source.days <= days[-1] + reach)).any():
        there = f"{source.days[0]} to {source.days[-1]}"
        raise ConfigError(f"{source.where}: its files are of {there}, none of {days[0]} to {days[-1]}")


def _check_files(sources: Mapping[str, FineSource], path: str) -> None:
    """Raise ConfigError if two variables are read from the same band of the same file."""
    read: dict[tuple[Any, ...], str] = {}
    for source in sources.values():
        if not isinstance(source, Raster):
            continue
        for variable, place in source.same_files().items():
            if place in read:
                raise ConfigError(f"{path}: '{variable}' is read from the files of '{read[place]}': {place[0]}")
            read[place] = variable
