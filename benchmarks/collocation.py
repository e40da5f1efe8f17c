"""Triple collocation on simulated data: how far estimates are off, and how much of it the intervals cover.

    python benchmarks/collocation.py [cells]

Three data sets of one truth (standard deviation .06 m3 m-3) with errors of .02, .0375 and .031: relative error of the
estimates by the number of days, of independent and of correlated errors, and how often the 95 % intervals of moving
blocks contain the planted error where errors are independent from day to day and where they have a memory.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.evaluation.triple_collocation import NEGATIVE_VARIANCE, resampled, triple_collocation

ERRORS = np.array([0.02, 0.0375, 0.031])
SIGNAL = 0.06
DAYS = (200, 500, 1000, 2000, 5000)
CORRELATIONS = (0.0, 0.1, 0.3, 0.5)
MEMORIES = (0.0, 0.5, 0.9)  # correlation from one day to the next, of the errors; of the truth .95
BLOCKS = (20, 60)


def memory(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Return normal series (..., days, cells) with a correlation from day to day."""
    values = rng.standard_normal(shape)
    for day in range(1, shape[-2]):
        values[..., day, :] = correlation * values[..., day - 1, :] + np.sqrt(1 - correlation**2) * values[..., day, :]
    return values


def triplets(
    rng: np.random.Generator, days: int, cells: int, correlated: float = 0.0, truth: float = 0.0, errors: float = 0.0
) -> np.ndarray:
    """Return three data sets, (3, days, cells); `correlated` is that of the errors of the first two."""
    error = memory(rng, (3, days, cells), errors)
    error[1] = correlated * error[0] + np.sqrt(1 - correlated**2) * error[1]
    return SIGNAL * memory(rng, (days, cells), truth) + ERRORS[:, None, None] * error


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = np.random.default_rng(0)
    print("days    relative error, 95 % of the cells within: of the three, of each")
    for days in DAYS:
        off = abs(triple_collocation(triplets(rng, days, cells))["error_std"] / ERRORS[:, None] - 1)
        each = " ".join(f"{np.nanquantile(one, 0.95):6.1%}" for one in off)
        print(f"{days:5}   {np.nanquantile(off, 0.95):6.1%}   {each}")
    print(
        "\ncorrelation of the errors of the first two: median of estimate / planted - 1, negative variances (1000 days)"
    )
    for correlation in CORRELATIONS:
        found = triple_collocation(triplets(rng, 1000, cells, correlation))
        ratio = np.nanmedian(found["error_std"] / ERRORS[:, None], axis=1) - 1
        missing = (found["status"] == NEGATIVE_VARIANCE).mean(1)
        lost = " ".join(f"{share:5.1%}" for share in missing)
        print(f"{correlation:.1f}   {' '.join(f'{one:+6.1%}' for one in ratio)}   {lost}")
    few, days = min(cells, 300), 1000
    print(f"\nmemory of the errors: 95 % intervals contain the planted error, by length of blocks ({days} days)")
    for correlation in MEMORIES:
        values = triplets(rng, days, few, 0.0, 0.95, correlation)
        line = []
        for block in BLOCKS:
            weights = resampled(moving_blocks(days, block, 200, rng))
            start = time.process_time()
            found = triple_collocation(values, weights=weights)
            seconds = time.process_time() - start
            low, high = found["error_std_lower"], found["error_std_upper"]
            inside = ((low <= ERRORS[:, None]) & (ERRORS[:, None] <= high))[np.isfinite(low)]
            line.append(f"{block} days {inside.mean():.1%} ({1e3 * seconds / few:.1f} ms a cell)")
        print(f"{correlation:.1f}   {', '.join(line)}")


if __name__ == "__main__":
    main()
