"""Statistics of the values themselves: scalers of variables, and the climatology of each cell.

Scalers are saved with a model. The climatology is not: it comes from the seen values of the cube that is being filled,
so that a model can be applied to another cube, period or grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from sgdsm.core.arguments import check_value
from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.errors import ConfigError
from sgdsm.data.record import Names, Record

HARMONICS = 2
# Number of pseudo-observations with which a cell's mean and seasonal cycle are regularized towards those of the whole
# domain. Ten for the cycle keeps that of a cell without winter observations (frost) from extreme values in winter.
MEAN_RIDGE, CYCLE_RIDGE, SPREAD_RIDGE = 1.0, 10.0, 10.0
RANGE, RANGE_SAMPLE = (0.01, 0.99), 10**6  # quantiles, and how many values they are taken from


class Climatology(NamedTuple):
    """Mean and seasonal cycle of each cell.

    Attributes:
        coefficients: Coefficients of `season_basis`, in the target's units, (K, H, W) float32.
        spread: Standard deviation of the anomalies, in the target's units, (H, W) float32.
    """

    coefficients: np.ndarray
    spread: np.ndarray

    def at(self, days: np.ndarray, rows: slice = slice(None), columns: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return the climatology on given days.

        Args:
            days: Days since 1970-01-01, (T,).
            rows: Rows to return.
            columns: Columns to return.

        Returns:
            Values in the target's units, (T, H, W) float32.
        """
        coefficients = self.coefficients[:, rows, columns]
        flat = season_basis(days) @ coefficients.reshape(len(coefficients), -1)
        return flat.reshape(len(days), *coefficients.shape[1:])


class Prior(NamedTuple):
    """What the climatology of a cell is regularized towards.

    Attributes:
        coefficients: Climatology of the whole domain, coefficients of `season_basis`, (K,).
        variance: Variance of the anomalies, in squared units of the target.
    """

    coefficients: np.ndarray
    variance: float

    @classmethod
    def of(cls, count: np.ndarray, total: np.ndarray, days: np.ndarray, variance: float) -> Prior:
        """Make a prior from the sums of a domain's values on each day.

        Args:
            count: Number of values on each day, (T,).
            total: Sum of the values on each day, (T,).
            days: Days since 1970-01-01, (T,).
            variance: Variance of the anomalies.

        Raises:
            ConfigError: When there is no value at all.
        """
        basis = season_basis(days).astype(np.float64)
        return cls(_common((basis.T * count) @ basis, basis.T @ total), variance)


@dataclass
class CellStatistics:
    """Additive statistics of each cell from which its climatology is solved; float64.

    Args:
        gram: Sums of products of the basis functions, (K, K, H, W).
        moment: Sums of basis function times value, (K, H, W).
        square: Sums of squared values, (H, W).
    """

    gram: np.ndarray
    moment: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, known: np.ndarray, days: np.ndarray) -> CellStatistics:
        """Compute the statistics of the known values.

        Args:
            values: (T, H, W), in the target's units.
            known: Values to use, (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
        """
        basis = season_basis(days).astype(np.float64)
        count, terms = basis.shape
        mask = known.reshape(count, -1)
        masked = np.where(mask, values.reshape(count, -1), 0)
        # one matrix product for all cells instead of a sum for each
        products = (basis[:, :, None] * basis[:, None, :]).reshape(count, -1)
        space = values.shape[1:]
        return cls(
            (products.T @ mask).reshape(terms, terms, *space),
            (basis.T @ masked).reshape(terms, *space),
            np.einsum("ts,ts->s", masked, masked, dtype=np.float64).reshape(space),
        )

    def __add__(self, other: CellStatistics) -> CellStatistics:
        return CellStatistics(self.gram + other.gram, self.moment + other.moment, self.square + other.square)

    def solve(self, prior: Prior | None = None) -> Climatology:
        """Solve the climatology of each cell by ridge regression towards that of the whole domain.

        Args:
            prior: Of a domain that these cells are a part of (default: these cells are the whole domain).

        Raises:
            ConfigError: When there is no value at all, and no prior.
        """
        terms = len(self.moment)
        space = self.square.shape
        gram = self.gram.reshape(terms, terms, -1).transpose(2, 0, 1)
        moment = self.moment.reshape(terms, -1).T
        count = gram[:, 0, 0]  # the first basis function is 1, so this counts values
        ridge = np.diag([MEAN_RIDGE] + [CYCLE_RIDGE] * (terms - 1))
        common = _common(gram.sum(0), moment.sum(0)) if prior is None else prior.coefficients
        coefficients = np.linalg.solve(gram + ridge, (moment + ridge @ common)[..., None])[..., 0]
        # sum of squared residuals without a second pass over the values
        fitted = np.einsum("sk,skl,sl->s", coefficients, gram, coefficients)
        residual = self.square.ravel() - 2 * np.einsum("sk,sk->s", coefficients, moment) + fitted
        # of the whole domain, so that cells with few values get a typical spread
        variance = max(residual.sum() / count.sum(), 1e-12) if prior is None else prior.variance
        spread = np.sqrt(np.maximum(residual + SPREAD_RIDGE * variance, 1e-12) / (count + SPREAD_RIDGE))
        return Climatology(
            coefficients.T.reshape(terms, *space).astype(np.float32), spread.reshape(space).astype(np.float32)
        )


