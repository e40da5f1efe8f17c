"""C3S soil moisture: COMBINED, PASSIVE and ACTIVE, daily, 0.25 degree; layout and flags are those of ESA CCI.

Dekadal and monthly files are means of days without flags: a folder's are left out, and one that is named is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sgdsm.sources.esa_cci import of_one_kind, read_day
from sgdsm.sources.files import Files, SourceError, dated

PATTERNS = ("C3S-SOILMOISTURE-L3S-SSM?-*-DAILY-*.nc",)


def files(paths: Sequence[Path]) -> Files:
    """The days of the files, told by their names."""
    for path in paths:
        if "-DAILY-" not in path.name:
            raise SourceError(f"{path}: not a daily file of C3S, expected a name as {PATTERNS[0]}")
    return of_one_kind(Files("c3s", dated(paths, r"-DAILY-(\d{8})\d{6}-"), read))


def read(path: Path, steps: slice) -> xr.Dataset:
    """`sm`, `sm_reason`, `sm_uncertainty` and `flag` of a day."""
    return read_day(path, "C3S soil moisture")
