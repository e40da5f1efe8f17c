"""How many days of rain soil moisture remembers: m of the antecedent precipitation, by its correlation with the target.

AP is the mean precipitation of the last m days, the day itself included (Liu et al., HESS 27, 577, 2023, Eq. 1; m is
the number of days with the highest absolute correlation, 5 over China). Over all values the correlation goes on
growing with m, for a long mean is a map of the climate and wet places are wet; what tells the memory of the soil is the
correlation within cells, of departures from each cell's own mean. m is chosen by that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SHARE = 0.5  # of the days of a mean that must have a value, as in recipes


@dataclass
class Antecedent:
    """Correlations of antecedent precipitation with the target in a sample of values.

    Attributes:
        name: Of the sample: 'all', or of a stratum.
        rows: Number of values.
        within: Correlation within cells for 1, 2, ... days, (M,).
        overall: Correlation over all values, (M,).
    """

    name: str
    rows: int
    within: np.ndarray
    overall: np.ndarray

    @property
    def best(self) -> int:
        """Number of days with the highest absolute correlation within cells; 0 where there is none."""
        size = abs(self.within)
        return 0 if np.isnan(size).all() else int(np.nanargmax(size)) + 1


def antecedent(
    precipitation: np.ndarray,
    values: np.ndarray,
    training: np.ndarray,
    longest: int,
    strata: tuple[np.ndarray, list[str]] | None = None,
) -> list[Antecedent]:
    """Return the correlations of antecedent precipitation of 1 to `longest` days with the target.

    Args:
        precipitation: (T, H, W), NaN = missing.
        values: Of the target, (T, H, W).
        training: Which values may be used, (T, H, W) bool.
        longest: Largest number of days (steps of the cube).
        strata: Number of the stratum of each cell, (H, W), -1 for none, and the names of the strata.

    Returns:
        One for all values, then one for each stratum. All numbers of days have the same values: those that the longest
        mean has too.
    """
    longest = min(longest, len(precipitation))
    enough = _mean(precipitation, longest)[1] & training & np.isfinite(precipitation)
    groups = [("all", enough)]
    if strata is not None:
        groups += [(name, enough & (strata[0] == number)) for number, name in enumerate(strata[1])]
    targets = [(_departures(values, mask), values[mask]) for _, mask in groups]
    found = [
        Antecedent(name, int(mask.sum()), np.full(longest, np.nan), np.full(longest, np.nan)) for name, mask in groups
    ]
    for days in range(1, longest + 1):
        mean = _mean(precipitation, days)[0]
        for (_, mask), (within, overall), one in zip(groups, targets, found, strict=True):
            one.within[days - 1] = _correlation(_departures(mean, mask), within)
            one.overall[days - 1] = _correlation(mean[mask], overall)
    return found


def format_antecedent(found: list[Antecedent], name: str) -> str:
    """Return a line on the number of days for all values, and one on those of the strata.

    Args:
        found: What `antecedent` returns.
        name: Of the precipitation.
    """
    whole = found[0]
    if not whole.best:
        return f"antecedent precipitation: {name} says nothing within cells"
    days = sorted({1, 5, len(whole.within)} & set(range(1, len(whole.within) + 1)) - {whole.best})
    others = ", ".join(f"{whole.within[m - 1]:+.3f} for {m}" for m in days)
    lines = [
        f"antecedent precipitation: highest |r| with the target within cells for m = {whole.best} days of {name}, "
        f"{whole.within[whole.best - 1]:+.3f} ({others})"
    ]
    if whole.best == len(whole.within):
        lines.append(f"the highest is the longest that was tried: try more than antecedent_days={whole.best}")
    if len(found) > 1:
        lines.append("by stratum: " + ", ".join(f"{one.name} {one.best or 'none'}" for one in found[1:]))
    return "\n".join(lines)


def _mean(precipitation: np.ndarray, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means of the last days, and where enough of them have a value; (T, H, W) each."""
    known = np.isfinite(precipitation)
    total = np.cumsum(np.where(known, precipitation, 0.0), 0, dtype=np.float64)
    count = np.cumsum(known, 0)
    total[days:] -= total[:-days].copy()
    count[days:] -= count[:-days].copy()
    return total / np.maximum(count, 1), count >= LEAST_SHARE * days


def _departures(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return departures from the mean of each cell where a mask is True, (N,)."""
    count = np.maximum(mask.sum(0), 1)
    mean = np.where(mask, values, 0.0).sum(0, dtype=np.float64) / count
    left: np.ndarray = (values - mean)[mask]
    return left


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3 or x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
