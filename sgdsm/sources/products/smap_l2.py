"""SMAP L2 radiometer soil moisture, half orbits, HDF5: SPL2SMP (36 km) and SPL2SMP_E (9 km), put on EASE-Grid 2.0.

Reads `soil_moisture` in m3 m-3 and the flags of L3, see `smap_l3`. The half orbits of a day become their mean.

Reference: O'Neill et al., "SMAP L2 radiometer half-orbit EASE-Grid soil moisture", user guides of SPL2SMP and SPL2SMP_E
(NSIDC).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import xarray as xr

from sgdsm.sources.products.smap_l3 import release, retrieved
from sgdsm.sources.readers.ease import M09, M36
from sgdsm.sources.readers.files import Files, Unfit, dated
from sgdsm.sources.readers.passes import mean_of_passes, mean_of_points, of_overpass

PATTERNS = ("SMAP_L2_SM_P_*.h5",)
GROUP = "Soil_Moisture_Retrieval_Data"
# the half orbit belongs to the day on which it starts
DATE = r"_[AD]_(\d{8})T\d{6}_"
PASS = r"_(\d+)_([AD])_(\d{8}T\d{6})_"


def files(paths: Sequence[Path], overpass: str = "both") -> Files:
    """Return the days of the half orbits, dated by their names.

    Args:
        paths: Files of the product, in any order.
        overpass: 'am' (descending, 06:00), 'pm' (ascending, 18:00) or 'both'.

    Returns:
        The files of the overpass.

    Raises:
        SourceError: If the overpass is unknown, no file is of it, or two files hold the same half orbit.
    """
    used = of_overpass("smap_l2", paths, overpass, {"am": "_D_", "pm": "_A_"}, PASS)
    return Files("smap_l2", dated(used, DATE), read, mean_of_passes)


def read(path: Path, steps: slice) -> xr.Dataset:
    """Read a half orbit as maps of the whole grid.

    Args:
        path: File to read.
        steps: Not used, a file has one map.

    Returns:
        `sm` in m3 m-3, `sm_reason` and `flag` (retrieval_qual_flag), dims (time, y, x).

    Raises:
        Unfit: If the file is none of SPL2SMP.
    """
    # the two products differ in the names of files only
    grid = M09 if "_P_E_" in path.name else M36
    with h5py.File(path) as file:
        if GROUP not in file:
            raise Unfit(f"no group '{GROUP}', found {sorted(file)}, expected a file of SPL2SMP")
        group = file[GROUP]
        # the file has the cells of its points, so no coordinates are needed
        row, column = group["EASE_row_index"][:], group["EASE_column_index"][:]
        points = retrieved(group)
    # fill values of rows and columns are off the grid
    dataset = grid.dataset(mean_of_points(grid, row, column, points), dated([path], DATE)[0].times[0])
    return dataset.assign_attrs(product="SMAP L2 soil moisture", product_version=release(path))
