"""Linear interpolation in time on the CPU, compiled by numba; imported only where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.compiled import compiled


def interpolate(values: Tensor, seen: Tensor, otherwise: Tensor) -> Tensor:
    """Return the line between the seen values of each cell, and the nearest seen value beyond the first and the last.

    Args:
        values: (B, 1, T, H, W) float32, any number where not seen.
        seen: (B, 1, T, H, W) bool.
        otherwise: Values of cells of which nothing is seen, (B, 1, T, H, W) float32.

    Returns:
        (B, 1, T, H, W).
    """
    line = torch.empty(values.shape)
    # windows of (T, cells)
    windows = [x.detach().contiguous().flatten(3).flatten(0, 1).numpy() for x in (values, seen, otherwise, line)]
    for fields in zip(*windows, strict=True):
        _interpolate(*fields)
    return line


@compiled()
def _interpolate(values: Any, seen: Any, otherwise: Any, line: Any) -> None:
    days, cells = values.shape
    # the day and the value that were last seen, of each cell: first forward in time, then backward
    day, value = np.full(cells, -1, np.int32), np.empty(cells, np.float32)
    since = np.empty((days, cells), np.int32)
    for t in range(days):
        for c in range(cells):
            if seen[t, c]:
                day[c], value[c] = t, values[t, c]
            since[t, c], line[t, c] = day[c], value[c]
    day[:] = days
    for t in range(days - 1, -1, -1):
        for c in range(cells):
            if seen[t, c]:
                day[c], value[c] = t, values[t, c]
            last = since[t, c]
            if last < 0:
                line[t, c] = value[c] if day[c] < days else otherwise[t, c]
            elif day[c] < days:
                share = np.float32(t - last) / np.float32(max(day[c] - last, 1))
                line[t, c] += (value[c] - line[t, c]) * share
