"""From files to the 10 m stack and the 1 km cube whose predictors are its means."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from sgdsm.core.errors import CubeError
from sgdsm.core.logging import log
from sgdsm.downscaling.fine_recipe import FineRecipe
from sgdsm.downscaling.fine_sources import FineSource, Maps
from sgdsm.downscaling.raster_grid import MAPPING, RasterGrid

CHUNK = 512  # pixels along a side of a part, and of a chunk of the stack
BLOCK_DAYS = 32  # days whose images are in memory together
LEAST_SHARE = 0.5  # of the pixels of a cell that must be known for its mean


def prepare(recipe: FineRecipe, coarse: Path, fine: Path | None) -> str:
    """Write the 1 km cube of a recipe, and the 10 m stack of its fine days.

    One part of 512 x 512 pixels of one source is in memory at a time, with the images of some weeks.

    Args:
        recipe: Read by `read_recipe`.
        coarse: FILE.nc of the cube.
        fine: FILE.zarr of the stack; None: only the cube.

    Returns:
        A table of what was made, as text.

    Raises:
        CubeError: A file cannot be used, or a predictor has no values.
    """
    partial = None if fine is None else Path(f"{fine}.partial")
    store = None if partial is None else _template(recipe, partial)
    arrays: dict[str, Any] = {}
    for name, source in recipe.sources.items():
        log.info("%s: %s", name, ", ".join(source.variables))
        means = _target(recipe, source) if source.role == "target" else _predictors(recipe, source, store)
        for variable, values in means.items():
            if not np.isfinite(values).any():
                raise CubeError(f"{source.where}: '{variable}' has no value on the grid from {recipe.days[0]} on")
            _refuse_same(variable, values, arrays)
            arrays[variable] = _described(source, variable, values)
    cube = _cube(recipe, arrays)
    beside = Path(f"{coarse}.partial")
    cube.to_netcdf(beside, engine="netcdf4", encoding={str(n): {"zlib": True} for n in cube.data_vars})
    if fine is not None and partial is not None:
        zarr.consolidate_metadata(str(partial))
        partial.rename(fine)
    beside.replace(coarse)
    return _table(cube, recipe)


def _predictors(recipe: FineRecipe, source: FineSource, store: Any) -> dict[str, np.ndarray]:
    """Write the fine values of a source to the store, and return its means over cells of 1 km, (T, H, W) or (H, W)."""
    coarse = recipe.coarse.shape
    days = recipe.days if source.role == "dynamic" else recipe.days[:1]
    sums = {name: np.zeros((len(days), *coarse)) for name in source.variables}
    counts = {name: np.zeros((len(days), *coarse), np.int32) for name in source.variables}
    place = {day: k for k, day in enumerate(recipe.fine_days)}
    for rows, columns in parts(recipe.grid):
        cells = _Cells(rows, columns, recipe.factor)
        for k, maps in _series(source, recipe.grid.part(rows, columns), days):
            for name, values in source.summands(maps).items():
                cells.add(values, sums[name][k], counts[name][k])
            if store is None:
                continue
            if source.role == "static":
                for name, values in source.fine(maps).items():
                    store[name][rows, columns] = values
            elif days[k] in place:
                for name, values in source.fine(maps).items():
                    store[name][place[days[k]], rows, columns] = values
    found = {}
    for name, total in sums.items():
        known = counts[name] >= LEAST_SHARE * recipe.factor**2
        means = np.where(known, total / np.maximum(counts[name], 1), np.nan)
        values = source.of_means(name, means).astype(np.float32)
        found[name] = values[0] if source.role == "static" else values
    return found


def _target(recipe: FineRecipe, source: FineSource) -> dict[str, np.ndarray]:
    """Return the target on the cells of 1 km, (T, H, W), NaN on days without a map."""
    (name,) = source.variables
    values = np.full((len(recipe.days), *recipe.coarse.shape), np.nan, np.float32)
    for k, day in enumerate(source.days):
        number = int((day - recipe.days[0]).astype(int))
        if 0 <= number < len(values):
            values[number] = source.read(k, recipe.coarse)[name]
    return {name: values}


def parts(grid: RasterGrid) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of parts of a grid, those of the chunks of the stack."""
    for row in range(0, grid.rows, CHUNK):
        for column in range(0, grid.columns, CHUNK):
            yield slice(row, min(row + CHUNK, grid.rows)), slice(column, min(column + CHUNK, grid.columns))


