"""C3S soil moisture (COMBINED, PASSIVE, ACTIVE; CDR and ICDR), 0.25 degree, daily, dekadal or monthly.

Layout, units (m3 m-3, of ACTIVE percent of saturation) and flags are those of ESA CCI, see `esa_cci`. Dekadal and
monthly maps are means of days without flags or uncertainty, dated by their first day.

Reference: C3S, "Soil moisture: product user guide and specification" (Climate Data Store).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sgdsm.sources.products.esa_cci import of_one_kind, read_day
from sgdsm.sources.readers.files import Files, SourceError, dated

PATTERNS = ("C3S-SOILMOISTURE-L3S-SSM?-*.nc",)
PERIODS = ("daily", "dekadal", "monthly")


def files(paths: Sequence[Path], period: str = "daily") -> Files:
    """Return the days, or the first days of the periods, dated by the file names.

    Args:
        paths: Files of the product, in any order; files of other periods are ignored.
        period: 'daily', 'dekadal' or 'monthly'.

    Returns:
        The files of that period.

    Raises:
        SourceError: If the period is unknown, no file is of it, or COMBINED, ACTIVE and PASSIVE are mixed.
    """
    if period not in PERIODS:
        raise SourceError(f"c3s: period '{period}', expected one of {', '.join(PERIODS)}")
    # names contain the period, as C3S-SOILMOISTURE-L3S-SSMV-COMBINED-DAILY-2016...
    mark = f"-{period.upper()}-"
    # periods are not mixed: a mean of ten days is no observation of its first day
    used = [path for path in paths if mark in path.name]
    if not used:
        raise SourceError(f"{paths[0]}: not a {period} file of C3S, expected '{mark}' in its name")
    return of_one_kind(Files("c3s", dated(used, mark + r"(\d{8})\d{6}-"), read))


def read(path: Path, steps: slice) -> xr.Dataset:
    """Read a day or a period.

    Args:
        path: File to read.
        steps: Not used, a file has one map.

    Returns:
        `sm` and `sm_reason` (time, lat, lon); of a day also `sm_uncertainty` and `flag`.
    """
    return read_day(path, "C3S soil moisture")
