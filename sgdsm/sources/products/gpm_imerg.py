"""GPM IMERG daily (3IMERGDF, DL and DE), V06 and V07: 0.1 degree, one file a day, (time, lon, lat).

Facts: documents of GPM_3IMERGDF at GES DISC. V06 has `precipitationCal`, V07 `precipitation`; mm of the day, fill
-9999.9. Names: 3B-DAY.MS.MRG.3IMERG.20200601-S000000-E235959.V06.nc4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sgdsm.core.days import whole_days
from sgdsm.core.validation import NEGATIVE_FILLS
from sgdsm.sources.readers.files import Files, dated
from sgdsm.sources.readers.packed import LOCK, opened, read_maps, times_in

PATTERNS = ("3B-DAY*.nc4", "3B-DAY*.nc")
PRECIPITATION = {
    "units": "mm",
    "long_name": "precipitation of the day",
    "standard_name": "lwe_thickness_of_precipitation_amount",
    "kind": "amount",
    "cell_methods": "time: sum",
}


def files(paths: Sequence[Path]) -> Files:
    """The days of the files, told by their names."""
    return Files("gpm_imerg", dated(paths, r"\.(\d{8})-S\d{6}"), read)


def read(path: Path, steps: slice) -> xr.Dataset:
    """`precipitation` of a day."""
    with opened(path) as file, LOCK:
        name = "precipitation" if "precipitation" in file.variables else "precipitationCal"
    days = whole_days(times_in(path))
    maps = read_maps(path, {"precipitation": name}, days[steps], steps, NEGATIVE_FILLS)
    maps["precipitation"] = maps["precipitation"].where(maps["precipitation"] >= 0)
    maps["precipitation"].attrs = PRECIPITATION
    version = path.name.split(".V")[-1].split(".")[0][:2]
    return maps.assign_attrs(product_version=version)
