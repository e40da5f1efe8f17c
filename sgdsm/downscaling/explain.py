"""What a downscaler learned: importances of predictors by permutation, and partial dependence."""

from __future__ import annotations

import numpy as np

from sgdsm.core.random import Stream
from sgdsm.downscaling.model import Downscaler
from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.report.importances import Importance

STEPS, ROWS = 25, 500  # of a curve: values of the predictor, rows that its means are of
DRAWS = 200


def importances(
    downscaler: Downscaler, values: np.ndarray, truth: np.ndarray, days: np.ndarray, seed: int = 0, block_days: int = 15
) -> list[Importance]:
    """Return by how much the RMSE grows when a predictor is permuted among all rows (Breiman, Mach. Learn. 45, 2001).

    Args:
        downscaler: Fitted.
        values: Rows that it did not learn from, (N, P).
        truth: Their target, (N,).
        days: Their days, datetime64, (N,).
        seed: Of permutation and blocks.
        block_days: Length of a block of days for the 95 % interval.
    """
    there, number = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    count = np.bincount(number)
    step = float(np.median(np.diff(there).astype(int))) if len(there) > 1 else 1.0
    rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed, 3])
    drawn = moving_blocks(len(there), max(1, round(block_days / step)), DRAWS, rng)

    def by_day(rows: np.ndarray) -> np.ndarray:
        error = downscaler.estimate(rows)["mean"].astype(np.float64) - truth
        return np.bincount(number, error * error)

    def growth(chosen: np.ndarray) -> np.ndarray:
        total = count[chosen].sum(-1)
        grown: np.ndarray = np.sqrt(permuted[chosen].sum(-1) / total) - np.sqrt(plain[chosen].sum(-1) / total)
        return grown

    plain, found = by_day(values), []
    for k, name in enumerate(downscaler.predictors):
        mixed = values.copy()
        mixed[:, k] = np.random.default_rng([Stream.PERMUTATION, seed, k]).permutation(values[:, k])
        permuted = by_day(mixed)
        low, high = np.quantile(growth(drawn), [0.025, 0.975])
        mean = float(growth(np.arange(len(there))))
        source = downscaler.sources[name] or name
        found.append(Importance("covariate", name, source, None, None, mean, float(low), float(high)))
    return found


def dependence(downscaler: Downscaler, values: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the mean estimate as a function of each predictor (Friedman, Annals of Statistics 29, 1189, 2001).

    Args:
        downscaler: Fitted.
        values: Rows, (N, P).

    Returns:
        By predictor its values from the 1st to the 99th percentile, (S,), and the means of the estimates of all rows
        that are given this value, in the target's units, (S,).
    """
    rows = values[:: max(1, len(values) // ROWS)]
    curves = {}
    for k, name in enumerate(downscaler.predictors):
        low, high = (float(end) for end in np.quantile(values[:, k], [0.01, 0.99]))
        steps = np.linspace(low, high, STEPS)
        given = np.repeat(rows[None], STEPS, 0)
        given[:, :, k] = steps[:, None]
        estimates = downscaler.estimate(given.reshape(-1, rows.shape[1]))["mean"]
        curves[name] = (steps, estimates.reshape(STEPS, -1).mean(1, dtype=np.float64))
    return curves
