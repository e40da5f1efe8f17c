"""Scores of each cell: maps of N, RMSE, bias, R and others at the hidden values, and of the mean uncertainty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sgdsm.core.cube import time_chunks
from sgdsm.core.filled import SM_FILLED, SM_STD
from sgdsm.evaluation.metrics import METRICS, State, bin_statistics, error_statistics, metrics

IN_MAPS = ("rmse", "bias", "ubrmse", "r", "nse")
WITHOUT_UNITS = ("r", "nse")
READ_VALUES = 2**23  # of a variable in memory at once


def cell_errors(filled: xr.DataArray, truth: xr.DataArray, hidden: xr.DataArray) -> State:
    """Return the sums of the errors at hidden values of each cell, leading shape (H * W,).

    Args:
        filled: Estimates, (T, H, W), lazy, as the others.
        truth: True values.
        hidden: Which values were hidden, bool; those without an estimate or a truth are left out.
    """
    cells = int(np.prod(filled.shape[1:]))
    total = State.zeros((cells,))
    for part in time_chunks(filled, READ_VALUES):
        chosen = hidden[part].values.astype(bool)
        if not chosen.any():
            continue
        estimate, true = (array[part].values for array in (filled, truth))
        chosen &= np.isfinite(estimate) & np.isfinite(true)
        cell = np.nonzero(chosen.reshape(len(chosen), -1))[1]
        total = total + bin_statistics(error_statistics(estimate[chosen], true[chosen]), cell, cells)
    return total


def score_maps(table: Mapping[str, np.ndarray], place: xr.DataArray, units: str) -> xr.Dataset:
    """Return the scores of each cell as maps, (H, W): `n` and those of IN_MAPS, NaN without hidden values.

    Args:
        table: Metrics of the cells, see `sgdsm.evaluation.metrics.metrics`, (H * W,) each.
        place: A map of the grid, (H, W).
        units: Of the target.
    """
    about = {metric.name: metric.explanation for metric in METRICS}
    maps = {
        name: (
            place.dims,
            table[name].astype(np.float32).reshape(place.shape),
            {"long_name": f"{about[name]}, of each cell", "units": "1" if name in WITHOUT_UNITS else units},
        )
        for name in IN_MAPS
    }
    dataset = xr.Dataset(maps, {dim: place[dim] for dim in place.dims})
    count = table["n"].astype(np.int32).reshape(place.shape)
    return dataset.assign(n=(place.dims, count, {"long_name": "number of hidden values of each cell", "units": "1"}))


def cell_scores(filled: xr.Dataset, truth: xr.DataArray, hidden: xr.DataArray, visible: xr.DataArray) -> xr.Dataset:
    """Return maps of the scores at hidden values and, where there is `sm_std`, of its mean in the gaps.

    Args:
        filled: Holds `sm_filled` and perhaps `sm_std`, (T, H, W), lazy, on the axes of the others.
        truth: True values of what was hidden.
        hidden: Which values were hidden, bool.
        visible: What the filler could see, NaN in gaps.

    Returns:
        `n`, `rmse`, `bias`, `ubrmse`, `r`, `nse` and `sm_std`, (H, W), in the units of the truth.
    """
    units = str(truth.attrs.get("units", "1"))
    table = metrics(cell_errors(filled[SM_FILLED], truth, hidden))
    maps = score_maps(table, truth.isel(time=0, drop=True), units)
    if SM_STD not in filled:
        return maps
    spread = filled[SM_STD]
    total, count = np.zeros(spread.shape[1:]), np.zeros(spread.shape[1:], int)
    for part in time_chunks(spread, READ_VALUES):
        values = spread[part].values.astype(np.float64)
        gap = np.isfinite(values) & ~np.isfinite(visible[part].values)
        total += np.where(gap, values, 0).sum(0)
        count += gap.sum(0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    attrs = {"long_name": "mean standard deviation of the filled values of each cell", "units": units}
    return maps.assign({SM_STD: (spread.dims[1:], mean.astype(np.float32), attrs)})
