"""What a filled file holds, in a few lines."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sgdsm.core.cube import time_chunks
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import CAUSAL, FILLED, LAND, OBSERVED, SM_SOURCE, VERSION, maps_of, version_line, versions_of
from sgdsm.core.words import counted


def filled_lines(dataset: xr.Dataset) -> str:
    """Return days, grid, shares and versions of a filled Dataset as text.

    Args:
        dataset: What predict.py writes.

    Raises:
        CubeError: It is no filled Dataset.
    """
    filled = maps_of(dataset)
    if SM_SOURCE not in dataset:
        raise CubeError(f"no variable '{SM_SOURCE}': expected what predict.py writes")
    days, rows, columns = filled.shape
    first, last = (str(filled["time"].values[k])[:10] for k in (0, -1))
    land = dataset[LAND].values > 0 if LAND in dataset else np.ones((rows, columns), bool)
    counts = np.zeros(3, np.int64)
    for part in time_chunks(dataset[SM_SOURCE]):
        codes = dataset[SM_SOURCE][part].values[:, land].astype(np.int64)
        counts += np.bincount(codes.ravel().clip(0, 2), minlength=3)
    shares = counts / max(1, counts.sum())
    text = [
        f"filled file: {counted(days, 'day')}, {first} to {last}, {rows} x {columns} cells, {int(land.sum())} on land",
        f"source: {dataset.attrs.get('source', 'not known')}",
        f"on land {shares[OBSERVED]:.1%} observed, {shares[FILLED]:.1%} filled, {shares[0]:.1%} without a value",
    ]
    if CAUSAL in dataset.attrs:
        text.append(f"near real time: {dataset.attrs[CAUSAL]}")
    if VERSION in dataset.attrs:
        text.append(f"version: {int(dataset.attrs[VERSION])}")
    text += [version_line(entry, str(filled.attrs.get("units", "1"))) for entry in versions_of(dataset.attrs)]
    return "\n".join(text)
