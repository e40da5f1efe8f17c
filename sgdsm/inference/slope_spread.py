"""Uncertainty of trends from the errors of filled values."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sgdsm.core.filled import SM_FILLED, SM_STD
from sgdsm.core.logging import log
from sgdsm.evaluation.scored_files import ScoredFile
from sgdsm.evaluation.trend_files import Calendar, slope_units
from sgdsm.evaluation.trends import trends
from sgdsm.inference.members import members
from sgdsm.models.uncertainty.correlation import ATTRIBUTES

VALUES = 2**26  # of members in memory at once


def with_spread(result: xr.Dataset, file: ScoredFile, calendar: Calendar, count: int, seed: int) -> xr.Dataset:
    """Return the trends with the standard deviation of the slopes of possible maps, where the file tells errors.

    Args:
        result: Of `sgdsm.evaluation.trend_files.trend_maps`.
        file: The filled file.
        calendar: Steps of the series.
        count: Number of possible maps.
        seed: Of the maps.

    Returns:
        `result` with `slope_std_filled`, (H, W), in the units of the slope; `result` itself where the file does not
        tell how its errors are correlated.
    """
    filled = file.dataset
    if SM_STD not in filled or not set(ATTRIBUTES) <= set(filled[SM_STD].attrs):
        log.info("filled=%s: does not tell how its errors are correlated: slopes without slope_std_filled", file.name)
        return result
    days, height, width = filled[SM_FILLED].shape
    rows = max(1, VALUES // (count * days * width))
    parts = []
    for first in range(0, height, rows):
        part = filled.isel({filled[SM_FILLED].dims[1]: slice(first, first + rows)})
        maps = members(part, count, seed).values.reshape(count, days, -1)
        slopes = [trends(calendar.means(one), calendar.years).slope for one in maps]
        parts.append(np.std(slopes, axis=0, ddof=1))
    attrs = {
        "units": slope_units(str(filled[SM_FILLED].attrs.get("units", "1"))),
        "long_name": f"standard deviation of the slope from errors of filled values, {count} possible maps",
        "comment": "a lower bound: without errors that last for years; the chance of these years is in p_value_filled",
    }
    spread = np.concatenate(parts).reshape(height, width)
    return result.assign(slope_std_filled=(result["slope_filled"].dims, spread, attrs))
