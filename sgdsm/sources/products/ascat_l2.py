"""ASCAT L2 surface soil moisture of EUMETSAT (eps_o_250, eps_o_125), swaths in NetCDF, put on the 25 km EASE-Grid 2.0.

Reads `soil_moisture` and its error in percent of saturation, the processing flag, and the advisory percentages of snow,
frozen soil, wetland and rough terrain, whose thresholds are our choice. Points whose processing flag is not 0 are
rejected. The bits of that flag are those of the EPS format (5 to 7 are used), not those that the text in the file
lists. Values that the product clipped at 0 and 100 percent count as observed.

Reference: EUMETSAT, "ASCAT Product Guide" and "ASCAT Level 2 soil moisture: product format specification".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.ease import M25, Variables
from sgdsm.sources.readers.files import Files, dated
from sgdsm.sources.readers.names import PERCENT, REASON_ATTRS, Reason, reasons
from sgdsm.sources.readers.packed import unpacked
from sgdsm.sources.readers.passes import mean_of_passes, mean_of_points, refuse_twice

PATTERNS = ("W_XX-EUMETSAT-*ASCAT_C_EUMP_*_ssm_l2.nc",)
# a swath belongs to the day on which it starts
DATE = r"_EUMP_(\d{8})\d{6}_"
# of 12.5 or 25 km: the same pass
PASS = r"(METOP.)\+ASCAT_C_EUMP_(\d{14})_"
FLAG_FILL = 255
LARGEST = np.float32(655.0)  # 655.35, all bits set, means missing, which the attributes do not declare


def files(
    paths: Sequence[Path],
    largest_snow: float = 50.0,
    largest_frozen: float = 50.0,
    largest_wetland: float = 15.0,
    largest_topography: float = 20.0,
) -> Files:
    """Return the days of the swaths, dated by their names.

    Args:
        paths: Files of the product, in any order.
        largest_snow: Largest accepted probability of snow cover, percent.
        largest_frozen: Largest accepted probability of frozen soil, percent.
        largest_wetland: Largest accepted share of wetland and open water, percent.
        largest_topography: Largest accepted index of topographic complexity, percent.

    Returns:
        The files; the swaths of a day become their mean.

    Raises:
        SourceError: If two files hold the same pass, or a name has no date.
    """
    # the same pass is distributed at two resolutions: with both it would count twice in the mean
    refuse_twice(paths, PASS)
    limits = {
        Reason.SNOW: ("snow_cover_probability", largest_snow),
        Reason.FROZEN: ("frozen_soil_probability", largest_frozen),
        Reason.WATER: ("wetland_flag", largest_wetland),
        Reason.TERRAIN: ("topography_flag", largest_topography),
    }
    return Files("ascat_l2", dated(paths, DATE), partial(read, limits=limits), mean_of_passes)


def read(path: Path, steps: slice, limits: dict[Reason, tuple[str, float]]) -> xr.Dataset:
    """Read a swath as maps of the whole 25 km grid: the mean of the points in each cell.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        limits: Variable and its largest accepted value in percent, by the reason that a larger value stands for.

    Returns:
        `sm` and `sm_uncertainty` in percent of saturation, `sm_reason` and `flag` (processing flag), dims (time, y, x).
    """
    with xr.open_dataset(path, decode_times=False, mask_and_scale=False) as raw:

        def points(name: str, check: bool = True) -> np.ndarray:
            return unpacked(raw[name].values, raw[name].attrs, name, check=check).ravel()

        row, column = M25.cells_around(points("latitude"), points("longitude"))
        sm, error, flag = points("soil_moisture"), points("soil_moisture_error"), points("proc_flag1", check=False)
        percents = {reason: points(name, check=False) for reason, (name, _) in limits.items()}
    # values above 100 percent but below this are rejected as out of range, with their reason
    sm[sm > LARGEST] = np.nan
    error[error > LARGEST] = np.nan
    # 255: not known
    tests = {r: (values > limits[r][1]) & (values != FLAG_FILL) for r, values in percents.items()}
    # a point without a retrieval has no data, whatever its flag says
    tests[Reason.NOT_RECOMMENDED] = (flag != 0) & np.isfinite(sm)
    found: Variables = {
        "sm": (sm, PERCENT),
        "sm_reason": (reasons(sm, tests, high=100.0), REASON_ATTRS),
        "sm_uncertainty": (error, {**PERCENT, "long_name": "estimated error of soil moisture"}),
        "flag": (flag.astype(np.uint8), {"long_name": "processing flag", "role": "flag", "missing": FLAG_FILL}),
    }
    dataset = M25.dataset(mean_of_points(M25, row, column, found), dated([path], DATE)[0].times[0])
    return dataset.assign_attrs(product="ASCAT L2 soil moisture")