def _common(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    if gram[0, 0] == 0:
        raise ConfigError("no observed value to take a climatology from")
    # the cycle of the whole domain itself is regularized towards none: a few days do not show a season
    shrink = np.diag([0.0] + [CYCLE_RIDGE] * (len(moment) - 1))
    common: np.ndarray = np.linalg.solve(gram + shrink, moment)
    return common


@dataclass(frozen=True)
class Scaler:
    """z = (f(x) - offset) / scale, where f is log(1 + x / unit) for precipitation (unit > 0), else x.

    Args:
        offset: Mean of f(x).
        scale: Standard deviation of f(x).
        unit: Mean of the positive values, for precipitation; 0: f is the identity.
    """

    offset: float
    scale: float
    unit: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray, logarithmic: bool = False) -> Scaler:
        """Fit to the finite values.

        Args:
            values: Values of a variable, any shape.
            logarithmic: Scale the logarithm, for precipitation.
        """
        finite = values[np.isfinite(values)].astype(np.float64)
        positive = finite[finite > 0]
        # a unit in the middle of the values: log(1 + x / unit) bends there
        unit = float(positive.mean()) if logarithmic and positive.size else 0.0
        finite = np.log1p(np.maximum(finite, 0) / unit) if unit else finite
        spread = float(finite.std()) if finite.size else 0.0
        return cls(float(finite.mean()) if finite.size else 0.0, spread if spread > 1e-12 else 1.0, unit)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values, float32; NaN stays NaN."""
        if self.unit:
            values = np.log1p(np.maximum(values, 0) / self.unit)
        return ((values - self.offset) / self.scale).astype(np.float32, copy=False)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a model was fitted for and on: the variables by name, in the order of their channels, and their scalers.

    Args:
        target: Name of the target.
        units: Units of the target.
        dynamic: Names of the dynamic covariates.
        static: Names of the static covariates.
        precipitation: Name of the dynamic covariate that is precipitation, if there is one.
        gappy: Names of the dynamic covariates with gaps of their own.
        scalers: Scaler of each covariate.
        anomaly_scale: Standard deviation of the target's anomalies from the cells' climatology, in its units.
        mean: Mean over cells of the cells' means, in the target's units.
        mean_spread: Standard deviation over cells of the cells' means, in the target's units.
        lowest: Smallest value of the target.
        highest: Largest value of the target.
        step_days: Days between maps.
        fitted_on: Which values were used, in words.
        repeat_cycle: Steps after which the orbit repeats, 0 if that is not to be used.
        variable_units: Units of the target and of each covariate, None where they were not known; empty for models
            saved before they were kept.
        ranges: 1 % and 99 % quantiles of each covariate's training values.
        causal: True if estimates depend on nothing after their day: near real time.
    """

    target: str
    units: str
    dynamic: tuple[str, ...]
    static: tuple[str, ...]
    precipitation: str | None
    gappy: tuple[str, ...]
    scalers: dict[str, Scaler]
    anomaly_scale: float
    mean: float
    mean_spread: float
    lowest: float
    highest: float
    step_days: int
    fitted_on: str
    repeat_cycle: int = 0
    variable_units: dict[str, str | None] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    causal: bool = False

    @classmethod
    def fit(
        cls,
        record: Record,
        names: Names,
        known: np.ndarray,
        units: str,
        step_days: int,
        fitted_on: str,
        repeat_cycle: int = 0,
    ) -> Inputs:
        """Fit scalers to a record.

        Args:
            record: The arrays of a cube.
            names: Its variables.
            known: Values of the target that may be used, (T, H, W) bool; covariates are used on the days that have any.
            units: Units of the target.
            step_days: Days between maps.
            fitted_on: Which values these are, in words.
            repeat_cycle: Steps after which the orbit repeats, 0 if that is not to be used.
        """
        return cls.fit_parts([(record, known)], names, units, step_days, fitted_on, repeat_cycle)

    @classmethod
    def fit_parts(
        cls,
        parts: Sequence[tuple[Record, np.ndarray]],
        names: Names,
        units: str,
        step_days: int,
        fitted_on: str,
        repeat_cycle: int = 0,
        whole: bool = True,
    ) -> Inputs:
        """Fit scalers to several records, as `fit`.

        Args:
            parts: Each record with the values of it that may be used, (T, H, W) bool.
            names: Their variables.
            units: Units of the target.
            step_days: Days between maps.
            fitted_on: Which values these are, in words.
            repeat_cycle: Steps after which the orbit repeats, 0 if that is not to be used.
            whole: True if the parts are all of the cube. Otherwise the range of the target is taken three times as
                wide, but does not reach below 0 unless a value does.
        """
        scalers, ranges, gappy = _fit_covariates(parts, names)
        anomalies, means, lowest, highest = [], [], [], []
        for record, known in parts:
            climatology = CellStatistics.of(record.values, known, record.days).solve()
            anomalies.append((record.values - climatology.at(record.days))[known])
            means.append(climatology.coefficients[0][record.land])
            lowest.append(float(record.values[known].min()))
            highest.append(float(record.values[known].max()))
        low, high = min(lowest), max(highest)
        if not whole:
            # the other parts of the cube may hold values outside the range of these
            low, high = 2 * low - high if low < 0 else max(0.0, 2 * low - high), 2 * high - low
        return cls(
            target=names.target,
            units=units,
            dynamic=names.dynamic,
            static=names.static,
            precipitation=names.precipitation,
            gappy=gappy,
            scalers=scalers,
            anomaly_scale=max(float(_joined(anomalies).std()), 1e-6),
            mean=float(_joined(means).mean()),
            mean_spread=max(float(_joined(means).std()), 1e-6),
            lowest=low,
            highest=high,
            step_days=step_days,
            fitted_on=fitted_on,
            repeat_cycle=repeat_cycle,
            variable_units=names.units,
            ranges=ranges,
        )

    @property
    def channels(self) -> tuple[int, int, int]:
        """Numbers of dynamic, gappy dynamic and static channels of a batch."""
        return len(self.dynamic), len(self.gappy), len(self.static) + 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain built-ins, for a checkpoint."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**plain, "ranges": {name: list(bounds) for name, bounds in self.ranges.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Inputs:
        """Return the inputs that `to_dict` was called on.

        Args:
            values: What `to_dict` returned.

        Raises:
            ConfigError: When the values are not those of inputs.
        """
        # `to_dict` has made lists of tuples
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            plain["scalers"] = {name: Scaler(**fields) for name, fields in values["scalers"].items()}
            plain["ranges"] = {name: (low, high) for name, (low, high) in values.get("ranges", {}).items()}
            made = cls(**plain)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ConfigError(f"inputs: not those of a filler: {error}") from error
        # a checkpoint may come from a stranger: types are checked
        for part, of in ((made, cls), *((scaler, Scaler) for scaler in made.scalers.values())):
            for name, hint in get_type_hints(of).items():
                check_value(f"inputs.{name}", getattr(part, name), hint)
        lacking = [name for name in (*made.dynamic, *made.static) if name not in made.scalers]
        if lacking:
            raise ConfigError(f"inputs.scalers: no scaler of '{lacking[0]}'")
        return made


