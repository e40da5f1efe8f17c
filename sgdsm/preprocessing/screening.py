"""Screening by ancillary maps, in addition to the product's own flags, and counts of what is left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.names import Reason

FREEZING_K = 273.15
SNOW_ALBEDO = 0.3
MOST_WATER = 0.2  # share of the cell; water lowers the brightness temperature, and so looks like wet soil


def screen(
    reason: np.ndarray,
    *,
    surface_temperature: np.ndarray | None = None,
    albedo: np.ndarray | None = None,
    soil_temperature: np.ndarray | None = None,
    water_fraction: np.ndarray | None = None,
    sm: np.ndarray | None = None,
    low: float = 0.0,
    high: float = 1.0,
    most_water: float = MOST_WATER,
) -> np.ndarray:
    """Return `sm_reason` with what the maps reject.

    Only observed values are rejected, for the first reason in the order of `Reason` that applies.

    Args:
        reason: Codes of `Reason`, (..., rows, columns) uint8.
        surface_temperature: Daytime land surface temperature, K, (..., rows, columns) or (rows, columns) for all days,
            as all maps here; NaN rejects nothing. With `albedo` it rejects snow: below 273.15 K and albedo above 0.3
            (Liu et al., HESS 27, 577, 2023, section 2.1.1).
        albedo: "1".
        soil_temperature: K; frozen where below 273.15 K.
        water_fraction: Share of the cell; water where above `most_water`.
        sm: Soil moisture; out of range where outside low..high.
        low: Smallest valid soil moisture, in its units.
        high: Largest valid soil moisture, in its units.
        most_water: Largest share of water, "1" (0.2 in Liu et al.).

    Returns:
        Codes of `Reason`, of the shape of `reason`.

    Raises:
        ConfigError: When temperatures are in degrees Celsius, or only one of the two maps for snow is given.
    """
    if (surface_temperature is None) != (albedo is None):
        raise ConfigError("snow is detected from surface_temperature and albedo together: expected both, found one")
    for name, map_ in (("surface_temperature", surface_temperature), ("soil_temperature", soil_temperature)):
        # no place on Earth is colder than 150 K, none is warmer than 150 degrees Celsius
        if map_ is not None and np.isfinite(map_).any() and np.nanmax(map_) < 150:
            raise ConfigError(f"{name}: the highest value is {np.nanmax(map_):.1f}, expected K")
    tests: dict[Reason, np.ndarray] = {}
    # comparisons with NaN are False
    if surface_temperature is not None and albedo is not None:
        tests[Reason.SNOW] = (surface_temperature < FREEZING_K) & (albedo > SNOW_ALBEDO)
    if soil_temperature is not None:
        tests[Reason.FROZEN] = soil_temperature < FREEZING_K
    if water_fraction is not None:
        tests[Reason.WATER] = water_fraction > most_water
    if sm is not None:
        tests[Reason.OUT_OF_RANGE] = (sm < low) | (sm > high)
    screened = reason.copy()
    # reasons in their order: a value keeps the first that applies
    for why in sorted(tests):
        screened[(screened == Reason.OBSERVED) & np.broadcast_to(tests[why], screened.shape)] = why
    return screened


def count(reason: np.ndarray) -> dict[str, int]:
    """Return how many values have each reason, by its name, in the order of `Reason`.

    Counts of parts of a record can be added up.

    Args:
        reason: Codes of `Reason`, any shape, uint8.
    """
    numbers = np.bincount(reason.ravel(), minlength=len(Reason))
    return {why.name.lower(): int(numbers[why]) for why in Reason}


def table(counts: Mapping[str, int]) -> str:
    """Return the counts as lines of text, in % of all; reasons that never apply are left out."""
    total = sum(counts.values())
    rows = [(name.replace("_", " "), number) for name, number in counts.items() if number]
    # columns of equal width, for the terminal and for the store's attributes
    width = max(len(name) for name, _ in [*rows, ("all", 0)])
    lines = [f"{name:<{width}}  {number:>14,}  {100 * number / total:6.2f} %" for name, number in rows]
    return "\n".join([*lines, f"{'all':<{width}}  {total:>14,}"])
