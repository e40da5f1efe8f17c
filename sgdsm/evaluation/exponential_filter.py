"""Root-zone soil moisture from that of the surface by an exponential filter.

The water of a deeper layer follows that of the surface with a time constant T: it is the mean of the surface values
before, with weights exp(-age / T) (Wagner et al., Remote Sens. Environ. 70, 191, 1999), here in the recursive form of
Albergel et al. (Hydrol. Earth Syst. Sci. 12, 1323, 2008), which needs the state of the day before alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

CANDIDATES = np.unique(np.geomspace(1, 200, 48).round())  # time constants that are tried, days


@dataclass
class ExponentialFilter:
    """The filter and its state, which goes on from day to day.

    Args:
        days: Time constant T, days; a number, or an array that goes with the maps.
        value: Root-zone soil moisture after the last day, (H, W); NaN before the first value.
        weight: Sum of the weights of the values so far, (H, W): 1 over the gain of Albergel et al.
        day: Last day; None before the first.
    """

    days: np.ndarray | float
    value: np.ndarray
    weight: np.ndarray
    day: np.datetime64 | None = None

    @classmethod
    def new(cls, days: np.ndarray | float, shape: tuple[int, ...]) -> ExponentialFilter:
        """Return a filter that has seen nothing.

        Args:
            days: Time constant.
            shape: Of a map.
        """
        return cls(days, np.full(shape, np.nan), np.zeros(shape))

    @property
    def share(self) -> np.ndarray:
        """Weights of the values so far over those of a value on every day since ever, 0 to 1, (H, W)."""
        return np.asarray(self.weight * -np.expm1(-1 / np.asarray(self.days)))

    def step(self, day: np.datetime64, values: np.ndarray) -> np.ndarray:
        """Take the values of one more day (Albergel et al. 2008, Eqs. 4 and 5).

        Args:
            day: Later than the last one, datetime64[D].
            values: Surface soil moisture, (H, W), NaN where missing: the value stays there, its weight shrinks.

        Returns:
            Root-zone soil moisture, (H, W), NaN before the first value.
        """
        passed = 0 if self.day is None else int((day - self.day).astype(int))
        known = np.isfinite(values)
        self.weight = self.weight * np.exp(-passed / np.asarray(self.days)) + known
        # the first value is the first estimate
        before = np.where(np.isnan(self.value), values, self.value)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.value = np.where(known, before + (values - before) / self.weight, before)
        self.day = day
        return self.value


def fitted_days(
    pairs: Iterable[tuple[np.datetime64, np.ndarray, np.ndarray]], least: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Return the time constant with which the filter follows a deeper layer best.

    Best is the largest correlation: the layers may differ in mean and range.

    Args:
        pairs: Day, surface soil moisture and that of the deeper layer, (H, W) each, day after day.
        least: Days on which a cell needs a value of the deeper layer.

    Returns:
        Time constant of each cell, one of `CANDIDATES`, and its correlation, (H, W) each; NaN for cells with too few
        values, or with none that differ.
    """
    candidates = CANDIDATES[:, None, None]
    sums: np.ndarray = np.zeros((6, 1, 1, 1))
    begun: np.ndarray = np.zeros(0)
    one = None
    for day, surface, deeper in pairs:
        if one is None:
            shape = (len(CANDIDATES), *surface.shape)
            one = ExponentialFilter.new(candidates, shape)
            sums, begun = np.zeros((6, *shape)), np.full(surface.shape, np.nan)
        x = one.step(day, surface.astype(np.float64))
        # departures from a first value: squares of small numbers lose no digits
        begun = np.where(np.isnan(begun), deeper, begun)
        x, y = x - begun, np.broadcast_to(deeper - begun, x.shape)
        known = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(known, x, 0), np.where(known, y, 0)
        for total, part in zip(sums, (known, x, y, x * x, y * y, x * y), strict=True):
            total += part
    count, sx, sy, sxx, syy, sxy = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (count * sxx - sx * sx) * (count * syy - sy * sy)
        correlation = np.where(spread > 0, (count * sxy - sx * sy) / np.sqrt(spread), np.nan)
    best = np.nan_to_num(correlation, nan=-2).argmax(0)[None]
    chosen = np.take_along_axis(correlation, best, 0)[0]
    chosen = np.where(count[0] >= least, chosen, np.nan)
    return np.where(np.isnan(chosen), np.nan, CANDIDATES[best[0]]), chosen