class _Cells:
    """Sums of the pixels of a part over the coarse cells that they belong to."""

    def __init__(self, rows: slice, columns: slice, factor: int) -> None:
        self.place, self.starts = [], []
        for axis in (rows, columns):
            cell = np.arange(axis.start, axis.stop) // factor
            self.place.append(slice(cell[0], cell[-1] + 1))
            self.starts.append(np.searchsorted(cell, np.arange(cell[0], cell[-1] + 1)))

    def add(self, values: np.ndarray, total: np.ndarray, count: np.ndarray) -> None:
        """Add the finite pixels to sums and counts of all cells, (H, W) each."""
        known = np.isfinite(values)
        place = tuple(self.place)
        total[place] += self._summed(np.where(known, values, 0).astype(np.float64))
        count[place] += self._summed(known.astype(np.int32))

    def _summed(self, values: np.ndarray) -> np.ndarray:
        summed: np.ndarray = np.add.reduceat(np.add.reduceat(values, self.starts[0], 0), self.starts[1], 1)
        return summed


def _series(source: FineSource, part: RasterGrid, days: np.ndarray) -> Iterator[tuple[int, Maps]]:
    """Yield for each day its number and what is known of it on a part, interpolated if the source says so."""
    if source.role == "static":
        yield 0, source.read(0, part)
    elif source.max_gap_days is None:
        at = {day: k for k, day in enumerate(source.days)}
        for number, day in enumerate(days):
            yield number, source.read(at[day], part)
    else:
        reach = np.timedelta64(source.max_gap_days, "D")
        for first in range(0, len(days), BLOCK_DAYS):
            block = days[first : first + BLOCK_DAYS]
            chosen = np.flatnonzero((source.days > block[0] - reach) & (source.days < block[-1] + reach))
            images = [source.read(int(k), part) for k in chosen]
            for number, maps in interpolated(images, source.days[chosen], block, source.max_gap_days):
                yield first + number, maps


def interpolated(
    images: list[Maps], taken: np.ndarray, days: np.ndarray, max_gap_days: int
) -> Iterator[tuple[int, Maps]]:
    """Yield for each day its number and its maps, for each pixel linear in time between the images that know it.

    Args:
        images: Maps by name, (H, W) each; NaN where a pixel is not known. All have the same names.
        taken: Their days, rising, (N,).
        days: Wanted, (D,).
        max_gap_days: Longest time between two images of a pixel, days; beyond, and before the first or after the last
            one, it is NaN.
    """
    if not images:
        return
    number = taken.astype("datetime64[D]").astype(np.int64)
    stacks = {name: np.stack([image[name] for image in images]) for name in images[0]}
    around = {name: _known_around(stack) for name, stack in stacks.items()}
    for k, day in enumerate(days.astype("datetime64[D]").astype(np.int64)):
        # images of the day itself are both before and after it
        before, after = np.searchsorted(number, day, "right") - 1, np.searchsorted(number, day, "left")
        if before < 0 or after == len(images):
            continue
        yield (
            k,
            {
                name: _between(stack, around[name][0][before], around[name][1][after], number, day, max_gap_days)
                for name, stack in stacks.items()
            },
        )


