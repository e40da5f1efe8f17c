"""The repeat cycle of a satellite's orbit, found in the values of a product."""

from __future__ import annotations

import numpy as np

LEAST_EXPLAINED = 0.01  # share of the variance of changes, on days that the means were not taken from
LEAST_PAIRS = 2000
MOST_CELLS = 4000
SHRINKAGE = 3  # changes that a mean is drawn towards 0 by: few are no evidence


def find_repeat_cycle(values: np.ndarray, known: np.ndarray, longest: int) -> int:
    """Return the steps after which the size of a product's changes repeats, or 0.

    A product that joins several overpasses (a composite, an exponential filter) changes where the satellite has just
    passed. Then the size of a change from one map to the next depends on the place and on the day of the orbit's
    cycle. For each possible cycle these mean sizes are taken from every second cycle and compared with the changes in
    the others.

    Args:
        values: Of the target, (T, H, W), in any units.
        known: Which of them may be used, (T, H, W) bool.
        longest: Largest cycle tried, steps.
    """
    rows, columns = np.nonzero(known.any(0))
    some = slice(None, None, len(rows) // MOST_CELLS + 1)
    series = np.where(known[:, rows[some], columns[some]], values[:, rows[some], columns[some]], np.nan)
    change = np.abs(np.diff(series, axis=0))
    there = np.isfinite(change)
    if there.sum() < LEAST_PAIRS:
        return 0
    # rain changes many places on the same days: that is no orbit
    total = np.where(there, change, 0).sum(1, keepdims=True)
    change -= total / np.maximum(there.sum(1, keepdims=True), 1)
    # places differ in their changes: only the departures from the place's mean tell about the orbit
    departure = np.where(there, change - _mean(change, there, 0), 0.0)
    shares = {n: _explained(departure, there, n) for n in range(2, min(longest, len(change) // 4) + 1)}
    best = max(shares.values(), default=0.0)
    # multiples of the cycle explain the changes too, with fewer values for each mean
    return next((n for n, share in shares.items() if share > LEAST_EXPLAINED and share > 0.7 * best), 0)


def _explained(departure: np.ndarray, there: np.ndarray, cycle: int) -> float:
    """Return the smaller share of variance that the means of every second cycle explain in the others."""
    days = np.arange(len(departure))
    explained = []
    for fitted in (days // cycle % 2 == 0, days // cycle % 2 == 1):
        left = total = 0.0
        for day in range(cycle):
            train, test = fitted & (days % cycle == day), ~fitted & (days % cycle == day)
            mean = _mean(departure[train], there[train], SHRINKAGE)
            left += float(np.square(departure[test] - mean)[there[test]].sum())
            total += float(np.square(departure[test])[there[test]].sum())
        explained.append(1 - left / total if total > 0 else 0.0)
    return min(explained)


def _mean(values: np.ndarray, there: np.ndarray, shrinkage: int) -> np.ndarray:
    """Return the means over the first axis of the values that are there, drawn towards 0."""
    total: np.ndarray = np.where(there, values, 0.0).sum(0)
    return total / np.maximum(there.sum(0) + shrinkage, 1)
