"""SMOS L2 soil moisture of ESA (MIR_SMUDP2), half orbits, NetCDF, put from its ISEA 4H9 grid on 25 km EASE-Grid 2.0.

Reads `Soil_Moisture` and `Soil_Moisture_DQX` in m3 m-3, the science and confidence flags, and the probability of radio
interference. The thresholds are our choice, as in `smos_l3`. Of the science flags snow, frost, ice, strong topography
and rain reject a value. The confidence flag of the fit (FL_CHI2_P) does not: it is set for most retrievals.

Reference: ESA, "SMOS Level 2 and auxiliary data products specifications" (SO-TN-IDR-GS-0006).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.readers.ease import M25, Variables
from sgdsm.sources.readers.files import Files, dated
from sgdsm.sources.readers.isea import degrees_of
from sgdsm.sources.readers.names import M3, REASON_ATTRS, Reason, bit, reasons
from sgdsm.sources.readers.passes import mean_of_passes, mean_of_points, refuse_twice

PATTERNS = ("SM_*_MIR_SMUDP2_*.nc",)
# the half orbit belongs to the day on which it starts
DATE = r"_MIR_SMUDP2_(\d{8})T\d{6}_"
PASS = r"_MIR_SMUDP2_(\d{8}T\d{6})_"
FILL = -999.0
FLAG_FILL = 65535
SCIENCE = {Reason.SNOW: (6, 7, 8), Reason.FROZEN: (11, 12), Reason.TERRAIN: (3,), Reason.RAIN: (25,)}
OUTSIDE, NO_PRODUCT, LARGE_ERROR = 5, 4, 6  # bits of the confidence flags


def files(paths: Sequence[Path], largest_rfi: float = 0.2, largest_dqx: float = 0.1) -> Files:
    """Return the days of the half orbits, dated by their names.

    Args:
        paths: Files of the product, in any order.
        largest_rfi: Largest accepted probability of radio interference, 0 to 1.
        largest_dqx: Largest accepted retrieval error, m3 m-3.

    Returns:
        The files; the half orbits of a day become their mean.

    Raises:
        SourceError: If two files hold the same half orbit, or a name has no date.
    """
    refuse_twice(paths, PASS)
    read_ = partial(read, largest_rfi=largest_rfi, largest_dqx=largest_dqx)
    return Files("smos_l2", dated(paths, DATE), read_, mean_of_passes)


def read(path: Path, steps: slice, largest_rfi: float = 0.2, largest_dqx: float = 0.1) -> xr.Dataset:
    """Read a half orbit as maps of the whole 25 km grid: the mean of the points in each cell.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        largest_rfi: As in `files`.
        largest_dqx: As in `files`.

    Returns:
        `sm` and `sm_uncertainty` (DQX) in m3 m-3, `sm_reason` and `flag` (confidence flags), dims (time, y, x).
    """
    # the fill values of flags and of the probability are 0, which is a value: they are read as they are
    with xr.open_dataset(path, decode_times=False, mask_and_scale=False) as raw:
        sm, dqx = (raw[name].values.astype(np.float32) for name in ("Soil_Moisture", "Soil_Moisture_DQX"))
        # stored as a signed byte, meant as an unsigned one
        rfi = raw["RFI_Prob"].values.view(np.uint8) * float(raw["RFI_Prob"].attrs["scale_factor"])
        science, confidence = raw["Science_Flags"].values, raw["Confidence_Flags"].values.view(np.uint16)
        row, column = M25.cells_around(*degrees_of(raw["Grid_Point_ID"].values))
    sm[sm == FILL] = np.nan
    dqx[dqx == FILL] = np.nan
    # flags are set for points without a retrieval too
    retrieved = np.isfinite(sm)
    tests = {reason: np.any([bit(science, b) for b in bits], axis=0) for reason, bits in SCIENCE.items()}
    tests[Reason.INTERFERENCE] = rfi > largest_rfi
    # the processor's own check of the range, beside that of `reasons`
    tests[Reason.OUT_OF_RANGE] = bit(confidence, OUTSIDE)
    rejected = (dqx > largest_dqx) | bit(confidence, NO_PRODUCT) | bit(confidence, LARGE_ERROR)
    tests[Reason.NOT_RECOMMENDED] = rejected & retrieved
    found: Variables = {
        "sm": (sm, M3),
        "sm_reason": (reasons(sm, tests), REASON_ATTRS),
        "sm_uncertainty": (dqx, {"units": "m3 m-3", "long_name": "data quality index of soil moisture"}),
        "flag": (confidence, {"long_name": "confidence flags", "role": "flag", "missing": FLAG_FILL}),
    }
    dataset = M25.dataset(mean_of_points(M25, row, column, found), dated([path], DATE)[0].times[0])
    return dataset.assign_attrs(product="SMOS L2 soil moisture (ESA)")
