"""Metrics of paired series, such as a product and a station, with intervals by moving blocks of days.

R, RMSD, MAE, bias and ubRMSD are the metric classes of `evaluation.metrics`; here are those that a series adds to them.
All take weights of days, so that resampled series are one product of matrices, and days can be weighed by month.

The intervals are those of moving blocks, not analytic ones: neighbouring days of soil moisture are so alike that an
interval for independent days is far too narrow (`benchmarks/insitu.py coverage`).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.random import Stream
from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.evaluation.metrics import State, error_statistics, metrics

# ours: the class of `evaluation.metrics`
SHARED = {"r": "r", "rmsd": "rmse", "ubrmsd": "ubrmse", "mae": "mae", "bias": "bias"}
LEAST_DRAWS = 0.5  # share of the resampled series that must give a value, for an interval


def pair_metrics(
    estimate: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    lower: np.ndarray | None = None,
    upper: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the metrics of an estimate beside a reference (a station), for one or many weightings of the days.

    Bias is estimate minus reference. `nse` is the efficiency of Nash and Sutcliffe, 1 - sum((e - r)^2) / sum((r -
    mean(r))^2): the R2 of Eq. 7 of Liu et al. with the reference in the denominator. `mse` is the sum of `mse_corr` =
    2 s_e s_r (1 - R), `mse_var` = (s_e - s_r)^2 and `mse_bias` = bias^2.

    Args:
        estimate: Values (N,), finite, in the units of the reference.
        reference: Values (N,), finite.
        weights: Weights (..., N) of the days, 0 or more: numbers of copies of a resampled series, or any other;
            by default 1.
        lower: Lower bounds (N,) of the estimate's interval, for `coverage`; days where they are NaN do not count there.
        upper: Upper bounds (N,).

    Returns:
        By name: `n` (sum of the weights), `r`, `spearman`, `rmsd`, `ubrmsd`, `mae`, `bias`, `nse`, `mse`, `mse_corr`,
        `mse_bias`, `mse_var` and `coverage`, of the leading shape of `weights`; NaN where a metric is not defined.

    Source:
        Entekhabi et al., J. Hydrometeorol. 11, 832, 2010; Gupta et al., J. Hydrol. 377, 80, 2009 (parts of the MSE);
        Nash and Sutcliffe, J. Hydrol. 10, 282, 1970.
    """
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    weights = np.ones(reference.shape) if weights is None else np.asarray(weights, np.float64)
    # differences stay, and variances from sums of squares keep their digits
    middle = reference.mean() if reference.size else 0.0
    x, y = estimate - middle, reference - middle
    found = metrics(State(weights @ error_statistics(x, y), weights.sum(-1)))
    table = {"n": found["n"]} | {ours: found[theirs] for ours, theirs in SHARED.items()}
    table["spearman"] = spearman(estimate, reference, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        (_, s_x), (_, s_y) = _departures(x, weights), _departures(y, weights)
        mse = table["rmsd"] ** 2
        table["nse"] = np.where(s_y > 0, 1 - mse / s_y**2, np.nan)
        table |= {"mse": mse, "mse_bias": table["bias"] ** 2, "mse_var": (s_x - s_y) ** 2}
        # without spread of one of them there is no R, and nothing is lost by its lack
        table["mse_corr"] = np.where(s_x * s_y > 0, 2 * s_x * s_y * (1 - table["r"]), 0 * mse)
    table["coverage"] = np.full(table["n"].shape, np.nan)
    if lower is not None and upper is not None:
        known = np.isfinite(lower) & np.isfinite(upper)
        inside = ((reference >= lower) & (reference <= upper))[known]
        with np.errstate(invalid="ignore", divide="ignore"):
            table["coverage"] = (weights[..., known] @ inside) / weights[..., known].sum(-1)
    return table


def pearson(estimate: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Pearson's correlation of values (N,), or ranks (..., N), for weights (..., N); NaN without spread."""
    weights = np.ones(reference.shape[-1]) if weights is None else np.asarray(weights, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        (a, s_a), (b, s_b) = _departures(estimate, weights), _departures(reference, weights)
        product = (weights * a * b).sum(-1) / weights.sum(-1)
        # what rounding leaves of a constant is no spread
        flat = (s_a <= 1e-12 * abs(estimate).max(-1, initial=0)) | (s_b <= 1e-12 * abs(reference).max(-1, initial=0))
        correlation: np.ndarray = np.where(flat, np.nan, product / (s_a * s_b))
    return correlation


def _departures(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return departures (..., N) from the weighted mean, and the standard deviation (...)."""
    total = weights.sum(-1)
    apart = values - ((weights * values).sum(-1) / total)[..., None]
    return apart, np.sqrt((weights * apart * apart).sum(-1) / total)


def spearman(estimate: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Spearman's rank correlation, with mean ranks of equal values.

    Args:
        estimate: Values (N,), finite.
        reference: Values (N,), finite.
        weights: Weights (..., N) of the days; a day of weight 2 counts as two equal days.

    Returns:
        Correlations, of the leading shape of `weights`; NaN without spread.
    """
    weights = np.ones(len(reference)) if weights is None else np.asarray(weights, np.float64)
    if not weights.shape[-1]:
        return np.full(weights.shape[:-1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(-1, keepdims=True)
        ranks = [_ranks(np.asarray(series, np.float64), weights) / total for series in (estimate, reference)]
    return pearson(ranks[0], ranks[1], weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean ranks (..., N) of values (N,), each as often as its weight, but for a constant."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    together = np.add.reduceat(weights[..., order], begins, axis=-1)
    middle = np.cumsum(together, -1) - together / 2
    group = np.empty(len(values), int)
    group[order] = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(values)]))
    return middle[..., group]


def p_value(correlation: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the two-sided significance of a correlation of n independent pairs (Student's t with n - 2).

    Days of soil moisture are not independent: it is too small, and kept because users of QA4SM know it.
    """
    correlation, free = np.asarray(correlation, np.float64), np.asarray(n, np.float64) - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        t = correlation * np.sqrt(np.where(free > 0, free, np.nan) / (1 - correlation**2))
    p: np.ndarray = 2 * student.sf(abs(t), free)
    return p


def fisher_mean(correlation: np.ndarray, n: np.ndarray) -> float:
    """Return the mean of correlations by Fisher's z, weighed by n - 3; NaN where none has four pairs.

    Args:
        correlation: Correlations (S,); NaN is left out.
        n: Numbers of pairs (S,).
    """
    weight = np.where(np.isfinite(correlation), np.maximum(np.asarray(n, np.float64) - 3, 0), 0)
    if not weight.sum() > 0:
        return float("nan")
    # a correlation of exactly 1 has an infinite z
    z = np.arctanh(np.clip(np.nan_to_num(correlation), -1 + 1e-12, 1 - 1e-12))
    return float(np.tanh((weight * z).sum() / weight.sum()))


def climatology_anomalies(values: np.ndarray, days: np.ndarray, window_days: int) -> np.ndarray:
    """Return values minus the mean of all years in a window around their day of the year.

    Args:
        values: Values (T,); NaN is left out.
        days: Days (T,), datetime64.
        window_days: Length of the window, days.

    Returns:
        Anomalies (T,); all NaN where the values span less than two years, which tell no climatology.
    """
    days = np.asarray(days).astype("datetime64[D]")
    known = np.isfinite(values)
    if not known.any() or (days[known][-1] - days[known][0]).astype(int) < 2 * DAYS_PER_YEAR - 31:
        return np.full(values.shape, np.nan)
    # 365 days of the year: 30 and 31 December of a leap year are one
    day = np.minimum((days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(int), 364)
    middle = values[known].mean()
    total = np.bincount(day[known], values[known] - middle, 365)
    count = np.bincount(day[known], minlength=365).astype(np.float64)
    around = np.arange(-(window_days // 2), window_days // 2 + 1)
    rows = (np.arange(365)[:, None] + around) % 365
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total[rows].sum(1) / count[rows].sum(1)
    anomalies: np.ndarray = values - middle - mean[day]
    return anomalies


def block_copies(days: int, block_days: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each day occurs in series resampled by moving blocks, (draws, days); see `moving_blocks`.

    Args:
        days: Length of the series, gaps included.
        block_days: Length of a block.
        draws: Number of resampled series.
        seed: Of the draws.
    """
    rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed])
    drawn = moving_blocks(days, block_days, draws, rng) + np.arange(draws)[:, None] * days
    return np.bincount(drawn.ravel(), minlength=draws * days).reshape(draws, days).astype(np.float64)


def interval(
    sample: np.ndarray, level: float = 0.95, *, value: np.ndarray | None = None, blocks: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds between which the middle part of resampled values lies.

    Few blocks tell little of how unlike they may be: with `value` and `blocks` the bounds are moved away from the value
    by the ratio of Student's t with blocks - 1 degrees of freedom to the normal quantile.

    Args:
        sample: Resampled values (draws, ...).
        level: Of the interval, 0 to 1.
        value: The value (...) of the series as it is.
        blocks: Number of blocks in the series.

    Returns:
        Lower and upper bound, of the trailing shape; NaN where fewer than half of the draws give a value.
    """
    enough = np.isfinite(sample).mean(0) >= LEAST_DRAWS
    # an all-NaN column would warn, and is NaN anyway
    bounds = np.nanquantile(np.where(enough, sample, 0.0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    if value is not None and blocks is not None:
        wider = student.ppf((1 + level) / 2, max(blocks - 1, 1)) / student.ppf((1 + level) / 2, np.inf)
        bounds = value + wider * (bounds - value)
    low, high = np.where(enough, bounds, np.nan)
    return low, high
