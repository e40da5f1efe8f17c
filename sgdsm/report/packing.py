"""Maps of a report, packed for a page: land cells alone, thinned to a size, in 8 or 16 bits, deflated.

A page is opened from a mail, without a server, so that all that it can show is inside it. Records that are too large
for it are thinned: means of blocks of cells first, then every nth day.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.cube import ever_observed, space_dims, time_chunks
from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import GAP_AGE, LAND, SM_FILLED, SM_FLAG, SM_LOWER, SM_MEMBERS, SM_STD, SM_UPPER
from sgdsm.evaluation.cell_scores import READ_VALUES, cell_errors
from sgdsm.evaluation.metrics import STATISTICS, State, metrics
from sgdsm.report.hovmoeller import CHANGE, ERROR, SAME, boundaries, with_difference

FINE, COARSE = 4000, 250  # steps that the values of a layer are divided in, at most
MEMBERS, MEMBER_STEPS = 10, 60  # members that are shown, and their steps: noise of finer ones takes all the room
MAP_COLUMNS = 360  # a map on a screen shows no more
PIXELS = 6  # of a map for a row of a grid whose rows are not evenly spaced
LEAST_ROWS = 8  # of a map of blocks
SAMPLE_DAYS = 24  # tell how well a record deflates
OF_CELLS = ("rmse", "bias", "r")  # scores of a cell beside its series


class Thinning(NamedTuple):
    """How a record is thinned.

    Attributes:
        block: Rows and columns of cells whose mean is shown as one cell.
        every: Every nth day is shown.
    """

    block: int
    every: int


@dataclass(frozen=True)
class Product:
    """A filled record.

    Attributes:
        name: Short name for legends.
        filled: `sm_filled` and what else there is of the variables of a filled file, lazy.
        members: Possible values of it, (T, M, H, W), lazy, on the grid of `filled`, of all of its days or some.
    """

    name: str
    filled: xr.Dataset
    members: xr.DataArray | None = None

    def shown(self) -> list[xr.DataArray]:
        """Return the members that a page shows, (T, H, W) each.

        Raises:
            CubeError: They are on other axes than the filled values.
        """
        if self.members is None:
            return []
        dims = space_dims(self.filled[SM_FILLED])
        lacking = {"member", "time", *dims} ^ set(self.members.dims)
        if lacking:
            raise CubeError(f"{SM_MEMBERS} has dims {self.members.dims}, expected time, member and {', '.join(dims)}")
        for dim in dims:
            own, other = self.filled[dim].values, self.members[dim].values
            if own.shape != other.shape or not np.allclose(own, other, atol=1e-4 * _spacing(own)):
                raise CubeError(
                    f"{SM_MEMBERS} is on another grid than '{self.name}': {dim} {_reach(other)} and {_reach(own)}"
                )
        own_days, days = (whole_days(data["time"].values) for data in (self.filled, self.members))
        if not np.isin(days, own_days).any():
            raise CubeError(
                f"{SM_MEMBERS} has no day of '{self.name}', which begins on {own_days[0]}, and they on {days[0]}"
            )
        return [self.members.isel(member=k) for k in range(min(MEMBERS, self.members.sizes["member"]))]


@dataclass(frozen=True)
class Question:
    """Filled records of the same observed values.

    Attributes:
        observed: What the fillers could see, (T, H, W), lazy.
        products: The filled records, on the same axes.
        truth: True values where some were hidden, (T, H, W), lazy, else None.
        hidden: Which values were hidden, (T, H, W) bool, lazy, where there is a truth.
    """

    observed: xr.DataArray
    products: Sequence[Product]
    truth: xr.DataArray | None = None
    hidden: xr.DataArray | None = None


@dataclass(frozen=True)
class Grid:
    """Cells and days of a report, the first row in the north, the first column in the west.

    Attributes:
        dims: Names of the vertical and the horizontal dimension.
        rows: Coordinates of the rows, (H,).
        columns: Coordinates of the columns, (W,), rising across the date line.
        land: Cells that are shown, (H, W) bool.
        days: Days of all records, (T,), datetime64[D].
    """

    dims: tuple[str, str]
    rows: np.ndarray
    columns: np.ndarray
    land: np.ndarray
    days: np.ndarray

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Grid:
        """Return the grid of some records.

        Raises:
            ConfigError: They are on different grids.
        """
        first = questions[0].products[0]
        dims = space_dims(first.filled[SM_FILLED])
        rows, columns = (_order(first.filled[dim])[1] for dim in dims)
        for product in (p for q in questions for p in q.products):
            for dim, values in zip(dims, (rows, columns), strict=True):
                there = dim in product.filled[SM_FILLED].dims
                other = _order(product.filled[dim])[1] if there else np.zeros(0)
                if len(other) != len(values) or not np.allclose(other, values, atol=1e-4 * _spacing(values)):
                    raise ConfigError(
                        f"report: '{product.name}' is on another grid than '{first.name}': {dim} {_reach(other)} and "
                        f"{_reach(values)}: fill the whole grid of the run, or give one of them alone"
                    )
        land = np.logical_or.reduce([_land(p.filled, dims) for q in questions for p in q.products])
        days = np.unique(np.concatenate([_days(q.observed) for q in questions]))
        return cls(dims, rows, columns, land, days)

    def blocks(self, block: int) -> np.ndarray:
        """Return the number of the block of each cell, (H, W), and -1 for cells that are not shown.

        Blocks are numbered from 0, by rows, and those without land are left out.
        """
        height, width = self.land.shape
        across = -(-width // block)
        flat = (np.arange(height) // block)[:, None] * across + np.arange(width) // block
        numbers = np.full(self.land.shape, -1)
        numbers[self.land] = np.unique(flat[self.land], return_inverse=True)[1]
        return numbers


@dataclass
class Packed:
    """Layers of a page.

    Attributes:
        thinning: How the record was thinned.
        content: What the script of the page reads: plain data.
        size: Of the layers in the page, bytes.
        values: Numbers in the layers.
        row_means: Means along the rows of the first product, (T, H), see `sgdsm.report.hovmoeller.with_difference`.
    """

    thinning: Thinning
    content: dict[str, Any]
    size: int
    values: int
    row_means: dict[str, np.ndarray]


@dataclass
class _Layers:
    """Layers that are packed one after another."""

    packed: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    values: int = 0

    def add(self, values: np.ndarray, steps: int, **about: Any) -> int:
        """Pack a layer, (T, C) float32, and return its number."""
        codes, offset, step = quantised(values, steps)
        data = deflated(codes)
        known = values[np.isfinite(values)]
        self.packed.append(
            {
                "data": data,
                "bytes": codes.dtype.itemsize,
                "offset": offset,
                "step": step,
                # of colour scales; extremes of a few cells would leave no colours for the others
                "low": float(np.quantile(known, 0.01)) if known.size else 0.0,
                "high": float(np.quantile(known, 0.99)) if known.size else 1.0,
                "empty": not known.size,
                **about,
            }
        )
        self.size += len(data)
        self.values += values.size
        return len(self.packed) - 1


def quantised(values: np.ndarray, steps: int) -> tuple[np.ndarray, float, float]:
    """Return values as whole numbers of a step of 1, 2 or 5 times a power of ten.

    Args:
        values: Any shape, NaN where missing.
        steps: Into at most how many steps the range of the values is divided.

    Returns:
        Codes in 8 or 16 bits, 0 where missing, else 1 + (value - offset) / step; the offset; the step.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(values.shape, np.uint8), 0.0, 1.0
    low, high = float(values[known].min()), float(values[known].max())
    step = _round_up((high - low) / steps) if high > low else 1.0
    # whole numbers, as days, need no finer one
    if step < 1 and np.array_equal(values[known], np.rint(values[known])):
        step = 1.0
    offset = float(np.floor(low / step) * step) if high > low else low
    codes = np.zeros(values.shape, np.uint16)
    codes[known] = np.rint((values[known].astype(np.float64) - offset) / step) + 1
    return codes.astype(np.uint8) if codes.max() < 256 else codes, offset, float(f"{step:.6g}")


