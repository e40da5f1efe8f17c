"""How much a set of errors has to say: the days that are independent of one another, and what few of them ask for."""

from __future__ import annotations

import numpy as np
import torch

MEMORY = 7  # days apart that errors may still be alike
FEWEST_DAYS = 3.0  # Student's t has a variance from more than two degrees of freedom on


def effective_days(errors: np.ndarray, days: np.ndarray) -> float:
    """How many independent days a set of errors is worth, at least 1.

    The errors of a day share its weather, so a day counts once, however many values it has: (sum n)^2 / sum n^2 with n
    values on a day (Kish, Survey Sampling, 1965). Fewer where the sizes of the errors are alike for longer than a
    day: then it is the number of values over their design effect, whose variance takes in the products of days up to
    MEMORY apart (Newey and West, Econometrica 55, 703, 1987).

    errors: divided by the size that is expected of them, (N,). days: since any day, (N,) int.
    """
    if not len(errors):
        return 1.0
    days = days - days.min()
    counts = np.bincount(days).astype(np.float64)
    kish = float(counts.sum() ** 2 / np.square(counts).sum())
    sizes = np.abs(errors)
    # whether an error is a large one: heavy tails must not decide
    large = (sizes > np.median(sizes)).astype(np.float64)
    large -= large.mean()
    alone = float(np.square(large).sum())
    there = int(np.count_nonzero(counts))
    if there < 2 or not alone:
        return 1.0
    sums = np.bincount(days, large)
    together = float(sums @ sums)
    for lag in range(1, min(MEMORY, len(sums) - 1) + 1):
        together += 2 * (1 - lag / (MEMORY + 1)) * float(sums[lag:] @ sums[:-lag])
    effect = max(1.0, together / alone * there / (there - 1))
    return max(1.0, min(kish, len(errors) / effect))


def student(level: float, freedom: float) -> float:
    """Half-width of the interval of Student's t over that of the normal distribution.

    By Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), right to 1 % up to a level of
    0.95 and 4 % at 0.99, from 3 degrees of freedom on.
    """
    z = float(torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64)))
    first = (z**2 + 1) / (4 * freedom)
    second = (5 * z**4 + 16 * z**2 + 3) / (96 * freedom**2)
    third = (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / (384 * freedom**3)
    return 1 + first + second + third