def _known_around(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each image and pixel the number of the last image up to it, and of the first from it, that knows it.

    Without one these are -1 and N.
    """
    count = len(stack)
    index = np.arange(count, dtype=np.int16).reshape(-1, 1, 1)
    known = np.isfinite(stack)
    last = np.maximum.accumulate(np.where(known, index, np.int16(-1)), 0)
    first = np.minimum.accumulate(np.where(known, index, np.int16(count))[::-1], 0)[::-1]
    return last, first


def _between(
    stack: np.ndarray, last: np.ndarray, first: np.ndarray, number: np.ndarray, day: int, max_gap_days: int
) -> np.ndarray:
    there = (last >= 0) & (first < len(stack))
    last, first = np.where(there, last, 0), np.where(there, first, 0)
    gap = number[first] - number[last]
    share = np.where(gap > 0, (day - number[last]) / np.maximum(gap, 1), 0).astype(np.float32)
    one, other = (np.take_along_axis(stack, k[None].astype(np.intp), 0)[0] for k in (last, first))
    values: np.ndarray = one + share * (other - one)
    values[~there | (gap > max_gap_days)] = np.nan
    return values


def _template(recipe: FineRecipe, path: Path) -> Any:
    """Begin the store of the stack, full of NaN, and return it open."""
    shutil.rmtree(path, ignore_errors=True)
    arrays, encoding = {}, {}
    for source in recipe.sources.values():
        if source.role == "target":
            continue
        moving = source.role == "dynamic"
        shape = (len(recipe.fine_days),) * moving + recipe.grid.shape
        chunks = (1,) * moving + tuple(min(CHUNK, size) for size in recipe.grid.shape)
        for name in source.variables:
            arrays[name] = _described(source, name, dask.array.full(shape, np.nan, dtype=np.float32, chunks=chunks))
            encoding[name] = {"chunks": chunks, "_FillValue": np.float32(np.nan)}
    stack = xr.Dataset(arrays, _coords(recipe.grid, recipe.fine_days), _attributes(recipe, "predictors at 10 m"))
    stack.to_zarr(path, encoding=encoding, zarr_format=2, consolidated=False, compute=False)
    return zarr.open_group(str(path), mode="r+", use_consolidated=False)


def _described(source: FineSource, variable: str, values: Any) -> tuple[Any, ...]:
    dims = ("time", "y", "x") if values.ndim == 3 else ("y", "x")
    role = source.role if source.role == "target" else "dynamic" if values.ndim == 3 else "static"
    about = {
        "units": source.units_of(variable),
        "long_name": source.text_of(variable),
        "source": source.source,
        "role": role,
        "grid_mapping": MAPPING,
    }
    return dims, values, about


def _coords(grid: RasterGrid, days: np.ndarray) -> dict[str, Any]:
    time = ("time", days.astype("datetime64[ns]"), {"standard_name": "time", "axis": "T"})
    return {"time": time, **grid.coords()}


def _attributes(recipe: FineRecipe, title: str) -> dict[str, str]:
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.8",
        "title": f"{title}, {recipe.days[0]} to {recipe.days[-1]}",
        "history": f"{when} sgdsm {version('sgdsm')} downscale prepare",
        "sources": json.dumps({name: source.provenance() for name, source in recipe.sources.items()}),
        "recipe_sha256": recipe.digest,
        "comment": "predictors at 1 km are means of those at 10 m, of backscatter as unfiltered power",
    }


def _cube(recipe: FineRecipe, arrays: Mapping[str, Any]) -> xr.Dataset:
    cube = xr.Dataset(dict(arrays), _coords(recipe.coarse, recipe.days), _attributes(recipe, "1 km"))
    for name in cube.data_vars:
        cube[name].encoding = {"dtype": "float32"}
    return cube


def _refuse_same(variable: str, values: np.ndarray, arrays: Mapping[str, Any]) -> None:
    """Raise CubeError if a variable equals another one everywhere: both are of the same files, however named."""
    if np.nanmin(values) == np.nanmax(values):
        return
    for name, (_, other, _) in arrays.items():
        if other.shape == values.shape and np.array_equal(other, values, equal_nan=True):
            raise CubeError(f"'{variable}' equals '{name}' everywhere: are both read from the files of one of them?")


def _table(cube: xr.Dataset, recipe: FineRecipe) -> str:
    """Return the variables of the cube as a table, and the words that train on it."""
    wide = max(len(str(name)) for name in cube.data_vars) + 2
    lines = [f"{'':{wide}}{'known':>8}{'least':>11}{'mean':>11}{'largest':>11}  units"]
    for name, variable in cube.data_vars.items():
        values = variable.values
        known = 100 * np.isfinite(values).mean()
        numbers = "".join(f"{f(values):11.4g}" for f in (np.nanmin, np.nanmean, np.nanmax))
        lines.append(f"{name!s:{wide}}{known:6.1f} %{numbers}  {variable.attrs['units']}")
    by_role = {role: [str(n) for n, v in cube.data_vars.items() if v.attrs["role"] == role] for role in ROLES}
    if by_role["target"]:
        names = f"data.target={by_role['target'][0]} data.dynamic=[{','.join(by_role['dynamic'])}]"
        static = f" data.static=[{','.join(by_role['static'])}]" if by_role["static"] else ""
        lines.append(f"to train: sgdsm downscale train data=netcdf data.path=.. {names}{static}")
    days, grid = f"{len(recipe.days)} days from {recipe.days[0]}", recipe.coarse
    return "\n".join([f"{days}, {grid.rows} x {grid.columns} cells", *lines])


ROLES = ("target", "dynamic", "static")
