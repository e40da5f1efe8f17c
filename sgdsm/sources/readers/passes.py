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
    """Raises SourceError where an option `overpass` is none of am, pm and both."""
    if overpass not in ("am", "pm", "both"):
        raise SourceError(f"{product}: overpass '{overpass}', expected am, pm or both")


def of_overpass(product: str, paths: Sequence[Path], overpass: str, names: dict[str, str], one: str) -> list[Path]:
    """The files of an overpass; names: the regular expression that names of files match, for am and pm. one: its groups
    in a name tell which pass it is.

    Raises SourceError where there are none, or two of the same pass (their mean would be taken).
    """
    check_overpass(product, overpass)
    found = [p for p in paths if overpass == "both" or re.search(names[overpass], p.name)]
    if not found:
        raise SourceError(f"{product}: none of the {len(paths)} files is of overpass '{overpass}': {paths[0]}")
    refuse_twice(found, one)
    return found


def refuse_twice(paths: Sequence[Path], one: str) -> None:
    """Raises SourceError where two files are of one pass, which the groups of a regular expression tell in a name."""
    seen: dict[tuple[str, ...], Path] = {}
    for path in paths:
        match = re.search(one, path.name)
        # a name that tells no date is refused where dates are looked for
        if match and seen.setdefault(match.groups(), path) != path:
            raise SourceError(f"{path} and {seen[match.groups()]}: both hold one pass, expected one file")


def mean_of_points(grid: EaseGrid, row: np.ndarray, column: np.ndarray, points: Variables) -> Variables:
    """Points (1-D) of a pass as maps of the whole grid, by the rule of `mean_of_passes`; those off the grid are left
    out. points: `sm`, `sm_reason`, `sm_uncertainty`, and flags whose attribute `missing` says what an empty cell has.
    """
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    cell = row[inside].astype(np.int64) * grid.columns + column[inside]
    points = {name: (values[inside], attrs) for name, (values, attrs) in points.items()}
    reason = points["sm_reason"][0]
    # of the points of a cell the last one that is written stays
    order = np.argsort(_merit(reason, points["sm"][0]), kind="stable")
    maps = {}
    for name, (values, attrs) in points.items():
        empty = Reason.NO_DATA if name == "sm_reason" else attrs.get("missing", np.nan)
        found = np.full(grid.rows * grid.columns, empty, values.dtype)
        found[cell[order]] = values[order]
        if name in MEANS:
            used = (reason == Reason.OBSERVED) & np.isfinite(values)
            count = np.bincount(cell[used], minlength=found.size)
            total = np.bincount(cell[used], values[used], found.size)
            found[count > 0] = (total[count > 0] / count[count > 0]).astype(values.dtype)
        maps[name] = (found.reshape(grid.rows, grid.columns), attrs)
    return maps


def mean_of_passes(passes: list[xr.Dataset]) -> xr.Dataset:
    """Passes over the same grid on a day as one map: the mean of the observed values of a cell.

    Where none is observed, all variables are of the pass that tells most: a rejected value, or else a reason. So are
    flags everywhere. The error of a mean is the mean of the errors: those of the passes are not independent.
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
    """How much a pass tells of a cell: 3 = observed, 2 = a rejected value, 1 = why there is none, 0 = nothing."""
    tells = [reason == Reason.OBSERVED, np.isfinite(sm), reason != Reason.NO_DATA]
    merit: np.ndarray = np.select(tells, [3, 2, 1], 0)
    return merit
