"""SMOS L3 soil moisture of CATDS, daily, 25 km EASE-Grid 2.0: MIR_CLF31A/D and the simple user product CLF3SA/D.

Reads `Soil_Moisture` and its DQX in m3 m-3 and the probability of radio interference, for which CATDS recommends 0.15
to 0.2; the largest DQX is our choice. Files that were cut down to `Soil_Moisture` are read too: there all values count
as observed.

Reference: CATDS, "Level 3 soil moisture: product user manual"; Al Bitar et al. (2017), doi
10.5194/essd-9-293-2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.logging import log
from sgdsm.sources.readers.ease import M25, Variables
from sgdsm.sources.readers.files import Files, dated
from sgdsm.sources.readers.names import M3, REASON_ATTRS, Reason, reasons
from sgdsm.sources.readers.passes import mean_of_passes, of_overpass

PATTERNS = ("SM_*_MIR_CLF31[AD]_*.nc", "SM_*_MIR_CLF3S[AD]_*.nc")
DATE = r"_MIR_CLF3[1S][AD]_(\d{8})T"
PASS = r"_CLF3[1S]([AD])_(\d{8})T"
NAMES = {"am": "_CLF3[1S]A_", "pm": "_CLF3[1S]D_"}


def files(paths: Sequence[Path], overpass: str = "both", largest_rfi: float = 0.2, largest_dqx: float = 0.1) -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.
        overpass: 'am' (ascending, 06:00), 'pm' (descending, 18:00), or 'both' for their mean.
        largest_rfi: Largest accepted probability of radio interference, 0 to 1.
        largest_dqx: Largest accepted retrieval error, m3 m-3.

    Returns:
        The files of the overpass.

    Raises:
        SourceError: If the overpass is unknown, no file is of it, or two files hold the same pass.
    """
    used = of_overpass("smos_l3", paths, overpass, NAMES, PASS)
    read_ = partial(read, largest_rfi=largest_rfi, largest_dqx=largest_dqx)
    return Files("smos_l3", dated(used, DATE), read_, mean_of_passes)


def read(path: Path, steps: slice, largest_rfi: float = 0.2, largest_dqx: float = 0.1) -> xr.Dataset:
    """Read a pass, on the part of the grid that the file has.

    Args:
        path: File to read.
        steps: Not used, a file has one map.
        largest_rfi: As in `files`.
        largest_dqx: As in `files`.

    Returns:
        `sm` in m3 m-3 and `sm_reason`, and if the file has it `sm_uncertainty` (DQX); dims (time, y, x).
    """
    with xr.open_dataset(path, decode_times=False) as raw:
        # files may hold a part of the grid
        rows, columns = M25.cells(raw["lat"].values.astype(float), raw["lon"].values.astype(float))
        # names differ in case between versions
        known = {str(name).lower(): np.asarray(v.values, np.float32) for name, v in raw.items() if v.ndim == 2}
    # without this variable the file is none of the product: the KeyError names it
    sm = known["soil_moisture"]
    maps: Variables = {"sm": (sm, M3)}
    tests = {}
    # logged, because values that the product advises against would be used
    lacking = [name for name in ("rfi_prob", "soil_moisture_dqx") if name not in known]
    if lacking:
        log.info("%s has no %s: no value is rejected for it", path.name, " and no ".join(lacking))
    if "rfi_prob" in known:
        tests[Reason.INTERFERENCE] = known["rfi_prob"] > largest_rfi
    if "soil_moisture_dqx" in known:
        dqx = known["soil_moisture_dqx"]
        tests[Reason.NOT_RECOMMENDED] = (dqx > largest_dqx) & np.isfinite(sm)
        maps["sm_uncertainty"] = (dqx, {"units": "m3 m-3", "long_name": "data quality index of soil moisture"})
    maps["sm_reason"] = (reasons(sm, tests), REASON_ATTRS)
    dataset = M25.dataset(maps, dated([path], DATE)[0].times[0], rows, columns)
    return dataset.assign_attrs(product="SMOS L3 soil moisture (CATDS)")
