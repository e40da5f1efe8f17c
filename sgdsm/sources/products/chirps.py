"""CHIRPS v2.0: daily precipitation over land from 50 S to 50 N, 0.05 or 0.25 degree, one file a year.

Reads `precip` (time, latitude, longitude) in mm/day as `precipitation` in mm; fill -9999. File names are like
chirps-v2.0.2003.days_p25.nc.

Reference: Funk et al. (2015), doi 10.1038/sdata.2015.66; README of CHIRPS-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.sources.products.gpm_imerg import PRECIPITATION
from sgdsm.sources.readers.files import File, Files
from sgdsm.sources.readers.packed import read_maps, times_in

PATTERNS = ("chirps-*.nc",)


def files(paths: Sequence[Path]) -> Files:
    """Return the days of the files, from their time axes.

    Args:
        paths: Files of the product, in any order.

    Returns:
        The files, many days each.

    Raises:
        SourceError: If the time axis of a file cannot be read.
    """
    # a file has a year: only its time axis says which days of the current year exist
    times = {path: whole_days(times_in(path)) for path in paths}

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = read_maps(path, {"precipitation": "precip"}, times[path][steps], steps)
        maps["precipitation"].attrs = PRECIPITATION
        return maps

    return Files("chirps", [File(path, times[path]) for path in paths], read)
