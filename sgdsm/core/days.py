"""The calendar: times of files to the second and to the day (they are numbers with a fraction there), and seasons."""

from __future__ import annotations

from typing import Any

import numpy as np

# meteorological seasons and their months; the order is that of `season_numbers`
SEASON_MONTHS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
SEASONS = tuple(SEASON_MONTHS)
DAYS_PER_YEAR = 365.2425  # mean of the Gregorian calendar


def to_the_second(times: Any) -> np.ndarray:
    """Return times at their nearest second: '1e-9 day before midnight' is a rounding error of midnight.

    Args:
        times: datetime64 of any shape.

    Returns:
        datetime64[ns] of that shape.
    """
    exact = np.asarray(times, "datetime64[ns]")
    # half a second more, then cut
    return (exact + np.timedelta64(500, "ms")).astype("datetime64[s]").astype("datetime64[ns]")


def whole_days(times: Any) -> np.ndarray:
    """Return the UTC day (00 UTC) of each time, after rounding to the second.

    Args:
        times: datetime64 of any shape.

    Returns:
        datetime64[ns] of that shape.
    """
    return to_the_second(times).astype("datetime64[D]").astype("datetime64[ns]")


def season_numbers(days: Any) -> np.ndarray:
    """Return the meteorological season of days, as indices into SEASONS.

    Args:
        days: Days since 1970-01-01, or datetime64, (T,).

    Returns:
        0 for DJF, 1 for MAM, 2 for JJA and 3 for SON, (T,) int.
    """
    months = np.asarray(days).astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12 + 1
    season: np.ndarray = months % 12 // 3
    return season
