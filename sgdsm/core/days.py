"""Rounding of times, which files keep as numbers with a fraction, to seconds and to days; used everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np


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
