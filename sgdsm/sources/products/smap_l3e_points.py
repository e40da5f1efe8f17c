"""SMAP L3E 9 km as lists of points: NetCDF files `<region>_<year>-<month>-<day>.nc` that keep only the cells with data.

The points are centres of EASE-Grid 2.0 cells; those of all files span the part of the grid that the maps have. Morning
and evening values of a cell become their mean. The lists have no flags: every value counts as observed.
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
    """The days of the files, told by their names; the coordinates of all are read, for the part of the grid."""
    return Files("smap_l3e_points", dated(paths, DATE, "%Y-%m-%d"), partial(read, box=_box(paths)))


def read(path: Path, steps: slice, box: Box) -> xr.Dataset:
    """`sm` and `sm_reason` of a day; box: rows and columns of the 9 km grid."""
    with xr.open_dataset(path) as file:
        row, column = _cells(file)
        value = file["soil_moisture"].values.astype(float)
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
    return M09.cells(file["latitude"].values.astype(float), file["longitude"].values.astype(float))


def _box(paths: Sequence[Path]) -> Box:
    rows, columns = [], []
    first = ""
    for path in paths:
        try:
            refuse_unsafe(path)
            with xr.open_dataset(path) as file:
                row, column = _cells(file)
        except (OSError, KeyError, ValueError, TypeError) as error:
            first = first or f"{path}: {why(path, error)}"
            continue  # a broken file is told of when its map is read
        rows += [row.min(initial=M09.rows), row.max(initial=0)]
        columns += [column.min(initial=M09.columns), column.max(initial=0)]
    if not rows or min(rows) > max(rows):
        raise SourceError(
            f"smap_l3e_points: no points of the 9 km EASE-Grid 2.0 in any of {len(paths)} files: {first or paths[0]}"
        )
    return slice(min(rows), max(rows) + 1), slice(min(columns), max(columns) + 1)
