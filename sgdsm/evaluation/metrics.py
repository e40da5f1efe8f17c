"""Additive statistics of errors, and the metrics that are functions of them.

A `State` holds sums and a weight in float64. States of chunks, tiles, days or processes are added; metrics are
computed once, from the means, so the score does not depend on how the data were cut.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

STATISTICS = (
    "error",
    "absolute_error",
    "squared_error",
    "truth",
    "filled",
    "truth_squared",
    "filled_squared",
    "truth_filled",
    "truth_anomaly",
    "filled_anomaly",
    "truth_anomaly_squared",
    "filled_anomaly_squared",
    "anomaly_product",
    "inside",
    "width",
    "interval_score",
    "variance",
    "crps",
)


class State(NamedTuple):
    """Sums of the STATISTICS, (..., statistics), and the number of values, (...); both float64."""

    sum: np.ndarray
    weight: np.ndarray

    @classmethod
    def zeros(cls, shape: tuple[int, ...] = ()) -> State:
        """An empty State with leading dims `shape`."""
        return cls(np.zeros((*shape, len(STATISTICS))), np.zeros(shape))

    def __add__(self, other: State) -> State:  # type: ignore[override]
        return State(self.sum + other.sum, self.weight + other.weight)

    def total(self, axis: int | tuple[int, ...] | None = None) -> State:
        """The State summed over leading axes (all of them by default)."""
        axes = tuple(range(self.weight.ndim)) if axis is None else axis
        return State(self.sum.sum(axes), self.weight.sum(axes))


def error_statistics(
    filled: np.ndarray,
    truth: np.ndarray,
    cell_mean: np.ndarray | None = None,
    lower: np.ndarray | None = None,
    upper: np.ndarray | None = None,
    std: np.ndarray | None = None,
    level: float | None = None,
) -> np.ndarray:
    """The STATISTICS of each value, (values, statistics) float64.

    filled, truth: (values,) in the target's units. cell_mean: mean of the cell's visible values, for anomalies.
    lower, upper: interval bounds; without them `inside` and `width` are NaN, and without its level (0 to 1) the
    interval score. std: standard deviations; without them `variance` and `crps` are NaN.
    """
    q, t = filled.astype(np.float64), truth.astype(np.float64)
    c = np.zeros_like(t) if cell_mean is None else cell_mean.astype(np.float64)
    e, ta, qa = q - t, t - c, q - c
    inside = width = interval = variance = crps = np.full_like(t, np.nan)
    if lower is not None and upper is not None:
        inside = ((t >= lower) & (t <= upper)).astype(np.float64)
        width = upper.astype(np.float64) - lower.astype(np.float64)
        if level is not None:
            beyond = np.maximum(lower - t, 0) + np.maximum(t - upper, 0)
            interval = width + 2 / (1 - level) * beyond
    if std is not None:
        s = std.astype(np.float64)
        variance, crps = s * s, normal_crps(e, s)
    columns = (e, abs(e), e * e, t, q, t * t, q * q, t * q, ta, qa, ta * ta, qa * qa, ta * qa)
    return np.stack([*columns, inside, width, interval, variance, crps], -1)


def normal_cdf(values: np.ndarray) -> np.ndarray:
    """Cumulative distribution of the standard normal, float64."""
    found: np.ndarray = torch.special.ndtr(torch.from_numpy(np.asarray(values, np.float64))).numpy()
    return found


def normal_crps(errors: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of normal distributions (Gneiting and Raftery, JASA 102, 359, 2007, Eq. 21).

    errors, std: (values,) in one unit, which is that of the score too.
    """
    std = np.maximum(std, 1e-12)
    z = errors / std
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    found: np.ndarray = std * (z * (2 * normal_cdf(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return found


def bin_statistics(values: np.ndarray, bins: np.ndarray, count: int) -> State:
    """Sum per-value statistics, (values, statistics), into `count` bins given by an integer per value."""
    sums = np.stack([np.bincount(bins, weights=column, minlength=count) for column in values.T], -1)
    return State(sums, np.bincount(bins, minlength=count).astype(np.float64))


def metrics(state: State) -> dict[str, np.ndarray]:
    """Metrics of a State, each with its leading shape; NaN where there are no values.

    n; rmse, mae, bias, ubrmse = sqrt(rmse^2 - bias^2) in the target's units; r and r_anomaly (anomalies from the mean
    of the cell's visible values); coverage (PICP) and width of the interval, and its score (Winkler 1972); spread =
    sqrt(mean sm_std^2), the sharpness, and the CRPS of normal distributions.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = dict(zip(STATISTICS, np.moveaxis(state.sum / state.weight[..., None], -1, 0), strict=True))
        bias, mse = mean["error"], mean["squared_error"]
        return {
            "n": state.weight,
            "rmse": np.sqrt(mse),
            "mae": mean["absolute_error"],
            "bias": bias,
            "ubrmse": np.sqrt(np.maximum(mse - bias**2, 0)),
            "r": _correlation(
                mean["truth"], mean["filled"], mean["truth_squared"], mean["filled_squared"], mean["truth_filled"]
            ),
            "r_anomaly": _correlation(
                mean["truth_anomaly"],
                mean["filled_anomaly"],
                mean["truth_anomaly_squared"],
                mean["filled_anomaly_squared"],
                mean["anomaly_product"],
            ),
            "coverage": mean["inside"],
            "width": mean["width"],
            "interval_score": mean["interval_score"],
            "spread": np.sqrt(mean["variance"]),
            "crps": mean["crps"],
        }


def _correlation(a: np.ndarray, b: np.ndarray, aa: np.ndarray, bb: np.ndarray, ab: np.ndarray) -> np.ndarray:
    # without spread there is no correlation; sums in float64 leave a rest
    spreads = [
        np.where(squares - mean * mean > 1e-12 * squares, squares - mean * mean, np.nan)
        for mean, squares in ((a, aa), (b, bb))
    ]
    found: np.ndarray = (ab - a * b) / np.sqrt(spreads[0] * spreads[1])
    return found


def bootstrap(
    state: State,
    metric: str = "rmse",
    reference: State | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """A metric with its interval over units; with a reference, the paired difference from it on the same values.

    state, reference: States of the same units, (units,). A unit is a block of days in a region, large enough for its
        errors to be nearly independent of the others'. Units are drawn with replacement, the same ones for both.

    Returns (value, lower, upper); the bounds are NaN where there are fewer than three units.
    """
    full = state.weight > 0
    units = int(full.sum())
    counts = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / max(1, units)), size=draws).astype(float)

    def values(which: State) -> np.ndarray:
        sums, weights = which.sum[full], which.weight[full]
        every = np.concatenate([np.ones((1, units)), counts])
        return metrics(State(every @ sums, every @ weights))[metric]

    sample = values(state) - (values(reference) if reference is not None else 0.0)
    if units < 3:
        return float(sample[0]), float("nan"), float("nan")
    lower, upper = np.quantile(sample[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(sample[0]), float(lower), float(upper)
