"""Trees on the residuals of matched distributions: the reference minus the mapped value, predicted from covariates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xgboost

from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.random import Stream
from sgdsm.evaluation.metrics import bin_statistics, error_statistics, metrics

if TYPE_CHECKING:
    import xgboost

OWN = ("corrected", "season_sine", "season_cosine")  # features that are no covariates
STAGES = ("before", "mapped", "with trees")


class ResidualTrees:
    """How the trees are fitted and cross-validated.

    Args:
        max_rows: Values that are drawn, without replacement, to fit and to score; with `features x 4 bytes` each they
            bound the memory.
        rounds: Boosting rounds of XGBoost.
        learning_rate: XGBoost's `eta`.
        max_depth: XGBoost's own.
        min_child_weight: XGBoost's own.
        subsample: XGBoost's own.
        column_share: XGBoost's `colsample_bytree`.
        folds: Of the cross-validation, see `folds_of`.
        block_days: Length of the blocks of the folds, days.
        separation_days: Distance between the days of a fold and those fitted to, days.
        threads: 0 = all cores.
        seed: Of rows, folds and trees.

    Raises:
        ConfigError: When a number is out of range.
    """

    def __init__(
        self,
        max_rows: int = 400_000,
        *,
        rounds: int = 300,
        learning_rate: float = 0.05,
        max_depth: int = 6,
        min_child_weight: float = 20.0,
        subsample: float = 0.7,
        column_share: float = 0.7,
        folds: int = 4,
        block_days: int = 60,
        separation_days: int = 15,
        threads: int = 0,
        seed: int = 0,
    ) -> None:
        if min(max_rows, rounds, block_days) < 1 or folds < 2 or separation_days < 0:
            raise ConfigError(
                f"trees: max_rows={max_rows}, rounds={rounds}, folds={folds}, block_days={block_days}, "
                f"separation_days={separation_days}: expected at least 1, 1, 2, 1, 0"
            )
        self.max_rows, self.rounds, self.seed = max_rows, rounds, seed
        self.folds, self.block_days, self.separation_days = folds, block_days, separation_days
        # 'hist' is XGBoost's fastest method on a CPU
        self.parameters = {
            "objective": "reg:squarederror", "tree_method": "hist", "eta": learning_rate, "max_depth": max_depth,
            "min_child_weight": min_child_weight, "subsample": subsample, "colsample_bytree": column_share,
            "nthread": threads, "seed": seed,
        }  # fmt: skip

    def fit(self, features: np.ndarray, residual: np.ndarray) -> xgboost.Booster:
        """Fit trees that estimate the residual.

        Args:
            features: (N, F) float32.
            residual: Reference minus mapped value, (N,), in units of the reference.
        """
        return xgboost.train(self.parameters, xgboost.QuantileDMatrix(features, residual), self.rounds)


@dataclass
class Rows:
    """A random sample of the values that both sensors have, drawn over all cells and days.

    Args:
        key: Random numbers by which they were drawn, (N,).
        day: Position in time, (N,).
        source: Values of the source, in its units, (N,).
        reference: Values of the reference, in its units, (N,).
        covariates: (N, covariates).
        mapped: Mapped by the maps of all days, in units of the reference, (N,).
        held_out: Mapped by the maps that were fitted without each fold, (N, folds).
    """

    key: np.ndarray
    day: np.ndarray
    source: np.ndarray
    reference: np.ndarray
    covariates: np.ndarray
    mapped: np.ndarray
    held_out: np.ndarray

    def joined(self, other: Rows, most: int) -> Rows:
        """Return the rows with the smallest keys of both: a sample without replacement from everything.

        Args:
            other: More rows.
            most: Number of rows to keep.
        """
        parts = {n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in vars(self)}
        smallest = np.argsort(parts["key"], kind="stable")[:most]
        return Rows(**{n: values[smallest] for n, values in parts.items()})


@dataclass
class Folds:
    """Folds of the cross-validation.

    Args:
        of_day: Fold of each day, (days,).
        fitted: For each fold the days that its maps and trees are fitted to, (folds, days) bool.
    """

    of_day: np.ndarray
    fitted: np.ndarray = field(repr=False)


def folds_of(days: np.ndarray, options: ResidualTrees) -> Folds:
    """Assign blocks of days to folds.

    Each group of as many blocks as folds is assigned in a random order of its own, so that no fold always has the same
    season. A fold is fitted to the days that are not within `separation_days` of its own.

    Args:
        days: Whole days since some day, rising, (days,).
        options: Numbers of folds and days, and the seed.

    Raises:
        CubeError: When there are fewer blocks than folds, or a fold leaves no day to fit to.
    """
    block = (days - days[0]) // options.block_days
    number, count = int(block[-1]) + 1, options.folds
    if number < count:
        raise CubeError(
            f"{(length := int(days[-1] - days[0]) + 1)} common days: expected at least {count} blocks for the "
            f"cross-validation (trees.block_days={options.block_days}): say trees.block_days={length // count} or "
            "less, or give more days"
        )
    rng = np.random.default_rng([options.seed, Stream.FOLDS])
    # every group of as many blocks as folds in an order of its own
    order = rng.permuted(np.tile(np.arange(count), (-(-number // count), 1)), axis=1).ravel()[:number]
    fold = order[block]
    fitted = np.ones((count, days.size), bool)
    for k in range(count):
        # distance to the nearest day of the fold, ahead and behind
        held_out = days[fold == k]
        after = np.searchsorted(held_out, days)
        ahead = np.append(held_out, np.iinfo(np.int64).max // 2)[after] - days
        behind = days - np.insert(held_out, 0, np.iinfo(np.int64).min // 2)[after]
        fitted[k] = np.minimum(ahead, behind) > options.separation_days
        fitted[k, fold == k] = False
    if not fitted.any(1).all():
        raise CubeError(
            f"{days[-1] - days[0] + 1} common days: none is left to fit to beside one of the folds: expected more, or "
            f"a smaller trees.separation_days than {options.separation_days}"
        )
    return Folds(fold, fitted)


def features_of(mapped: np.ndarray, covariates: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Return the features of the trees.

    Args:
        mapped: Mapped values, (N,).
        covariates: (N, covariates).
        days: Days since 1970-01-01 of the values, (N,).

    Returns:
        The features OWN and the covariates, (N, F) float32.
    """
    # season as sine and cosine, so that December is next to January
    angle = 2 * np.pi * days / DAYS_PER_YEAR
    return np.column_stack([mapped, np.sin(angle), np.cos(angle), covariates]).astype(np.float32)


