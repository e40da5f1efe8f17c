"""CHIRPS v2.0: daily precipitation over land from 50 S to 50 N, a year a file (chirps-v2.0.2003.days_p25.nc).

Fact: `precip` (time, latitude, longitude) in mm/day, fill -9999, days since 1980-01-01.
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
    """The days of the files, told by their time axes."""
    times = {path: whole_days(times_in(path)) for path in paths}

    def read(path: Path, steps: slice) -> xr.Dataset:
        maps = read_maps(path, {"precipitation": "precip"}, times[path][steps], steps)
        maps["precipitation"].attrs = PRECIPITATION
        return maps

    return Files("chirps", [File(path, times[path]) for path in paths], read)