def _fit_covariates(
    parts: Sequence[tuple[Record, np.ndarray]], names: Names
) -> tuple[dict[str, Scaler], dict[str, tuple[float, float]], tuple[str, ...]]:
    """Return scaler and range of each covariate by its name, and the dynamic ones with gaps of their own."""
    scalers, gappy = {}, []
    ranges: dict[str, tuple[float, float]] = {}
    for c, name in enumerate(names.dynamic):
        # only days with known values of the target: in a split those are the training days
        values = _joined([record.dynamic[c][known.any((1, 2))][:, record.land].ravel() for record, known in parts])
        scalers[name] = Scaler.of(values, name == names.precipitation)
        ranges |= _range(name, values)
        if any(bool(np.isnan(record.dynamic[c][:, record.land]).any()) for record, _ in parts):
            gappy.append(name)
    for c, name in enumerate(names.static):
        values = _joined([record.static[c][record.land] for record, _ in parts])
        scalers[name] = Scaler.of(values)
        ranges |= _range(name, values)
    return scalers, ranges, tuple(gappy)


def _range(name: str, values: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return the quantiles of a variable by its name; nothing if it has no value."""
    known = values[np.isfinite(values)]
    # a sample is enough for two quantiles
    known = known[:: max(1, known.size // RANGE_SAMPLE)].astype(np.float64)
    if not known.size:
        return {}
    low, high = np.quantile(known, RANGE)
    return {name: (float(low), float(high))}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def season_basis(days: np.ndarray, harmonics: int = HARMONICS) -> np.ndarray:
    """Return 1, and cos and sin of the annual cycle and of its harmonics.

    Args:
        days: Days since 1970-01-01, (T,).
        harmonics: Number of waves; 2: of a year and of half a year.

    Returns:
        (T, 1 + 2 harmonics) float32.
    """
    angle = 2 * np.pi * np.asarray(days, np.float64)[:, None] / DAYS_PER_YEAR * np.arange(1, harmonics + 1)
    waves = np.stack([np.cos(angle), np.sin(angle)], -1).reshape(len(days), -1)
    return np.concatenate([np.ones((len(days), 1)), waves], 1).astype(np.float32)
