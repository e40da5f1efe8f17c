"""Metrics of errors, the additive statistics that they are made from, and their bootstrap intervals.

A *statistic* is a number at each scored value, such as the squared error. A `State` holds sums of all statistics, so
States of chunks, tiles, days or processes can be added. A `Metric` is a function of the mean statistics. It is computed
once, at the end, so a score does not depend on how the data were cut.

To add a metric, write a subclass of `Metric` in this file. It appears in all tables, in the report, in `metrics.json`
and in the stored States, in the order of definition:

    class MeanAbsoluteRelativeError(Metric):
        name, label = "mare", "MARE"
        explanation = "mean of |filled - truth| / |truth|"

        @staticmethod
        def absolute_relative_error(values: Values) -> np.ndarray:
            return abs(values.error / values.truth)

        statistics = (absolute_relative_error,)

        def value(self, mean: Means) -> np.ndarray:
            return mean["absolute_relative_error"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import torch

Means = Mapping[str, np.ndarray]


class Values:
    """Filled values beside the true ones, all in the target's units and float64.

    Args:
        filled: Estimates, (N,).
        truth: What was observed, (N,).
        cell_mean: Mean of the visible values of the cell of each value, (N,), from which anomalies are counted; by
            default 0.
        lower: Lower bounds of the intervals, (N,), if there are any.
        upper: Upper bounds, (N,).
        std: Standard deviations of the errors as the filler gives them, (N,), if it gives any.
        level: Probability with which the intervals are to hold the truth, 0 to 1, if it is known.
        season: Mean of the visible values of the cell in the days around each value, (N,), NaN where there are too few.
    """

    def __init__(
        self,
        filled: np.ndarray,
        truth: np.ndarray,
        cell_mean: np.ndarray | None = None,
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
        std: np.ndarray | None = None,
        level: float | None = None,
        season: np.ndarray | None = None,
    ) -> None:
        self.filled, self.truth = filled.astype(np.float64), truth.astype(np.float64)
        self.cell_mean = np.zeros_like(self.truth) if cell_mean is None else cell_mean.astype(np.float64)
        self.interval = None if lower is None or upper is None else (lower, upper)
        self.std = None if std is None else std.astype(np.float64)
        self.level = level
        self.season = None if season is None else season.astype(np.float64)

    @cached_property
    def error(self) -> np.ndarray:
        """Filled minus true values, (N,)."""
        return self.filled - self.truth

    @cached_property
    def filled_anomaly(self) -> np.ndarray:
        """Filled values minus the mean of their cell, (N,)."""
        return self.filled - self.cell_mean

    @cached_property
    def truth_anomaly(self) -> np.ndarray:
        """True values minus the mean of their cell, (N,)."""
        return self.truth - self.cell_mean

    @cached_property
    def width(self) -> np.ndarray | None:
        """Widths of the intervals, (N,); None without intervals."""
        if self.interval is None:
            return None
        lower, upper = self.interval
        return upper.astype(np.float64) - lower.astype(np.float64)


# None where the values lack what the statistic is made from
Statistic = Callable[[Values], np.ndarray | None]


def _inside(values: Values) -> np.ndarray | None:
    """Return 1 where the interval holds the truth, else 0."""
    if values.interval is None:
        return None
    lower, upper = values.interval
    return ((values.truth >= lower) & (values.truth <= upper)).astype(np.float64)


def _interval_score(values: Values) -> np.ndarray | None:
    """Return the width of the interval, and 2 / (1 - level) times the distance of the truth from it."""
    if values.interval is None or values.width is None or values.level is None:
        return None
    lower, upper = values.interval
    beyond = np.maximum(lower - values.truth, 0) + np.maximum(values.truth - upper, 0)
    score: np.ndarray = values.width + 2 / (1 - values.level) * beyond
    return score


def _seasonal(statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Statistic:
    """Return a statistic of true and filled anomalies from `Values.season`, 0 where it is not known."""

    def of_values(values: Values) -> np.ndarray | None:
        if values.season is None:
            return None
        season, known = values.season, np.isfinite(values.season)
        return np.where(known, statistic(values.truth - season, values.filled - season), 0)

    return of_values


# those of our own metrics, by the names that files of scores have them under; metrics of others add theirs at the end
STATISTICS: dict[str, Statistic] = {
    "error": lambda values: values.error,
    "absolute_error": lambda values: abs(values.error),
    "squared_error": lambda values: values.error * values.error,
    "truth": lambda values: values.truth,
    "filled": lambda values: values.filled,
    "truth_squared": lambda values: values.truth * values.truth,
    "filled_squared": lambda values: values.filled * values.filled,
    "truth_filled": lambda values: values.truth * values.filled,
    "truth_anomaly": lambda values: values.truth_anomaly,
    "filled_anomaly": lambda values: values.filled_anomaly,
    "truth_anomaly_squared": lambda values: values.truth_anomaly * values.truth_anomaly,
    "filled_anomaly_squared": lambda values: values.filled_anomaly * values.filled_anomaly,
    "anomaly_product": lambda values: values.truth_anomaly * values.filled_anomaly,
    "inside": _inside,
    "width": lambda values: values.width,
    "interval_score": _interval_score,
    "variance": lambda values: None if values.std is None else values.std * values.std,
    "crps": lambda values: None if values.std is None else normal_crps(values.error, values.std),
    "season_known": _seasonal(lambda truth, filled: np.ones_like(truth)),
    "truth_seasonal": _seasonal(lambda truth, filled: truth),
    "filled_seasonal": _seasonal(lambda truth, filled: filled),
    "truth_seasonal_squared": _seasonal(lambda truth, filled: truth * truth),
    "filled_seasonal_squared": _seasonal(lambda truth, filled: filled * filled),
    "seasonal_product": _seasonal(lambda truth, filled: truth * filled),
}
METRICS: list[Metric] = []


class Metric:
    """A score that is a function of mean statistics.

    A subclass is added to `METRICS` when it is defined.

    Attributes:
        name: Key in `metrics.json`, in tables and in comparisons.
        label: Name in the lines of a score table.
        explanation: One line for the report.
        column: Head of the column in comparisons; by default the label; '' for a metric that has none.
        digits: Decimals in comparisons; score tables have six.
        signed: True for a metric that is printed with its sign.
        of_error_bars: True for a metric that only fillers with error bars have; tables leave it out for others.
        of_details: True for a metric that is in the table of details, and not in the first table.
        statistics: What `value` needs the means of: names in `STATISTICS`, or functions of `Values` that are added
            there by their names.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    explanation: ClassVar[str]
    column: ClassVar[str | None] = None
    digits: ClassVar[int] = 4
    signed: ClassVar[bool] = False
    of_error_bars: ClassVar[bool] = False
    of_details: ClassVar[bool] = False
    statistics: ClassVar[tuple[str | Statistic, ...]] = ()

    def __init_subclass__(cls) -> None:
        if any(metric.name == cls.name for metric in METRICS):
            raise TypeError(f"{cls.__name__}: there is a metric '{cls.name}' already")
        for statistic in cls.statistics:
            if isinstance(statistic, str):
                if statistic not in STATISTICS:
                    raise TypeError(f"{cls.__name__}: no statistic '{statistic}' in STATISTICS")
            elif STATISTICS.setdefault(statistic.__name__, statistic) is not statistic:
                raise TypeError(f"{cls.__name__}: there is a statistic '{statistic.__name__}' already")
        METRICS.append(cls())

    @property
    def head(self) -> str:
        """Head of the column in comparisons; '' for none."""
        return self.label if self.column is None else self.column

    def value(self, mean: Means) -> np.ndarray:
        """Return the metric from the mean statistics, by name, all of one shape; NaN where it is not defined."""
        raise NotImplementedError

    def text(self, value: float, digits: int | None = None) -> str:
        """Return a value as text, with `digits` decimals; '-' where it is not defined or needs what is not there."""
        if not np.isfinite(value):
            return "-"
        return f"{value:{'+' if self.signed else ''}.{self.digits if digits is None else digits}f}"


