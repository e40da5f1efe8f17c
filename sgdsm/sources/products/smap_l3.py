"""SMAP L3 radiometer soil moisture, daily, HDF5: SPL3SMP (36 km) and SPL3SMP_E (9 km), EASE-Grid 2.0.

Reads `soil_moisture` (the baseline algorithm) in m3 m-3, `retrieval_qual_flag` and `surface_flag`.
`soil_moisture_error` holds fill values only, so there is no `sm_uncertainty`.

Reference: product specification documents of L3_SM_P and L3_SM_P_E (JPL); user guides of SPL3SMP and SPL3SMP_E (NSIDC).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from sgdsm.sources.readers.ease import M09, M36, Variables
from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, Reason, bit, reasons
from sgdsm.sources.readers.passes import check_overpass, mean_of_passes

PATTERNS = ("SMAP_L3_SM_P_*.h5",)
DATE = r"SM_P_(?:E_)?(\d{8})_"
FILL, FLAG_FILL = -9999.0, 65534
# bits of `surface_flag`; coast (2), urban area (3) and nadir (11) have no reason of their own
SURFACE = {
    Reason.SNOW: (5, 6),
    Reason.FROZEN: (7, 8),
    Reason.WATER: (0, 1),
    Reason.DENSE_VEGETATION: (10,),
    Reason.TERRAIN: (9,),
    Reason.RAIN: (4,),
}


def files(paths: Sequence[Path], overpass: str = "both") -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        overpass: 'am' (descending, 06:00), 'pm' (ascending, 18:00), or 'both' for their mean.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If the overpass is unknown, or a name has no date.
    """
    check_overpass("smap_l3", overpass)
    return Files("smap_l3", dated(paths, DATE), partial(read, overpass=overpass))


def read(path: Path, steps: slice, overpass: str = "both") -> xr.Dataset:
    """Read a day; of both passes the mean, see `mean_of_passes`.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        overpass: As in `files`.

    Returns:
        `sm` in m3 m-3, `sm_reason` and `flag` (retrieval_qual_flag), dims (time, y, x).

    Raises:
        SourceError: If the file lacks the overpass.
    """
    grid = M09 if "_P_E_" in path.name else M36
    time = dated([path], DATE)[0].times[0]
    passes = []
    with h5py.File(path) as file:
        for name in ("am", "pm") if overpass == "both" else (overpass,):
            group = f"Soil_Moisture_Retrieval_Data_{name.upper()}"
            if group not in file:
                raise SourceError(f"{path}: no group '{group}', found {sorted(file)}")
            found = retrieved(file[group], "_pm" if name == "pm" else "")
            passes.append(grid.dataset(found, time))
    dataset = mean_of_passes(passes) if len(passes) > 1 else passes[0]
    return dataset.assign_attrs(product="SMAP L3 soil moisture", product_version=release(path))


def retrieved(group: h5py.Group, suffix: str = "") -> Variables:
    """Return soil moisture and flags of a group of retrievals.

    Args:
        group: Group of an open HDF5 file.
        suffix: Ending of the names, '_pm' for the evening pass.

    Returns:
        `sm` in m3 m-3, `sm_reason` and `flag`, each with its attributes, in the shape of the file.
    """
    sm = group["soil_moisture" + suffix][:].astype(np.float32)
    sm[sm == FILL] = np.nan
    quality = group["retrieval_qual_flag" + suffix][:]
    surface = group["surface_flag" + suffix][:]
    # the fill value has nearly all bits set, and would mean snow, frost and water at once
    surface[surface == FLAG_FILL] = 0
    # only bit 0 means 'not recommended': 8 (no freeze/thaw retrieval) is recommended too; the fill value lacks bit 0
    rejected = bit(quality, 0) | (quality == FLAG_FILL)
    tests = {r: rejected & np.any([bit(surface, b) for b in bits], axis=0) for r, bits in SURFACE.items()}
    # a rejected value without a bit of `surface_flag`
    tests[Reason.NOT_RECOMMENDED] = rejected & np.isfinite(sm)
    flag = {"long_name": "retrieval quality flag", "role": "flag", "missing": FLAG_FILL}
    return {"sm": (sm, M3), "sm_reason": (reasons(sm, tests), REASON_ATTRS), "flag": (quality, flag)}


def release(path: Path) -> str:
    """Return the release in a file name, as 'R18'; '' if there is none.

    The last three digits change within a version of the product.
    """
    match = re.search(r"_(R\d\d)\d{3}_", path.name)
    return match[1] if match else ""