def deflated(codes: np.ndarray) -> str:
    """Return whole numbers deflated (zlib), as base64; of 16 bits the lower bytes of all come before the higher ones.

    Args:
        codes: uint8, uint16 or int32.
    """
    planes = codes.ravel().view(np.uint8).reshape(-1, codes.dtype.itemsize).T
    return base64.b64encode(zlib.compress(np.ascontiguousarray(planes).tobytes(), 6)).decode()


def block_means(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the mean of the finite values of each block, (T, C) float32, NaN where there is none.

    Args:
        values: Maps, (T, H, W).
        numbers: Block of each cell, (H, W), -1 for none.
    """
    flat, inside = values.reshape(len(values), -1), numbers.ravel() >= 0
    number = numbers.ravel()[inside]
    count = int(number.max()) + 1
    if len(number) == count:  # blocks of one cell
        means = np.empty((len(values), count), np.float32)
        means[:, number] = flat[:, inside]
        return means
    means = np.full((len(values), count), np.nan, np.float32)
    for day, one in enumerate(flat[:, inside]):
        known = np.isfinite(one)
        weight = np.bincount(number[known], minlength=count)
        total = np.bincount(number[known], one[known], count)
        np.divide(total, weight, out=means[day], where=weight > 0, casting="unsafe")
    return means


def candidates(grid: Grid) -> Iterator[Thinning]:
    """Yield ways of thinning a record, from none to one day of coarse blocks."""
    days, block = len(grid.days), max(1, len(grid.columns) // MAP_COLUMNS)
    yield from (Thinning(b, 1) for b in range(1, block + 1))
    # a month is the longest step between days before blocks grow beyond what a map can show
    yield from (Thinning(block, every) for every in range(2, min(31, days) + 1))
    while min(grid.land.shape) // block >= 2 * LEAST_ROWS:
        block *= 2
        yield from (Thinning(block, every) for every in range(1, min(31, days) + 1))
    yield from (Thinning(block, every) for every in range(32, days + 1))


def pack(questions: Sequence[Question], grid: Grid, megabytes: float, taken: int = 0) -> Packed:
    """Pack records, thinned until the page is small enough.

    Args:
        questions: The records, read a part at a time.
        grid: Of the records.
        megabytes: Largest size of the page, 10^6 bytes.
        taken: Bytes of all else in the page.

    Returns:
        The layers.

    Raises:
        ConfigError: Not even one day fits, or there is no land.
    """
    if not grid.land.any():
        raise ConfigError("report: the record has no land: no cell of it is ever filled")
    room, days = 1e6 * megabytes - taken, len(grid.days)
    sample = _pack(questions, grid, Thinning(1, max(1, days // SAMPLE_DAYS)))
    each, thinning = sample.size / max(sample.values, 1), sample.thinning
    for thinning in candidates(grid):
        if _values(questions, grid, thinning) * each > room:
            continue
        packed = sample if thinning == sample.thinning else _pack(questions, grid, thinning)
        if packed.size <= room:
            return packed
        each = packed.size / packed.values
    needed = (taken + _values(questions, grid, thinning) * each) / 1e6
    raise ConfigError(
        f"megabytes={megabytes:g}: too small for one day of the maps, expected {needed + 0.1:.1f} or more"
    )


def _values(questions: Sequence[Question], grid: Grid, thinning: Thinning) -> int:
    """Return the number of values of all layers of a page."""
    layers = sum(_number_of_layers(question) for question in questions)
    cells = int(grid.blocks(thinning.block).max()) + 1
    return layers * cells * -(-len(grid.days) // thinning.every)


def _pack(questions: Sequence[Question], grid: Grid, thinning: Thinning) -> Packed:
    """Pack records that are thinned in one way."""
    numbers, days = grid.blocks(thinning.block), grid.days[:: thinning.every]
    layers = _Layers()
    content: dict[str, Any] = {"questions": [], "products": []}
    row_means: dict[str, np.ndarray] = {}
    full = np.zeros(len(days), bool)
    for which, question in enumerate(questions):
        observed = _read(question.observed, grid, numbers, days)
        units = str(question.observed.attrs.get("units", "1"))
        about = {"observed": layers.add(observed, FINE, units=units), "truth": None}
        if question.truth is not None and question.hidden is not None:
            truth = _read(question.truth.where(question.hidden), grid, numbers, days)
            about["truth"] = layers.add(truth, FINE, units=units)
        else:
            truth = np.full(observed.shape, np.nan, np.float32)
        content["questions"].append(about)
        for product in question.products:
            places: dict[str, int] = {}
            entry: dict[str, Any] = {"name": product.name, "question": which, "layers": places, "scores": None}
            values = _read(product.filled[SM_FILLED], grid, numbers, days)
            found = _layers_of(product.filled, values, grid, numbers, days, observed, units)
            for key, (layer, steps, unit) in found.items():
                places[key] = layers.add(layer, steps, units=unit)
            # as differences, which are small numbers, and none where the value was observed
            entry["members"] = [
                layers.add(_read(member, grid, numbers, days) - values, MEMBER_STEPS, units=units)
                for member in product.shown()
            ]
            full |= np.isfinite(values).any(1)
            if product is question.products[0] and (not which or question.truth is not None):
                content |= _first(observed, truth, values)
            if not row_means:
                rows = {"observed": observed, "filled": values, ERROR: values - truth, CHANGE: values - observed}
                row_means = with_difference(_row_means(rows, numbers, thinning.block))
            if question.truth is not None:
                entry["scores"] = _scores_of_blocks(question, product.filled, grid, numbers)
            content["products"].append(entry)
    content["layers"] = layers.packed
    content["days"] = [str(day) for day in days]
    # runs are filled on the days that they are scored on
    known = np.flatnonzero(full)
    content["span"] = [int(known[0]), int(known[-1])] if len(known) else [0, len(days) - 1]
    content["grid"] = _grid_content(grid, numbers, thinning.block)
    return Packed(thinning, content, layers.size, layers.values, row_means)


def _first(observed: np.ndarray, truth: np.ndarray, filled: np.ndarray) -> dict[str, Any]:
    """Return the day and the cell that a page begins with, and the size of large errors; arrays are (T, C)."""
    seen, tested = np.isfinite(observed), np.isfinite(truth) if np.isfinite(truth).any() else np.isfinite(filled)
    gaps = tested & ~seen
    # a day with many observed and many filled values, and a cell with many of them
    day = int((np.minimum(seen.sum(1), gaps.sum(1)) + 1e-6 * tested.sum(1)).argmax())
    cell = int((np.minimum(seen.sum(0), gaps.sum(0)) + 1e-6 * tested.sum(0)).argmax())
    errors = abs(filled - truth)
    errors = errors[np.isfinite(errors)]
    limit = float(np.quantile(errors, 0.98)) if errors.size else 1.0
    return {"first_day": day, "first_cell": cell, "error_limit": max(limit, 1e-6)}


def _row_means(layers: dict[str, np.ndarray], numbers: np.ndarray, block: int) -> dict[str, np.ndarray]:
    """Return the means of layers, (T, C), along the rows of blocks, (T, H), NaN where there is none."""
    height = -(-len(numbers) // block)
    row_of = np.zeros(int(numbers.max()) + 1, int)
    row, column = np.nonzero(numbers >= 0)
    row_of[numbers[row, column]] = row // block
    means = {}
    for name, values in layers.items():
        # a cell alone in its row needs an empty one beside it, to be counted as a block
        ends = np.concatenate([row_of, np.full(2, height)])
        padded = np.concatenate([values, np.full((len(values), 2), np.nan, np.float32)], 1)
        means[name] = block_means(padded[:, None], ends[None])[:, :height]
    return means


def _layers_of(
    filled: xr.Dataset,
    values: np.ndarray,
    grid: Grid,
    numbers: np.ndarray,
    days: np.ndarray,
    observed: np.ndarray,
    units: str,
) -> dict[str, tuple[np.ndarray, int, str]]:
    """Return the layers of a filled record by name: values (T, C), most steps, units.

    Args:
        filled: The record.
        values: Its filled values on the page, (T, C).
        grid: Of the page.
        numbers: Block of each cell, (H, W).
        days: Of the page.
        observed: Observed values on the page, (T, C).
        units: Of the target.
    """
    # observed values are stored once: source and map of all values follow from both
    own = np.where(abs(values - observed) <= SAME, np.nan, values)
    found = {"filled": (own, FINE, units)}
    if SM_STD in filled:
        found["std"] = (_read(filled[SM_STD], grid, numbers, days), COARSE, units)
    if SM_LOWER in filled and SM_UPPER in filled:
        # distances from the filled value are small numbers, which need less room
        found["below"] = (values - _read(filled[SM_LOWER], grid, numbers, days), COARSE, units)
        found["above"] = (_read(filled[SM_UPPER], grid, numbers, days) - values, COARSE, units)
    if GAP_AGE in filled:
        age = _read(filled[GAP_AGE], grid, numbers, days)
        found["age"] = (np.where(np.isfinite(values), np.rint(age), np.nan), FINE, "days")
    if SM_FLAG in filled:
        flag = _read(filled[SM_FLAG].astype(np.float32), grid, numbers, days, codes=True)
        found["flag"] = (np.where(np.isfinite(values), flag, np.nan), COARSE, "1")
    return found


def _number_of_layers(question: Question) -> int:
    optional = {SM_STD: 1, SM_LOWER: 2, GAP_AGE: 1, SM_FLAG: 1}
    each = (1 + sum(n for name, n in optional.items() if name in p.filled) for p in question.products)
    return 1 + (question.truth is not None) + sum(each) + sum(len(p.shown()) for p in question.products)


def _read(array: xr.DataArray, grid: Grid, numbers: np.ndarray, days: np.ndarray, codes: bool = False) -> np.ndarray:
    """Return a variable on the days and blocks of a page, (T, C) float32, NaN where the record has no such day.

    Args:
        array: On (time, rows, columns), in any order.
        grid: Of the page.
        numbers: Block of each cell, (H, W).
        days: Of the page.
        codes: Whether values are codes, whose bits hold for a block where they hold for half of it.
    """
    array = _oriented(array, grid.dims)
    out = np.full((len(days), int(numbers.max()) + 1), np.nan, np.float32)
    place = {day: k for k, day in enumerate(days.astype(int).tolist())}
    at = np.array([place.get(day, -1) for day in _days(array).astype(int).tolist()])
    for part in time_chunks(array, READ_VALUES):
        wanted = np.flatnonzero(at[part] >= 0)
        if not len(wanted):
            continue
        # days apart are read alone; of near ones a part in one piece is faster
        few = 4 * len(wanted) <= part.stop - part.start
        values = array[part][wanted].values if few else array[part].values[wanted]
        out[at[part][wanted]] = _bits(values, numbers) if codes else block_means(values, numbers)
    return out


def _bits(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return codes of bits of blocks, (T, C): a bit that at least half of the cells have."""
    whole = np.nan_to_num(values).astype(np.int64)
    found = np.zeros((len(values), int(numbers.max()) + 1), np.float32)
    for bit in (1, 2, 4, 8, 16, 32, 64, 128):
        if (whole & bit).any():
            found += bit * (block_means((whole & bit > 0).astype(np.float32), numbers) >= 0.5)
    return found


def _scores_of_blocks(question: Question, filled: xr.Dataset, grid: Grid, numbers: np.ndarray) -> dict[str, Any]:
    """Return number of hidden values and scores of each block, as lists; of all days, whatever the page shows."""
    assert question.truth is not None
    assert question.hidden is not None
    errors = cell_errors(*(_oriented(a, grid.dims) for a in (filled[SM_FILLED], question.truth, question.hidden)))
    inside, count = numbers.ravel() >= 0, int(numbers.max()) + 1
    number = numbers.ravel()[inside]
    sums = np.stack([np.bincount(number, errors.sum[inside, k], count) for k in range(len(STATISTICS))], -1)
    table = metrics(State(sums, np.bincount(number, errors.weight[inside], count)))
    scores = {"n": table["n"].astype(int).tolist()}
    for name in OF_CELLS:
        scores[name] = [None if not np.isfinite(v) else float(f"{v:.4g}") for v in table[name]]
    return scores


def _grid_content(grid: Grid, numbers: np.ndarray, block: int) -> dict[str, Any]:
    """Return what the page knows of its cells: their places, and which one is in each pixel of the maps."""
    height, width = numbers.shape
    shape = -(-height // block), -(-width // block)
    small = np.full(shape, -1)
    row, column = np.nonzero(numbers >= 0)
    small[row // block, column // block] = numbers[row, column]
    y = np.array([part.mean() for part in np.split(grid.rows, range(block, height, block))])
    x = np.array([part.mean() for part in np.split(grid.columns, range(block, width, block))])
    # a picture has pixels of one size, rows of a grid may be nearer to each other in the south than in the north
    pixel_rows, pixel_columns = pixels_of(y), pixels_of(x)
    return {
        "dims": list(grid.dims),
        "y": [float(f"{v:.8g}") for v in y],
        "x": [float(f"{v:.8g}") for v in x],
        "shape": list(shape),
        "pixels": deflated(small[np.ix_(pixel_rows, pixel_columns)].astype(np.int32)),
        "cells": deflated(np.flatnonzero(small.ravel() >= 0).astype(np.int32)),
        "edges": [*_edges(x), *_edges(y[::-1])],
        "pixel_shape": [len(pixel_rows), len(pixel_columns)],
    }


def _days(array: xr.DataArray) -> np.ndarray:
    """Return the day of each map, (T,) datetime64[D]."""
    return np.asarray(whole_days(array["time"].values)).astype("datetime64[D]")


def pixels_of(values: np.ndarray) -> np.ndarray:
    """Return the index of the value whose cell each of equal steps from edge to edge lies in."""
    own = boundaries(values)
    even = np.linspace(own[0], own[-1], len(own))
    if np.allclose(even, own, atol=0.05 * _spacing(values)):
        return np.arange(len(values))
    edges = np.linspace(own[0], own[-1], PIXELS * len(values) + 1)
    rising = 1 if own[-1] > own[0] else -1
    return np.searchsorted(rising * own, rising * (edges[1:] + edges[:-1]) / 2) - 1


def _edges(values: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of rising coordinates."""
    own = boundaries(values)
    return float(own[0]), float(own[-1])


def _spacing(values: np.ndarray) -> float:
    return float(abs(values[-1] - values[0]) / (len(values) - 1)) if len(values) > 1 else 1.0


def _reach(values: np.ndarray) -> str:
    return f"{len(values)} from {values[0]:g} to {values[-1]:g}" if len(values) else "none"


def _land(filled: xr.Dataset, dims: tuple[str, str]) -> np.ndarray:
    """Return the cells that are shown, (H, W) bool."""
    if LAND in filled and set(filled[LAND].dims) == set(dims):
        land: np.ndarray = np.nan_to_num(_oriented(filled[LAND], dims).values).astype(bool)
        return land
    return ever_observed(_oriented(filled[SM_FILLED], dims))


def _order(coordinate: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices that sort a coordinate, and its sorted values.

    Rows fall from the north to the south, columns rise, also across the date line.
    """
    values = coordinate.values.astype(float)
    if coordinate.name in ("lat", "y"):
        order = np.argsort(-values, kind="stable")
        return order, values[order]
    steps = np.diff(values)
    if coordinate.name == "lon" and (steps < 0).any() and (steps > 0).any():
        values = np.where(values < values[0], values + 360, values)
    order = np.argsort(values, kind="stable")
    return order, values[order]


def _oriented(array: xr.DataArray, dims: tuple[str, str]) -> xr.DataArray:
    """Return a variable, lazy, with time first, the first row in the north and the first column in the west."""
    array = array.transpose(..., *dims)
    for dim in dims:
        order, _ = _order(array[dim])
        if (np.diff(order) < 0).any():
            array = array.isel({dim: order})
    return array


def _round_up(value: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9)))
