"""Effective sample size of errors in days, and the widening of intervals from few of them."""

from __future__ import annotations

import numpy as np
import torch

MEMORY = 7  # longest lag in days at which the sizes of errors are taken as correlated
FEWEST_DAYS = 3.0  # Student's t has a finite variance only above two degrees of freedom


def effective_days(errors: np.ndarray, days: np.ndarray) -> float:
    """Return the effective sample size of errors: a number of independent days, at least 1.

    The errors of a day share its weather, so a day counts once, however many values it has: (sum n)^2 / sum n^2 with n
    values on a day (Kish, Survey Sampling, 1965). If the sizes of the errors are correlated for longer than a day the
    number is smaller: that of the values over their design effect, whose variance includes the products of days up to
    MEMORY apart (Newey and West, Econometrica 55, 703, 1987).

    Args:
        errors: Divided by their expected sizes, (N,).
        days: Days since any date, (N,) int.
    """
    if not len(errors):
        return 1.0
    days = days - days.min()
    # Kish's number of days
    counts = np.bincount(days).astype(np.float64)
    kish = float(counts.sum() ** 2 / np.square(counts).sum())
    sizes = np.abs(errors)
    # indicators of large errors, not their squares: these would depend on a few extreme values
    large = (sizes > np.median(sizes)).astype(np.float64)
    large -= large.mean()
    independent = float(np.square(large).sum())
    days_with_errors = int(np.count_nonzero(counts))
    if days_with_errors < 2 or not independent:
        return 1.0
    sums = np.bincount(days, large)
    clustered = float(sums @ sums)
    for lag in range(1, min(MEMORY, len(sums) - 1) + 1):
        # Bartlett weights keep the variance non-negative
        clustered += 2 * (1 - lag / (MEMORY + 1)) * float(sums[lag:] @ sums[:-lag])
    # design effect, with the correction for a small number of clusters
    effect = max(1.0, clustered / independent * days_with_errors / (days_with_errors - 1))
    return max(1.0, min(kish, len(errors) / effect))


def student(level: float, freedom: float) -> float:
    """Return the half-width of the interval of Student's t over that of the normal distribution.

    By Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), accurate to 1 % up to a level of 0.95 and to 4 %
    at 0.99, from 3 degrees of freedom on.

    Args:
        level: Coverage of the interval, a share of 1.
        freedom: Degrees of freedom.
    """
    z = float(torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64)))
    first = (z**2 + 1) / (4 * freedom)
    second = (5 * z**4 + 16 * z**2 + 3) / (96 * freedom**2)
    third = (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / (384 * freedom**3)
    return 1 + first + second + third
