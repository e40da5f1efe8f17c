"""What matched distributions leave: the reference minus the corrected value, learned by trees from covariates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sgdsm.core.cube import ConfigError, CubeError
from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.evaluation.metrics import bin_statistics, error_statistics, metrics

if TYPE_CHECKING:
    import xgboost

DEALT, CHOSEN = 21, 22  # of random numbers
OWN = ("corrected", "season_sine", "season_cosine")  # features that are no covariates
STAGES = ("before", "mapped", "with trees")


class ResidualTrees:
    """How the trees are fitted and judged.

    max_rows: values that are drawn, without replacement, to fit and to score; with `features x 4 bytes` each they bound
    the memory. folds, block_days, separation_days: of the cross-validation, see `folds_of`. threads: 0 = all cores.
    seed: of rows, folds and trees. The other arguments are XGBoost's own.

    Raises ConfigError for numbers that cannot work.
    """

    def __init__(
        self,
        max_rows: int = 400_000,
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
        self.parameters = {
            "objective": "reg:squarederror", "tree_method": "hist", "eta": learning_rate, "max_depth": max_depth,
            "min_child_weight": min_child_weight, "subsample": subsample, "colsample_bytree": column_share,
            "nthread": threads, "seed": seed,
        }  # fmt: skip

    def fit(self, features: np.ndarray, residual: np.ndarray) -> xgboost.Booster:
        """Trees that estimate the residual, (rows,), from features, (rows, features)."""
        import xgboost

        return xgboost.train(self.parameters, xgboost.QuantileDMatrix(features, residual), self.rounds)


@dataclass
class Rows:
    """A random part of the values that both sensors have, drawn over all cells and days.

    key: the random numbers they were drawn by. day: position in time. covariates: (rows, covariates). mapped: by the
    maps of all days. held_out: by the maps of each fold's other days, (rows, folds).
    """

    key: np.ndarray
    day: np.ndarray
    source: np.ndarray
    reference: np.ndarray
    covariates: np.ndarray
    mapped: np.ndarray
    held_out: np.ndarray

    def joined(self, other: Rows, most: int) -> Rows:
        """Both, of which the `most` rows with the smallest keys stay: a draw without replacement from everything."""
        parts = {n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in vars(self)}
        kept = np.argsort(parts["key"], kind="stable")[:most]
        return Rows(**{n: values[kept] for n, values in parts.items()})


@dataclass
class Folds:
    """Fold of each day, (days,), and for each fold the days that its maps and trees are fitted to, (folds, days)."""

    of_day: np.ndarray
    fitted: np.ndarray = field(repr=False)


def folds_of(days: np.ndarray, options: ResidualTrees) -> Folds:
    """Blocks of days dealt to folds, each group of as many blocks as folds in an order of its own, so that no fold
    keeps to a season. A fold is fitted to the days that are not within `separation_days` of its own.

    days: whole days since some day, rising. Raises CubeError where there are fewer blocks than folds, or a fold leaves
    no day to fit to.
    """
    block = (days - days[0]) // options.block_days
    number, count = int(block[-1]) + 1, options.folds
    if number < count:
        raise CubeError(
            f"{days[-1] - days[0] + 1} common days: expected {count} blocks (trees.block_days={options.block_days})"
        )
    rng = np.random.default_rng([options.seed, DEALT])
    dealt = rng.permuted(np.tile(np.arange(count), (-(-number // count), 1)), axis=1).ravel()[:number]
    fold = dealt[block]
    fitted = np.ones((count, days.size), bool)
    for k in range(count):
        own = days[fold == k]
        after = np.searchsorted(own, days)
        ahead = np.append(own, np.iinfo(np.int64).max // 2)[after] - days
        behind = days - np.insert(own, 0, np.iinfo(np.int64).min // 2)[after]
        fitted[k] = np.minimum(ahead, behind) > options.separation_days
        fitted[k, fold == k] = False
    if not fitted.any(1).all():
        raise CubeError(
            f"{days[-1] - days[0] + 1} common days: none is left to fit to beside one of the folds: expected more, or "
            f"a smaller trees.separation_days than {options.separation_days}"
        )
    return Folds(fold, fitted)


def features_of(mapped: np.ndarray, covariates: np.ndarray, days: np.ndarray) -> np.ndarray:
    """What the trees see of values, (rows, OWN + covariates) float32. days: days since 1970-01-01 of the values."""
    angle = 2 * np.pi * days / DAYS_PER_YEAR
    return np.column_stack([mapped, np.sin(angle), np.cos(angle), covariates]).astype(np.float32)


def cross_validated(
    rows: Rows, folds: Folds, days: np.ndarray, options: ResidualTrees, with_trees: bool, bounds: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """Scores on days that neither maps nor trees were fitted to: of the source as it is, mapped, and with the trees.

    days: days since 1970-01-01 of each position in time. Raises CubeError where a fold has nothing to learn from.
    """
    found = []
    fold_of_row = folds.of_day[rows.day]
    for k in range(options.folds):
        test, learned = fold_of_row == k, folds.fitted[k][rows.day]
        mapped = rows.held_out[:, k]
        test, learned = test & np.isfinite(mapped), learned & np.isfinite(mapped)
        if not test.any() or not learned.any():
            continue
        stages = [rows.source[test], mapped[test]]
        if with_trees:
            features = features_of(mapped, rows.covariates, days[rows.day])
            booster = options.fit(features[learned], (rows.reference - mapped)[learned])
            stages.append(np.clip(mapped[test] + booster.inplace_predict(features[test]), *bounds))
        found.append([error_statistics(stage, rows.reference[test]) for stage in stages])
    if not found:
        raise CubeError("no fold has values to fit to and others to score: the common period is too short")
    table = {}
    for stage, parts in zip(STAGES, zip(*found, strict=True), strict=False):
        values = np.concatenate(parts)
        state = bin_statistics(values, np.zeros(len(values), int), 1)
        table[stage] = {k: float(metrics(state)[k][0]) for k in ("n", "r", "rmse", "ubrmse", "bias")}
    return table
