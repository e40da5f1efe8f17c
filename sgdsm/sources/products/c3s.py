"""C3S soil moisture: COMBINED, PASSIVE and ACTIVE, 0.25 degree; layout and flags are those of ESA CCI.

Option period: "daily", or "dekadal" and "monthly", which are means of days without flags or uncertainty, dated by their
first day. Of a folder with files of several periods the others are left out.
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
    """The days, or first days, of the files of a period, told by their names."""
    if period not in PERIODS:
        raise SourceError(f"c3s: period '{period}', expected one of {', '.join(PERIODS)}")
    mark = f"-{period.upper()}-"
    used = [path for path in paths if mark in path.name]
    if not used:
        raise SourceError(f"{paths[0]}: not a {period} file of C3S, expected '{mark}' in its name")
    return of_one_kind(Files("c3s", dated(used, mark + r"(\d{8})\d{6}-"), read))


def read(path: Path, steps: slice) -> xr.Dataset:
    """`sm` and `sm_reason` of a day or a period; of a day `sm_uncertainty` and `flag` too."""
    return read_day(path, "C3S soil moisture")
