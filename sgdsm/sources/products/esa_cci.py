"""ESA CCI soil moisture v02 to v09 (COMBINED, ACTIVE, PASSIVE, COMBINED_GAPFILLED), daily, 0.25 degree.

Reads `sm` and `sm_uncertainty` in m3 m-3, of ACTIVE in percent of saturation, and `flag`, a sum of bits (in v02 too: 3
means snow and dense vegetation).

Reference: ESA CCI soil moisture, product user guides of v02.2, v05.2 and v09.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.sources.readers.files import Files, SourceError, dated
from sgdsm.sources.readers.names import M3, PERCENT, REASON_ATTRS, Reason, bit, north_up, reasons

PATTERNS = ("ESACCI-SOILMOISTURE-*.nc",)
FLAG_MISSING = 127
BITS = {
    Reason.SNOW: (0,),
    Reason.DENSE_VEGETATION: (1,),
    Reason.NOT_RECOMMENDED: (2, 4, 5),  # no convergence, low weight of the sensors, all of them unreliable
    Reason.OUT_OF_RANGE: (3,),
    Reason.BARREN: (6,),
}


def files(paths: Sequence[Path]) -> Files:
    """Return the days of the files, dated by their names.

    Args:
        paths: Files of the product, in any order.

    Returns:
        The files, one day each.

    Raises:
        SourceError: If a name has no date, or COMBINED, ACTIVE and PASSIVE are mixed.
    """
    return of_one_kind(Files("esa_cci", dated(paths, r"-(\d{8})\d{6}-"), read))


def of_one_kind(found: Files) -> Files:
    """Return the files if all are of one kind.

    Args:
        found: Files of ESA CCI or C3S.

    Returns:
        The same object.

    Raises:
        SourceError: If COMBINED, ACTIVE, PASSIVE or other kinds are mixed: their values are not comparable.
    """
    # names contain the kind, as -L3S-SSMV-COMBINED-
    kinds: dict[str, Path] = {}
    for file in found.files:
        kind = re.search(r"-L3S-(SSM.-[A-Z_]+)-", file.path.name)
        kinds.setdefault(kind[1] if kind else "another kind", file.path)
    if len(kinds) > 1:
        one, other = list(kinds)[:2]
        raise SourceError(f"{kinds[other]}: is {other}, {kinds[one].name} is {one}: expected files of one kind")
    return found


def read(path: Path, steps: slice) -> xr.Dataset:
    """Read a day.

    Of COMBINED_GAPFILLED the masks decide: `gapmask` 0 means gap-filled, `frozenmask` 0 means not frozen.

    Args:
        path: File to read.
        steps: Not used, a file has one map.

    Returns:
        `sm`, `sm_reason`, `sm_uncertainty` and `flag`, dims (time, lat, lon).
    """
    return read_day(path, "ESA CCI soil moisture")


def read_day(path: Path, product: str) -> xr.Dataset:
    """Read a day in the layout of ESA CCI, which C3S uses too.

    Args:
        path: File to read.
        product: Name of the product, for the attributes of the Dataset.

    Returns:
        `sm` and `sm_reason` (time, lat, lon), and if the file has them `sm_uncertainty` and `flag`.
    """
    # times of observation are no dates where there is none
    with xr.open_dataset(
        path, decode_times=xr.coders.CFDatetimeCoder(), drop_variables=["t0"], mask_and_scale=False
    ) as raw:
        coords = {"time": raw["time"].values, "lat": raw["lat"].values, "lon": raw["lon"].values}
        sm = _scaled(raw["sm"])
        # ACTIVE is in percent of saturation, which no constant factor turns into m3 m-3
        percent = raw["sm"].attrs.get("units") == "percent"
        found: dict[str, tuple[np.ndarray, dict[str, Any]]] = {"sm": (sm, PERCENT if percent else M3)}
        if "flag" in raw:
            flag, attrs = raw["flag"], {"role": "flag", "missing": FLAG_MISSING}
            kept = {k: flag.attrs[k] for k in ("long_name", "flag_values", "flag_meanings") if k in flag.attrs}
            found["flag"] = (np.asarray(flag.values).astype(np.uint8), {**kept, **attrs})
        found["sm_reason"] = (reasons(sm, _tests(raw), high=100.0 if percent else 1.0), REASON_ATTRS)
        if "sm_uncertainty" in raw:
            uncertainty: dict[str, Any] = {
                **(PERCENT if percent else M3),
                "long_name": "standard deviation of soil moisture",
            }
            # the CF standard name is that of the value, not of its standard deviation
            uncertainty.pop("standard_name", None)
            found["sm_uncertainty"] = (_scaled(raw["sm_uncertainty"]), uncertainty)
        version = str(raw.attrs.get("product_version", ""))
    dataset = xr.Dataset({n: (("time", "lat", "lon"), v, a) for n, (v, a) in found.items()}, coords)
    return north_up(dataset.assign_attrs(product=product, product_version=version))


def _tests(raw: xr.Dataset) -> dict[Reason, np.ndarray]:
    """Return True (1, H, W) where a value is to be rejected, by reason, from the flags and masks that a file has."""
    tests = {}
    if "flag" in raw:
        flag = np.asarray(raw["flag"].values)
        # 127 has all the bits of reasons set, but means that there is no flag
        known = np.where(flag == FLAG_MISSING, 0, flag)
        tests = {reason: np.any([bit(known, b) for b in bits], axis=0) for reason, bits in BITS.items()}
    if "gapmask" in raw:
        tests[Reason.GAP_FILLED] = np.asarray(raw["gapmask"].values) == 0
    if "frozenmask" in raw:
        tests[Reason.FROZEN] = np.nan_to_num(_scaled(raw["frozenmask"])) > 0
    return tests


def _scaled(variable: xr.DataArray) -> np.ndarray:
    """Return unpacked values (float32), NaN where the fill value is stored (-9999 if none is declared)."""
    raw = np.asarray(variable.values)
    values = raw.astype(np.float32) * np.float32(variable.attrs.get("scale_factor", 1.0))
    # -9999 where a file declares none
    values[raw == variable.attrs.get("_FillValue", -9999)] = np.nan
    return values
