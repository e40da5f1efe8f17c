"""Moving blocks of days: intervals of statistics whose daily values are correlated."""

from __future__ import annotations

import numpy as np


def moving_blocks(days: int, block_days: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the days of resampled series: blocks of neighbouring days, drawn with replacement and joined.

    Args:
        days: Length of the series, gaps included, so that a block is a time span.
        block_days: Length of a block. One longer than a third of the series is shortened to it.
        draws: Number of resampled series.
        rng: Of the draws.

    Returns:
        Day indices, (draws, days).

    Source:
        Kuensch, Annals of Statistics 17, 1217, 1989.
    """
    length = max(1, min(block_days, days // 3))
    starts = rng.integers(0, days - length + 1, (draws, -(-days // length)))
    drawn = starts[:, :, None] + np.arange(length)
    return drawn.reshape(draws, -1)[:, :days]
