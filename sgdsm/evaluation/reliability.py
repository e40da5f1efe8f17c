"""Calibration of error bars: reliability, PIT and spread against skill, from additive sums."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdsm.evaluation.metrics import normal_cdf

PIT_BINS = 20
# edges of half octaves of the standard deviation, from 2^-20 to 2^10 of the target's units
SPREAD_BINS = 2.0 ** (np.arange(-40, 21) / 2)


class Calibration(NamedTuple):
    """Counts and sums that can be added; float64.

    Attributes:
        pit: Numbers of values by their probability integral transform under a normal distribution with the filled
            value and `sm_std`, in bins of equal width, (20,).
        spread: By half octaves of `sm_std`: the number of values, and the sums of its square and of the squared
            errors, (62, 3).
    """

    pit: np.ndarray
    spread: np.ndarray

    @classmethod
    def zeros(cls) -> Calibration:
        """Return the sums of no value."""
        return cls(np.zeros(PIT_BINS), np.zeros((len(SPREAD_BINS) + 1, 3)))

    @classmethod
    def of(cls, filled: np.ndarray, truth: np.ndarray, std: np.ndarray) -> Calibration:
        """Return the sums of values.

        Args:
            filled: Estimates, (N,).
            truth: What was observed, (N,), in the same units.
            std: Standard deviations of the errors, (N,), in the same units.
        """
        errors, std = truth.astype(np.float64) - filled, np.maximum(std.astype(np.float64), 1e-12)
        # a probability of exactly 1 belongs to the last bin
        pit = np.minimum((normal_cdf(errors / std) * PIT_BINS).astype(int), PIT_BINS - 1)
        bins, count = np.searchsorted(SPREAD_BINS, std), len(SPREAD_BINS) + 1
        sums = [np.bincount(bins, weights, count) for weights in (np.ones(len(std)), std**2, errors**2)]
        return cls(np.bincount(pit, minlength=PIT_BINS).astype(np.float64), np.stack(sums, -1))

    def __add__(self, other: Calibration) -> Calibration:  # type: ignore[override]
        return Calibration(self.pit + other.pit, self.spread + other.spread)

    def reliability(self) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities, and the share of values below the quantile of each, (21,) both."""
        share = np.concatenate([[0], np.cumsum(self.pit)]) / max(self.pit.sum(), 1)
        return np.linspace(0, 1, PIT_BINS + 1), share

    def spread_skill(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return root mean squares of `sm_std` and of the errors, and numbers of values, (bins,) each.

        A bin is a half octave of `sm_std` that has values.
        """
        full = self.spread[:, 0] > 0
        count, variance, squares = self.spread[full].T
        return np.sqrt(variance / count), np.sqrt(squares / count), count

    def slope(self) -> float:
        """Return the slope of the errors' root mean square over that of `sm_std`, 1 for good error bars.

        Half octaves are weighted by their numbers of values. NaN where all values are in one of them.
        """
        spread, skill, count = self.spread_skill()
        if len(spread) < 2:
            return float("nan")
        x = spread - np.average(spread, weights=count)
        return float((count * x * skill).sum() / (count * x * x).sum())
