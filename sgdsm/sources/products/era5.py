"""ERA5 of the Climate Data Store: hourly, 0.25 degree, amounts of each hour. See `reanalysis`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sgdsm.sources.readers.files import Files
from sgdsm.sources.readers.reanalysis import Hours
from sgdsm.sources.readers.reanalysis_daily import daily

__all__ = ["PATTERNS", "daily", "files"]
PATTERNS = ("*.nc",)


def files(
    paths: Sequence[Path],
    variables: Sequence[str] | None = None,
    extremes: bool = False,
    daily_statistics: bool | None = None,
) -> Files:
    """The hours of the files, told by their time axes. variables: by short name (t2m, tp, swvl1, ...), else all that
    are known; each may be in files of its own. extremes: `daily` gives `air_temperature_min` and `_max` too.
    daily_statistics: whether the files hold maps of whole days (means of states, sums of amounts); None: name or
    history of each file tells, as the Climate Data Store writes them."""
    return Hours(
        "era5", paths, variables, since_midnight=False, extremes=extremes, daily_statistics=daily_statistics
    ).files()
