"""The course of `sgdsm downscale predict`: windows of predictors go through a downscaler into maps of a day."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_DISTANCE, SM_FILLED, SM_LOWER, SM_UPPER
from sgdsm.core.io.hdf5 import require_space
from sgdsm.core.logging import log
from sgdsm.core.matching import in_units_of
from sgdsm.core.units import moisture_bounds
from sgdsm.downscaling.conservation import CoarseGrid, Conservation
from sgdsm.downscaling.model import Downscaler
from sgdsm.downscaling.outputs import Output
from sgdsm.downscaling.stack import COLUMNS, ROWS, TIME, days_of, grid_of, windows_of
from sgdsm.sources.readers.packed import refuse_fills

KEYS = {"mean": SM_FILLED, "lower": SM_LOWER, "upper": SM_UPPER, "distance": SM_DISTANCE}
SHIFTED = (SM_FILLED, SM_LOWER, SM_UPPER)
UNLIKE = 0.5  # share of values outside the training range that is worth a warning

T = TypeVar("T")
R = TypeVar("R")


class Made(NamedTuple):
    """What a call has made.

    Attributes:
        days: Written now.
        skipped: Days that were there already.
        pixels: Estimates written now.
        missing: Pixels without an estimate.
        impossible: Estimates that no soil moisture can have, as below 0; they are written.
        cells: Coarse cells whose mean is now the coarse value.
        left: Coarse cells that have pixels and were left as they are.
    """

    days: int
    skipped: int
    pixels: int
    missing: int
    impossible: int
    cells: int
    left: int


def matched(stack: xr.Dataset, downscaler: Downscaler, same_source: bool, name: str) -> xr.Dataset:
    """Return a stack in the units of training; its sources must be those of training.

    Args:
        stack: As from `open_stack`.
        downscaler: Trained.
        same_source: Whether a predictor of another source is refused.
        name: Of the stack, for messages.

    Raises:
        CubeError: Units do not convert.
        ConfigError: A source is another one.
    """
    unknown = []
    for predictor, trained in downscaler.sources.items():
        found = str(stack[predictor].attrs.get("source", ""))
        if not trained or not found:
            unknown.append(predictor)
        elif found != trained and same_source:
            raise ConfigError(
                f"{name}: '{predictor}' is of '{found}', the run was trained with '{trained}': a regression on one "
                "sensor is no regression on another; train with the means of this one, or say same_source=false"
            )
    if unknown:
        log.info("source not known in training or here, and not compared: %s", ", ".join(unknown))
    try:
        return in_units_of(stack, downscaler.units, "training")
    except CubeError as error:
        raise CubeError(f"{name}: {error}") from error


def day_digest(
    stack: xr.Dataset, number: int, names: Sequence[str], windows: Sequence[tuple[slice, slice]], workers: int = 1
) -> str:
    """Return a digest of all values of the predictors of a day.

    A sample would be read no faster, as files are stored in whole chunks.

    Args:
        stack: As from `open_stack`.
        number: Of the day.
        names: Of the predictors.
        windows: That cover the grid; the digest is of these windows.
        workers: Windows at a time.
    """

    def digest(window: tuple[slice, slice]) -> bytes:
        found = hashlib.sha256()
        for name in names:
            found.update(name.encode())
            found.update(np.ascontiguousarray(_values(stack, name, number, *window)).tobytes())
        return found.digest()

    return hashlib.sha256(b"".join(in_order(digest, windows, workers))).hexdigest()[:16]


def predict(
    downscaler: Downscaler,
    stack: xr.Dataset,
    output: Output,
    plan: Mapping[str, Any],
    *,
    coarse: xr.DataArray | None = None,
    crs: str | None = None,
    window_pixels: int = 512,
    workers: int = 1,
    intervals: bool = True,
    reach: Reach | None = None,
    name: str = "fine stack",
) -> Made:
    """Estimate all days of a stack, and write them.

    Only pixels whose predictors are all finite are estimated: trees would answer for others too. A few windows are in
    memory at a time, whatever the size of the image.

    Args:
        downscaler: Trained, on its device.
        stack: Predictors in the units of training.
        output: Where the maps go.
        plan: What identifies the output, plain values.
        coarse: Maps (time, H, W) in the target's units whose values the means are to equal; None for no correction.
        crs: Of their y and x; None for lat and lon.
        window_pixels: Side of a window.
        workers: Windows at a time.
        intervals: Whether bounds and distance are wanted.
        reach: Collects what the predictors reach beyond training.
        name: Of the stack, for messages.

    Raises:
        CubeError: The coarse maps lack a day, or do not fit; a predictor holds a fill value that is not declared.
        ConfigError: The output is of another plan.
    """
    grid, days = grid_of(stack), days_of(stack)
    cells = None if coarse is None else CoarseGrid(coarse, crs, grid)
    places = {} if coarse is None else _places(coarse, days)
    windows = windows_of(grid.rows, grid.columns, window_pixels)
    bounds = moisture_bounds(downscaler.target_units) or (-np.inf, np.inf)
    output.begin(plan)
    moving, fixed = ([n for n in downscaler.predictors if (TIME in stack[n].dims) == moves] for moves in (True, False))
    with _named(name, days[0]):
        still = day_digest(stack, 0, fixed, windows, workers) if fixed else ""
    made = dict.fromkeys(Made._fields, 0)
    models: SimpleQueue[Downscaler] = SimpleQueue()
    for k in range(max(1, workers)):
        # XGBoost's booster may not be set up by two threads at once
        models.put(downscaler if k == 0 else copy.deepcopy(downscaler))
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // max(1, workers)))
    try:
        for number, day in enumerate(days):
            with _named(name, day):
                digest = still + day_digest(stack, number, moving, windows, workers)
            if output.is_made(number, day, digest):
                made["skipped"] += 1
                continue

            def estimate(window: tuple[slice, slice], number: int = number, day: np.datetime64 = day) -> Window:
                model = models.get()
                try:
                    with _named(name, day):
                        return _window(model, stack, number, window, intervals, reach)
                finally:
                    models.put(model)

            found = in_order(estimate, windows, workers)
            correction = None
            if cells is not None and coarse is not None:
                part = coarse.isel({TIME: places[day], coarse.dims[1]: cells.rows, coarse.dims[2]: cells.columns})
                correction = Conservation(cells, part.values)
                found = _conserved(found, correction, output.scratch())
            with output.day(number, day, digest) as write:
                for window in found:
                    write(window.rows, window.columns, window.values)
                    if reach is not None:
                        reach.add(window)
                    _count(made, window.values[SM_FILLED], bounds)
            made["days"] += 1
            if correction is not None:
                made["cells"] += int(correction.used.sum())
                made["left"] += int((correction.touched & ~correction.used).sum())
            log.info("%s: written (%d of %d)", day, number + 1, len(days))
    finally:
        torch.set_num_threads(threads)
    output.finish()
    if made["impossible"]:
        log.warning(
            "%s estimates lie outside of %g to %g %s, which no soil moisture can; they are written",
            f"{made['impossible']:,}", *bounds, downscaler.target_units,
        )  # fmt: skip
    return Made(**made)


class Window(NamedTuple):
    """Estimates of a window.

    Attributes:
        rows: Of the grid.
        columns: Of the grid.
        values: By the name of a variable, (h, w) float32; NaN where missing.
        moments: For each predictor of the estimated pixels: number, number outside the training range, sum of
            departures from the middle of this range, sum of their squares; (P, 4).
    """

    rows: slice
    columns: slice
    values: dict[str, np.ndarray]
    moments: np.ndarray | None


def _window(
    model: Downscaler,
    stack: xr.Dataset,
    number: int,
    window: tuple[slice, slice],
    intervals: bool,
    reach: Reach | None,
) -> Window:
    rows, columns = window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    maps = [_values(stack, name, number, rows, columns) for name in model.predictors]
    for name, one in zip(model.predictors, maps, strict=True):
        refuse_fills(one, name, stack[name].attrs)
    complete = np.isfinite(maps[0])
    for one in maps[1:]:
        complete &= np.isfinite(one)
    chosen = np.empty((int(complete.sum()), len(maps)), np.float32)
    for k, one in enumerate(maps):
        chosen[:, k] = one[complete]
    found = {}
    for key, estimates in model.estimate(chosen, intervals).items():
        found[KEYS[key]] = np.full(shape, np.nan, np.float32)
        found[KEYS[key]][complete] = estimates
    return Window(rows, columns, found, None if reach is None else reach.moments(chosen))


def _count(made: dict[str, int], values: np.ndarray, bounds: tuple[float, float]) -> None:
    """Add the estimates of a window to what is made."""
    known = int(np.isfinite(values).sum())
    made["pixels"] += known
    made["missing"] += values.size - known
    made["impossible"] += int(((values < bounds[0]) | (values > bounds[1])).sum())


@contextmanager
def _named(name: str, day: np.datetime64) -> Iterator[None]:
    """Begin the messages on predictors with the stack and the day."""
    try:
        yield
    except CubeError as error:
        raise CubeError(f"{name}: {day}: {error}") from error


def _values(stack: xr.Dataset, name: str, number: int, rows: slice, columns: slice) -> np.ndarray:
    variable = stack[name].variable
    place: dict[Any, Any] = {ROWS: rows, COLUMNS: columns}
    if TIME in variable.dims:
        place[TIME] = number
    return np.asarray(variable.isel(place).values, np.float32)


def _conserved(found: Iterator[Window], correction: Conservation, scratch: Path) -> Iterator[Window]:
    """Yield windows again, shifted; between the two passes they are in a file."""
    kept: list[Window] = []
    with scratch.open("wb") as file:
        for window in found:
            correction.add(correction.cells.place(window.rows, window.columns), window.values[SM_FILLED])
            require_space(scratch, sum(values.nbytes for values in window.values.values()))
            for values in window.values.values():
                file.write(values.tobytes())
            # where it lies and what it holds, without values
            kept.append(window._replace(values=dict.fromkeys(window.values, np.empty(0))))
    correction.solve()
    if correction.touched.any() and not correction.used.any():
        log.warning("no coarse cell has a value and half of its pixels: nothing is conserved")
    with scratch.open("rb") as file:
        for window in kept:
            shape = (window.rows.stop - window.rows.start, window.columns.stop - window.columns.start)
            shift = correction.shift(correction.cells.place(window.rows, window.columns))
            shifted: dict[str, np.ndarray] = {}
            for name in window.values:
                stored = np.frombuffer(file.read(4 * shape[0] * shape[1]), np.float32).reshape(shape)
                shifted[name] = (stored + shift).astype(np.float32) if name in SHIFTED else stored
            yield window._replace(values=shifted)
    scratch.unlink()


def _places(coarse: xr.DataArray, days: np.ndarray) -> dict[np.datetime64, int]:
    there = {day: k for k, day in enumerate(coarse[TIME].values.astype("datetime64[D]"))}
    lacking = [str(day) for day in days if day not in there]
    if lacking:
        raise CubeError(
            f"no map on {len(lacking)} of {len(days)} days, the first is {lacking[0]}: choose others by time=, or say "
            "conserve=false"
        )
    return {day: there[day] for day in days}


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield the results of a function in the order of the items; few are in memory at a time.

    Args:
        function: Called in a thread.
        items: Its arguments.
        workers: Calls at a time.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


class Reach:
    """How far predictors reach beyond those of training.

    Args:
        downscaler: Trained.
    """

    def __init__(self, downscaler: Downscaler) -> None:
        self.names, self.spread = downscaler.predictors, downscaler.spread
        self.low, self.high = downscaler.low.astype(np.float32), downscaler.high.astype(np.float32)
        self.middle = (downscaler.low + downscaler.high) / 2
        self.total = np.zeros((len(self.names), 4))

    def moments(self, rows: np.ndarray) -> np.ndarray:
        """Return what `Window.moments` holds.

        Args:
            rows: (N, P) float32.
        """
        found = np.zeros((len(self.names), 4))
        for k, values in enumerate(rows.T):
            apart = values - self.middle[k]
            outside = np.count_nonzero((values < self.low[k]) | (values > self.high[k]))
            found[k] = len(values), outside, apart.sum(), (apart * apart).sum()
        return found

    def add(self, window: Window) -> None:
        """Add a window."""
        if window.moments is not None:
            self.total += window.moments

    def table(self) -> dict[str, dict[str, float]]:
        """Return for each predictor the share of its values outside the training range and the ratio of spreads."""
        count, outside, sums, squares = self.total.T
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(np.maximum(squares / count - (sums / count) ** 2, 0))
            # a predictor that was constant in training has no spread to compare with
            ratio = np.where(self.spread > 0, spread / self.spread, np.nan)
            share = outside / count
        return {
            name: {"outside": float(share[k]), "spread_ratio": float(ratio[k])} for k, name in enumerate(self.names)
        }

    def text(self) -> str:
        """Return the table as text."""
        lines = [f"{'predictor':24}{'outside training':>18}{'spread ratio':>14}"]
        for name, row in self.table().items():
            lines.append(f"{name:24}{100 * row['outside']:16.2f} %{row['spread_ratio']:14.2f}")
        lines.append("share of fine values outside the training range; their spread over that of training")
        return "\n".join(lines)

    def warn(self) -> None:
        """Log predictors that are hardly like those of training."""
        for name, row in self.table().items():
            if row["outside"] > UNLIKE:
                log.warning(
                    "'%s': %.0f %% of the values lie outside the training range: is it the same quantity?",
                    name, 100 * row["outside"],
                )  # fmt: skip