class RootMeanSquareError(Metric):
    """Root mean square of filled minus true values, in the target's units."""

    name, label = "rmse", "RMSE"
    explanation = "root mean square of filled minus true values"
    statistics = ("squared_error",)

    def value(self, mean: Means) -> np.ndarray:
        return np.sqrt(mean["squared_error"])


class MeanAbsoluteError(Metric):
    """Mean absolute difference of filled and true values, in the target's units."""

    name, label, column = "mae", "MAE", ""
    explanation = "mean absolute difference of filled and true values"
    statistics = ("absolute_error",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["absolute_error"]


class Bias(Metric):
    """Mean of filled minus true values, in the target's units."""

    name, label = "bias", "bias"
    explanation = "mean of filled minus true values"
    signed = True
    statistics = ("error",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["error"]


class UnbiasedRootMeanSquareError(Metric):
    """sqrt(rmse^2 - bias^2), in the target's units (Entekhabi et al., J. Hydrometeorol. 11, 832, 2010)."""

    name, label, column = "ubrmse", "ubRMSE", ""
    explanation = "RMSE after taking away the bias"
    statistics = ("error", "squared_error")

    def value(self, mean: Means) -> np.ndarray:
        # rounding may leave a little less than 0
        return np.sqrt(np.maximum(mean["squared_error"] - mean["error"] ** 2, 0))


class Correlation(Metric):
    """Pearson correlation of filled and true values over cells and days, 1."""

    name, label, digits = "r", "R", 3
    explanation = "correlation of filled and true values, over cells and days"
    statistics = ("truth", "filled", "truth_squared", "filled_squared", "truth_filled")

    def value(self, mean: Means) -> np.ndarray:
        return _correlation(*(mean[str(name)] for name in self.statistics))


class AnomalyCorrelation(Metric):
    """Pearson correlation within cells: after taking away the mean of each cell's visible values, 1.

    The seasonal cycle is still in it: it is no correlation of anomalies as the field has them.
    """

    name, label, column, digits = "r_anomaly", "R-within-cells", "R within", 3
    explanation = "correlation within cells: after taking away the mean of each cell's visible values, not its season"
    statistics = (
        "truth_anomaly", "filled_anomaly", "truth_anomaly_squared", "filled_anomaly_squared", "anomaly_product"
    )  # fmt: skip

    def value(self, mean: Means) -> np.ndarray:
        return _correlation(*(mean[str(name)] for name in self.statistics))


class SeasonalAnomalyCorrelation(Metric):
    """Pearson correlation of anomalies from the mean of the 35 days around each value, 1.

    The mean is that of the visible values of the cell, which the filler saw. Values with fewer than five of them in the
    window are left out (Dorigo et al., Remote Sens. Environ. 162, 380, 2015, use this window).
    """

    name, label, column, digits = "r_seasonal_anomaly", "R-anomaly", "R anom", 3
    explanation = "correlation of anomalies: after taking away the mean of the cell's visible values of 35 days"
    statistics = (
        "truth_seasonal", "filled_seasonal", "truth_seasonal_squared", "filled_seasonal_squared", "seasonal_product",
        "season_known",
    )  # fmt: skip

    def value(self, mean: Means) -> np.ndarray:
        *sums, known = (mean[str(name)] for name in self.statistics)
        share = np.where(known > 0, known, np.nan)
        return _correlation(*(values / share for values in sums))


class NashSutcliffeEfficiency(Metric):
    """1 minus mean squared error over the variance of the truth, 1 (Nash and Sutcliffe, J. Hydrol. 10, 282, 1970).

    It is R2 of Liu et al. (HESS 27, 577, 2023, Eq. 7), with the truth in the denominator. It may be below 0.
    """

    name, label, column, digits = "nse", "NSE", "", 3
    explanation = "1 minus the mean squared error over the variance of the true values (Nash-Sutcliffe efficiency, R2)"
    signed = of_details = True
    statistics = ("squared_error", "truth", "truth_squared")

    def value(self, mean: Means) -> np.ndarray:
        squares = mean["truth_squared"]
        variance = squares - mean["truth"] ** 2
        # truth without spread; sums in float64 leave a rest
        efficiency: np.ndarray = 1 - mean["squared_error"] / np.where(variance > 1e-12 * squares, variance, np.nan)
        return efficiency


class CellEfficiency(Metric):
    """Median over cells of the Nash-Sutcliffe efficiency of each cell, 1.

    It is no function of mean statistics: `Scores.table` takes it from the cells, for all values together.
    """

    name, label, column, digits = "r2_cell_median", "R2-cell-median", "", 3
    explanation = "median over cells of R2 (NSE) in time of each cell"
    signed = of_details = True

    def value(self, mean: Means) -> np.ndarray:
        return np.array(np.nan)


class Coverage(Metric):
    """Share of the values inside their interval (PICP), 1."""

    name, label, column, digits = "coverage", "coverage", "cover", 3
    explanation = "share of the hidden values inside the interval of the filler"
    of_error_bars = True
    statistics = ("inside",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["inside"]


class IntervalWidth(Metric):
    """Mean width of the intervals, in the target's units."""

    name, label, column = "width", "width", ""
    explanation = "mean width of the interval of the filler"
    of_error_bars = True
    statistics = ("width",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["width"]


class IntervalScore(Metric):
    """Mean interval score, in the target's units (Winkler, JASA 67, 187, 1972); the smaller the better."""

    name, label, column = "interval_score", "interval score", ""
    explanation = "width of the interval, and a penalty for values outside of it"
    of_error_bars = True
    statistics = ("interval_score",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["interval_score"]


class Crps(Metric):
    """Mean continuous ranked probability score of normal distributions, in the target's units; see `normal_crps`."""

    name, label, column = "crps", "crps", "CRPS"
    explanation = "continuous ranked probability score of normal distributions with the filler's standard deviations"
    of_error_bars = True
    statistics = ("crps",)

    def value(self, mean: Means) -> np.ndarray:
        return mean["crps"]


class Spread(Metric):
    """Root mean square of `sm_std`, the sharpness, in the target's units."""

    name, label, column = "spread", "spread", ""
    explanation = "root mean square of the filler's standard deviations"
    of_error_bars = True
    statistics = ("variance",)

    def value(self, mean: Means) -> np.ndarray:
        return np.sqrt(mean["variance"])


class SpreadSkillSlope(Metric):
    """Slope of the errors' root mean square over that of `sm_std`, 1.

    It is no function of mean statistics: `Scores.table` takes it from the `Calibration`, of all values together.
    """

    name, label, column = "slope", "slope", ""
    explanation = "slope of the errors over the filler's standard deviations; 1 where they grow together"
    of_error_bars = True

    def value(self, mean: Means) -> np.ndarray:
        return np.array(np.nan)


class State(NamedTuple):
    """Sums of the STATISTICS and the number of values; both float64.

    Attributes:
        sum: (..., S), statistics in the order of STATISTICS.
        weight: (...).
    """

    sum: np.ndarray
    weight: np.ndarray

    @classmethod
    def zeros(cls, shape: tuple[int, ...] = ()) -> State:
        """Return an empty State with leading dims `shape`."""
        return cls(np.zeros((*shape, len(STATISTICS))), np.zeros(shape))

    def __add__(self, other: State) -> State:  # type: ignore[override]
        return State(self.sum + other.sum, self.weight + other.weight)

    def total(self, axis: int | tuple[int, ...] | None = None) -> State:
        """Return the State summed over leading axes, by default over all of them."""
        axes = tuple(range(self.weight.ndim)) if axis is None else axis
        return State(self.sum.sum(axes), self.weight.sum(axes))


def error_statistics(
    filled: np.ndarray,
    truth: np.ndarray,
    cell_mean: np.ndarray | None = None,
    *,
    lower: np.ndarray | None = None,
    upper: np.ndarray | None = None,
    std: np.ndarray | None = None,
    level: float | None = None,
    season: np.ndarray | None = None,
) -> np.ndarray:
    """Return the STATISTICS at each value, (N, S) float64, NaN where what they are made from is not given.

    Args:
        filled: Estimates, (N,), in the target's units, as all that follow.
        truth: What was observed, (N,).
        cell_mean: Mean of the visible values of the cell of each value, (N,), for anomalies.
        lower: Lower bounds of the intervals, (N,).
        upper: Upper bounds of the intervals, (N,).
        std: Standard deviations of the errors, (N,).
        level: Of the intervals, 0 to 1; the interval score needs it.
        season: Mean of the visible values of the cell in the days around each value, (N,), NaN where there are too few.
    """
    values = Values(filled, truth, cell_mean, lower, upper, std, level, season)
    missing = np.full_like(values.truth, np.nan)
    columns = [statistic(values) for statistic in STATISTICS.values()]
    return np.stack([missing if column is None else column for column in columns], -1)


def normal_cdf(values: np.ndarray) -> np.ndarray:
    """Return the cumulative distribution of the standard normal at `values`, float64."""
    # torch's is as exact as scipy's, and scipy is no dependency of filling
    probability: np.ndarray = torch.special.ndtr(torch.from_numpy(np.asarray(values, np.float64))).numpy()
    return probability


def normal_crps(errors: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of normal distributions, (N,), in the unit of the errors.

    Gneiting and Raftery, JASA 102, 359, 2007, Eq. 21.

    Args:
        errors: Mean of each distribution minus the truth, (N,).
        std: Standard deviation of each distribution, (N,), in the unit of the errors.
    """
    # a standard deviation of 0 is allowed: the score is then the absolute error
    std = np.maximum(std, 1e-12)
    z = errors / std
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    crps: np.ndarray = std * (z * (2 * normal_cdf(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return crps


def bin_statistics(values: np.ndarray, bins: np.ndarray, count: int, weights: np.ndarray | None = None) -> State:
    """Sum the statistics of values by bin.

    Args:
        values: Statistics at each value, (N, S).
        bins: Bin of each value, (N,), whole numbers from 0.
        count: Number of bins.
        weights: Weight of each value, (N,); by default 1.

    Returns:
        A State with the leading shape (count,).
    """
    columns = values.T if weights is None else values.T * weights
    sums = np.stack([np.bincount(bins, weights=column, minlength=count) for column in columns], -1)
    return State(sums, np.bincount(bins, weights=weights, minlength=count).astype(np.float64))


def metrics(state: State) -> dict[str, np.ndarray]:
    """Return `n`, the number (or the weight) of the values, and all METRICS of a State.

    Each has the State's leading shape, and NaN where there are no values.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = dict(zip(STATISTICS, np.moveaxis(state.sum / state.weight[..., None], -1, 0), strict=True))
        shape = state.weight.shape
        return {"n": state.weight} | {m.name: np.broadcast_to(m.value(mean), shape) for m in METRICS}


def _correlation(a: np.ndarray, b: np.ndarray, aa: np.ndarray, bb: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Return correlations from the means of two variables, of their squares and of their products."""
    # without spread there is no correlation; sums in float64 leave a rest
    spreads = [
        np.where(squares - mean * mean > 1e-12 * squares, squares - mean * mean, np.nan)
        for mean, squares in ((a, aa), (b, bb))
    ]
    correlation: np.ndarray = (ab - a * b) / np.sqrt(spreads[0] * spreads[1])
    return correlation


def bootstrap(
    state: State,
    metric: str = "rmse",
    reference: State | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return a metric with its bootstrap interval over units.

    A unit is a block of days in a region, large enough for its errors to be nearly independent of those of others.
    Units are drawn with replacement.

    Args:
        state: Errors by unit, leading shape (units,).
        metric: Name of the metric.
        reference: Errors of another filler at the same values, by the same units. With it, the paired difference from
            it is taken, with the same draws for both.
        draws: How often units are drawn.
        level: Of the interval, 0 to 1.
        seed: Of the draws.

    Returns:
        Value, lower and upper bound. The bounds are NaN where there are fewer than three units.
    """
    # empty units say nothing, and would widen the interval
    full = state.weight > 0
    units = int(full.sum())
    # a draw with replacement is a number of copies of each unit
    counts = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / max(1, units)), size=draws).astype(float)

    def values(which: State) -> np.ndarray:
        sums, weights = which.sum[full], which.weight[full]
        # the units as they are come first, then the draws
        every = np.concatenate([np.ones((1, units)), counts])
        return metrics(State(every @ sums, every @ weights))[metric]

    sample = values(state) - (values(reference) if reference is not None else 0.0)
    if units < 3:
        return float(sample[0]), float("nan"), float("nan")
    lower, upper = np.quantile(sample[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(sample[0]), float(lower), float(upper)
