"""Trends of a filled Dataset, from Python."""

from __future__ import annotations

import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import SM_FILLED
from sgdsm.evaluation.scored_files import ScoredFile
from sgdsm.evaluation.trend_files import Calendar, Step, TrendFiles, robust_of, trend_maps
from sgdsm.evaluation.trends import Robust
from sgdsm.inference.slope_spread import with_spread


@checked
def trends(
    filled: xr.Dataset,
    *,
    visible: xr.Dataset | None = None,
    estimate: str = SM_FILLED,
    observed: str | None = None,
    step: Step = "year",
    least_days: int | None = None,
    robust: Robust | None = None,
    members: int | None = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Return trends of filled values, of observed ones alone, and of their difference, as `sgdsm trends` does.

    Slopes are those of Theil and Sen, tests those of Mann and Kendall.

    Args:
        filled: As `sgdsm.fill` returns it, or predict.py writes it; three whole years or more, but with step='raw'.
        visible: Cube with the observed values, where `filled` lacks them.
        estimate: Variable of the filled values.
        observed: Variable of the observed values; by default the one that the filled one names.
        step: Annual means ('year'), monthly means within their months ('month'), or the maps themselves ('raw').
        least_days: Days with a value that a mean needs; by default 30 of a year, 3 of a month.
        robust: Of the test: 'none', 'covariance' (step='month') or 'hamed_rao' (step='year' and 'raw').
        members: Possible maps for the uncertainty of slopes, where the Dataset tells how errors are correlated; None
            for none.
        seed: Of the members.

    Returns:
        Maps (H, W) for each of `_filled`, `_observed` and `_difference`: `slope` (units of the target a year),
        `intercept`, `p_value`, `z`, `n`, `significant`, `significant_fdr`, `mean`; `slope_std_filled`; and the mean
        series (zone, step).

    Raises:
        CubeError: A variable is missing, or there are too few whole years.
        ConfigError: Settings that do not go together.
    """
    chosen = robust_of(step, robust)
    if least_days is not None and step == "raw":
        raise ConfigError("least_days: only for step='year' and step='month', which take means")
    if members is not None and members < 2:
        raise ConfigError(f"members={members}: expected None, or at least 2 for a standard deviation")
    file = ScoredFile(filled, "the Dataset")
    holder = None if visible is None else ScoredFile(visible, "visible")
    files = TrendFiles.of(file, holder, None, estimate, observed)
    calendar = Calendar.of(files.estimate["time"], step, least_days)
    result = trend_maps(files, calendar, chosen)
    if members is not None and estimate == SM_FILLED:
        result = with_spread(result, file, calendar, members, seed)
    return result
