"""SMAP L3 enhanced (9 km) as lists of points: NetCDF files `<region>_<year>-<month>-<day>.nc` of the cells with data.

Reads `soil_moisture` in m3 m-3 at `latitude` and `longitude`, which are centres of EASE-Grid 2.0 cells; the points of
all files define the part of the grid that the maps cover. Morning and evening values of a cell become their mean. The
lists have no flags: every value counts as observed.

Reference: user guide of SPL3SMP_E (NSIDC).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.sources.readers.broken import why
from sgdsm.sources.readers.ease import M09, Variables
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, reasons
from sgdsm.sources.readers.packed import refuse_fills

PATTERNS = ("*_????-??-??.nc",)
DATE = r"_(\d{4}-\d{2}-\d{2})\.nc$"
Box = tuple[slice, slice]


def files(paths: Sequence[Path]) -> Files:
    """Return the days of the files, dated by their names; the coordinates of all files are read.

    Args:
        paths: Files of the product, in any order.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If a name has no date, or no file has points of the 9 km grid.
    """
    return Files("smap_l3e_points", dated(paths, DATE, "%Y-%m-%d"), partial(read, box=_box(paths)))


def read(path: Path, steps: slice, box: Box) -> xr.Dataset:
    """Read a day.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        box: Rows and columns of the 9 km grid.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, dims (time, y, x).

    Raises:
        CubeError: If the values hold an undeclared fill value.
    """
    with xr.open_dataset(path) as file:
        row, column = _cells(file)
        value = file["soil_moisture"].values.astype(float)
    # the mean of a value and -9999 would not be recognized
    refuse_fills(value, "soil_moisture")
    some = np.isfinite(value)
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    cell = np.ravel_multi_index((row[some] - box[0].start, column[some] - box[1].start), shape)
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    total = np.bincount(cell, value[some], minlength=shape[0] * shape[1])
    sm = np.full(count.size, np.nan, np.float32)
    sm[count > 0] = total[count > 0] / count[count > 0]
    sm = sm.reshape(shape)
    maps: Variables = {"sm": (sm, M3), "sm_reason": (reasons(sm, {}), REASON_ATTRS)}
    time = dated([path], DATE, "%Y-%m-%d")[0].times[0]
    return M09.dataset(maps, time, *box).assign_attrs(product="SMAP L3 enhanced soil moisture, lists of points")


def _cells(file: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns (N,) of the points on the 9 km grid."""
    return M09.cells(file["latitude"].values.astype(float), file["longitude"].values.astype(float))


def _box(paths: Sequence[Path]) -> Box:
    """Return rows and columns of the 9 km grid that the points of all files span.

    Raises:
        SourceError: If no file has points of the grid.
    """
    rows, columns = [], []
    first = ""
    for path in paths:
        try:
            refuse_unsafe(path)
            with xr.open_dataset(path) as file:
                row, column = _cells(file)
        except (OSError, KeyError, ValueError, TypeError) as error:
            first = first or f"{path}: {why(path, error)}"
            continue  # the error of a broken file is raised when its map is read
        # an empty list must not change the box
        rows += [row.min(initial=M09.rows), row.max(initial=0)]
        columns += [column.min(initial=M09.columns), column.max(initial=0)]
    if not rows or min(rows) > max(rows):
        raise SourceError(
            f"smap_l3e_points: no points of the 9 km EASE-Grid 2.0 in any of {len(paths)} files: {first or paths[0]}"
        )
    return slice(min(rows), max(rows) + 1), slice(min(columns), max(columns) + 1)
