"""Passes of a satellite: which files to use, their points on a grid, and their mean on a day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.ease import EaseGrid, Variables
from sgdsm.sources.readers.files import SourceError
from sgdsm.sources.readers.names import Reason

MEANS = {"sm", "sm_uncertainty"}


def check_overpass(product: str, overpass: str) -> None:
    """Raise an error if an option `overpass` is none of am, pm and both.

    Args:
        product: Name of the product, for the message.
        overpass: Value of the option.

    Raises:
        SourceError: If the value is another one.
    """
    if overpass not in ("am", "pm", "both"):
        raise SourceError(f"{product}: overpass '{overpass}', expected am, pm or both")


def of_overpass(product: str, paths: Sequence[Path], overpass: str, names: dict[str, str], one: str) -> list[Path]:
    """Return the files of an overpass.

    Args:
        product: Name of the product, for messages.
        paths: Files of the product.
        overpass: 'am', 'pm' or 'both'.
        names: Regular expressions that file names match, by 'am' and 'pm'.
        one: Regular expression whose groups in a file name identify the pass.

    Raises:
        SourceError: If there are none, or two of the same pass (their mean would be taken).
    """
    check_overpass(product, overpass)
    # with 'both', names need not match either expression
    chosen = [p for p in paths if overpass == "both" or re.search(names[overpass], p.name)]
    if not chosen:
        raise SourceError(f"{product}: none of the {len(paths)} files is of overpass '{overpass}': {paths[0]}")
    refuse_twice(chosen, one)
    return chosen


def refuse_twice(paths: Sequence[Path], one: str) -> None:
    """Raise an error if two files are of one pass.

    Args:
        paths: Files of a product.
        one: Regular expression whose groups in a file name identify the pass.

    Raises:
        SourceError: If two files have equal groups.
    """
    seen: dict[tuple[str, ...], Path] = {}
    for path in paths:
        match = re.search(one, path.name)
        # a name without a date is refused by `dated`
        if match and seen.setdefault(match.groups(), path) != path:
            raise SourceError(f"{path} and {seen[match.groups()]}: both hold one pass, expected one file")


def mean_of_points(grid: EaseGrid, row: np.ndarray, column: np.ndarray, points: Variables) -> Variables:
    """Return points of a pass as maps of the whole grid, by the rule of `mean_of_passes`.

    Args:
        grid: The grid.
        row: Rows (N,) of the points; points off the grid are omitted.
        column: Columns (N,) of the points.
        points: Values (N,) and attributes of `sm`, `sm_reason`, `sm_uncertainty`, and of flags, whose attribute
            `missing` is the value of an empty cell.

    Returns:
        Maps (H, W) and attributes by name.
    """
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    cell = row[inside].astype(np.int64) * grid.columns + column[inside]
    points = {name: (values[inside], attrs) for name, (values, attrs) in points.items()}
    reason = points["sm_reason"][0]
    # the last point that is written into a cell stays, so the best ones are written last
    order = np.argsort(_merit(reason, points["sm"][0]), kind="stable")
    maps = {}
    for name, (values, attrs) in points.items():
        empty = Reason.NO_DATA if name == "sm_reason" else attrs.get("missing", np.nan)
        flat = np.full(grid.rows * grid.columns, empty, values.dtype)
        flat[cell[order]] = values[order]
        if name in MEANS:
            # only observed values enter the mean
            used = (reason == Reason.OBSERVED) & np.isfinite(values)
            count = np.bincount(cell[used], minlength=flat.size)
            total = np.bincount(cell[used], values[used], flat.size)
            flat[count > 0] = (total[count > 0] / count[count > 0]).astype(values.dtype)
        maps[name] = (flat.reshape(grid.rows, grid.columns), attrs)
    return maps


def mean_of_passes(passes: list[xr.Dataset]) -> xr.Dataset:
    """Return passes over the same grid on a day as one map: the mean of the observed values of a cell.

    In a cell that no pass observed, all variables are those of the pass with most information: a rejected value, or
    else a reason. Flags are those of that pass everywhere. The error of a mean is the mean of the errors, because the
    errors of the passes are correlated.

    Args:
        passes: Maps (time, y, x) or (time, lat, lon) with `sm`, `sm_reason` and other variables.
    """
    best = passes[0].copy(deep=True)
    merit = _merit(best["sm_reason"].values, best["sm"].values)
    for other in passes[1:]:
        of_other = _merit(other["sm_reason"].values, other["sm"].values)
        better = of_other > merit
        merit = np.maximum(merit, of_other)
        for name in best.data_vars:
            best[name].values[better] = other[name].values[better]
    for name in MEANS & {str(name) for name in best.data_vars}:
        total = np.zeros(best[name].shape)
        count = np.zeros(best[name].shape)
        for one in passes:
            used = (one["sm_reason"].values == Reason.OBSERVED) & np.isfinite(one[name].values)
            total[used] += one[name].values[used]
            count += used
        some = count > 0
        best[name].values[some] = total[some] / count[some]
    return best


def _merit(reason: np.ndarray, sm: np.ndarray) -> np.ndarray:
    """Return how much information a pass has on each cell.

    3 = observed, 2 = a rejected value, 1 = a reason why there is none, 0 = nothing.
    """
    levels = [reason == Reason.OBSERVED, np.isfinite(sm), reason != Reason.NO_DATA]
    merit: np.ndarray = np.select(levels, [3, 2, 1], 0)
    return merit
