"""SMAP L3 radiometer soil moisture, daily: SPL3SMP (36 km) and SPL3SMP_E (9 km), HDF5, on EASE-Grid 2.0.

Option overpass: "am" (descending), "pm" (ascending) or "both". Facts: product specification documents of L3_SM_P and
L3_SM_P_E. `soil_moisture` is the product's baseline algorithm. `soil_moisture_error` holds fill values only, so there
is no `sm_uncertainty`.
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
    """The days of the files, told by their names."""
    check_overpass("smap_l3", overpass)
    return Files("smap_l3", dated(paths, DATE), partial(read, overpass=overpass))


def read(path: Path, steps: slice, overpass: str = "both") -> xr.Dataset:
    """`sm`, `sm_reason` and `flag` (retrieval_qual_flag) of a day; of both passes, see `mean_of_passes`."""
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
    """`sm`, `sm_reason` and `flag` of a group of retrievals, of the shape they have there; suffix: of the names."""
    sm = group["soil_moisture" + suffix][:].astype(np.float32)
    sm[sm == FILL] = np.nan
    quality = group["retrieval_qual_flag" + suffix][:]
    surface = group["surface_flag" + suffix][:]
    surface[surface == FLAG_FILL] = 0
    # bit 0 alone tells: 8 (no freeze/thaw retrieval) is recommended too; the fill value has that bit at 0
    rejected = bit(quality, 0) | (quality == FLAG_FILL)
    tests = {r: rejected & np.any([bit(surface, b) for b in bits], axis=0) for r, bits in SURFACE.items()}
    tests[Reason.NOT_RECOMMENDED] = rejected & np.isfinite(sm)
    flag = {"long_name": "retrieval quality flag", "role": "flag", "missing": FLAG_FILL}
    return {"sm": (sm, M3), "sm_reason": (reasons(sm, tests), REASON_ATTRS), "flag": (quality, flag)}


def release(path: Path) -> str:
    """The release that the name tells, as 'R18': the last three digits change within a version of the product."""
    found = re.search(r"_(R\d\d)\d{3}_", path.name)
    return found[1] if found else ""
