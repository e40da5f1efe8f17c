"""Droughts in a filled Dataset, from Python."""

from __future__ import annotations

import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.evaluation.drought import Bounds
from sgdsm.evaluation.standardized_index import Fit
from sgdsm.inference.drought_maps import DroughtOptions, drought_maps


@checked
def drought(
    filled: xr.Dataset,
    *,
    fit: Fit = "gamma",
    scale_days: int = 30,
    half_window_days: int = 15,
    reference: str | slice | None = None,
    least_years: int = 10,
    classes: Bounds = "ssi",
    members: int | None = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Return the drought indicators of a filled Dataset, as `sgdsm drought` writes them; events are in its table alone.

    Args:
        filled: As `sgdsm.fill` returns it, or predict.py writes it; maps of every day.
        fit: Distribution of each cell and day of the year: 'gamma', 'beta' (of shares, like m3 m-3) or 'empirical'.
        scale_days: The index is of the mean of so many days up to a day.
        half_window_days: Days before and after a day of the year that its fit takes too.
        reference: First and last day of the fits, like '1991:2020'; by default all.
        least_years: Years of values that a fit needs.
        classes: Bounds of the classes: an index of -0.5 to -2 ('ssi'), or percentiles of 30 to 2 ('percentile').
        members: Possible maps for the probability of a drought, where the Dataset tells how errors are correlated; None
            for none.
        seed: Of the members.

    Returns:
        `ssi` (T, H, W), the standardised index; `percentile` (T, H, W), %; `drought_class` (T, H, W), 0 for none to 5
        for exceptional, NaN where there is no index; `area_under_drought` (T, class), 0 to 1; `probability_moderate`
        (T, H, W), 0 to 1, where members are drawn; `land` (H, W).

    Raises:
        CubeError: The Dataset is not a filled one, lacks days, or no cell has values of enough years.
        ConfigError: Settings that do not go together.
    """
    options = DroughtOptions(
        fit=fit,
        scale_days=scale_days,
        half_window_days=half_window_days,
        reference=reference,
        least_years=least_years,
        classes=classes,
        members=members,
        seed=seed,
    )
    return drought_maps(filled, options)