def cross_validated(
    rows: Rows, folds: Folds, days: np.ndarray, options: ResidualTrees, with_trees: bool, bounds: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """Score on days that neither maps nor trees were fitted to.

    Args:
        rows: The sample of values.
        folds: Folds of the cross-validation.
        days: Days since 1970-01-01 of each position in time, (days,).
        options: How the trees are fitted.
        with_trees: Score the trees too.
        bounds: Smallest and largest corrected value.

    Returns:
        Stage ('before', 'mapped', 'with trees') -> name of a metric -> value.

    Raises:
        CubeError: When no fold has values to fit to and others to score.
    """
    statistics = []
    fold_of_row = folds.of_day[rows.day]
    for k in range(options.folds):
        test, learned = fold_of_row == k, folds.fitted[k][rows.day]
        # mapped without the days of this fold, for training and test alike
        mapped = rows.held_out[:, k]
        # without the fold's days a cell may have too few left for a map
        test, learned = test & np.isfinite(mapped), learned & np.isfinite(mapped)
        if not test.any() or not learned.any():
            continue
        stages = [rows.source[test], mapped[test]]
        if with_trees:
            features = features_of(mapped, rows.covariates, days[rows.day])
            booster = options.fit(features[learned], (rows.reference - mapped)[learned])
            stages.append(np.clip(mapped[test] + booster.inplace_predict(features[test]), *bounds))
        statistics.append([error_statistics(stage, rows.reference[test]) for stage in stages])
    if not statistics:
        raise CubeError("no fold has values to fit to and others to score: the common period is too short")
    table = {}
    for stage, parts in zip(STAGES, zip(*statistics, strict=True), strict=False):
        values = np.concatenate(parts)
        state = bin_statistics(values, np.zeros(len(values), int), 1)
        table[stage] = {k: float(metrics(state)[k][0]) for k in ("n", "r", "rmse", "ubrmse", "bias")}
    return table
