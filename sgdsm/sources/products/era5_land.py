"""ERA5-Land of the Climate Data Store: hourly NetCDF, 0.1 degree; amounts are accumulated since 00 UTC.

Variables and units are in `sgdsm.sources.readers.reanalysis`: temperatures in K, water in mm, radiation in W m-2.

Reference: Munoz-Sabater et al. (2021), doi 10.5194/essd-13-4349-2021; ECMWF, "ERA5-Land: data documentation".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sgdsm.sources.readers.files import Files
from sgdsm.sources.readers.reanalysis import Hours
from sgdsm.sources.readers.reanalysis_daily import daily

__all__ = ["PATTERNS", "daily", "files"]
# files of the Climate Data Store have any name that the user chose
PATTERNS = ("*.nc",)


def files(
    paths: Sequence[Path],
    variables: Sequence[str] | None = None,
    extremes: bool = False,
    daily_statistics: bool | None = None,
) -> Files:
    """Return the hours of the files, from their time axes.

    Args:
        paths: Files of the product, in any order; each variable may be in files of its own.
        variables: Short names (t2m, tp, swvl1, ...); None: all known variables of the files.
        extremes: Add the lowest and the highest air temperature of the day, `air_temperature_min` and
            `air_temperature_max`.
        daily_statistics: True if the files hold maps of whole days (means of states, sums of amounts); None: decided
            for each file by its name or its history, as the Climate Data Store writes them.

    Returns:
        The files; `daily` makes daily maps of them.

    Raises:
        SourceError: If a file cannot be read, a variable is in no file or twice at a time, or the grids differ.
        ConfigError: If a variable is unknown, or `extremes` is asked for without t2m.
    """
    return Hours(
        "era5_land", paths, variables, since_midnight=True, extremes=extremes, daily_statistics=daily_statistics
    ).files()
