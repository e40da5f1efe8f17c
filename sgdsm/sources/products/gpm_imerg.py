"""GPM IMERG daily precipitation (3IMERGDF, DL and DE), V06 and V07, 0.1 degree, one file a day.

Reads `precipitation` (V06: `precipitationCal`), (time, lon, lat), mm of the day, fill -9999.9. File names are like
3B-DAY.MS.MRG.3IMERG.20200601-S000000-E235959.V06.nc4.

Reference: Huffman et al., "IMERG technical documentation"; GES DISC, documentation of GPM_3IMERGDF.
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
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If a name has no date.
    """
    return Files("gpm_imerg", dated(paths, r"\.(\d{8})-S\d{6}"), read)


def read(path: Path, steps: slice) -> xr.Dataset:
    """Read a day.

    Args:
        path: File to read.
        steps: Positions on the time axis, which has one day.

    Returns:
        `precipitation` in mm, dims (time, lat, lon).
    """
    with opened(path) as file, LOCK:
        # V07 renamed the variable
        name = "precipitation" if "precipitation" in file.variables else "precipitationCal"
    days = whole_days(times_in(path))
    maps = read_maps(path, {"precipitation": name}, days[steps], steps, NEGATIVE_FILLS)
    # precipitation below zero is no measurement
    maps["precipitation"] = maps["precipitation"].where(maps["precipitation"] >= 0)
    maps["precipitation"].attrs = PRECIPITATION
    # 07B and 07A are one version
    version = path.name.split(".V")[-1].split(".")[0][:2]
    return maps.assign_attrs(product_version=version)
