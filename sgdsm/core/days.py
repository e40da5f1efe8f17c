"""Times that are kept in files as numbers with a fraction, to the second and to the day: the one way for all."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_the_second(times: Any) -> np.ndarray:
    """Times (datetime64[ns]) at their nearest second: '1e-9 day before midnight' is a rounding error of midnight."""
    exact = np.asarray(times, "datetime64[ns]")
    # half a second more, then cut
    return (exact + np.timedelta64(500, "ms")).astype("datetime64[s]").astype("datetime64[ns]")


def whole_days(times: Any) -> np.ndarray:
    """The UTC day (datetime64[ns], 00 UTC) of each time, after rounding to the second."""
    return to_the_second(times).astype("datetime64[D]").astype("datetime64[ns]")
