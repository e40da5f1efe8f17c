"""Scores of estimates of single values on some days, by season and class, with intervals over blocks of days."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sgdsm.core.days import SEASONS, season_numbers
from sgdsm.core.random import Stream
from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.evaluation.metrics import State, bin_statistics, error_statistics, metrics

# name in tables: that of `evaluation.metrics`; md is estimate minus reference, ubrmse is without it
SHOWN = {"rmse": "rmse", "ubrmse": "ubrmse", "md": "bias", "r": "r", "r2": "nse"}
DRAWS, LEVEL = 500, 0.95
LEAST_DAYS = 4  # of fewer, blocks tell nothing


def row_scores(
    estimate: np.ndarray,
    truth: np.ndarray,
    days: np.ndarray,
    classes: Mapping[str, np.ndarray] | None = None,
    *,
    block_days: int = 15,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Score estimates: RMSE, ubRMSE = sqrt(RMSE^2 - MD^2), MD (estimate minus reference), r, R2 and N.

    The 95 % intervals are of moving blocks of days, with all values of a day together: neighbouring days, and cells of
    one day, are alike.

    Args:
        estimate: (N,), finite.
        truth: (N,), finite, in the same units.
        days: datetime64, (N,).
        classes: Further parts of the values that are scored alone: (N,) bool by name.
        block_days: Length of a block.
        draws: Resampled series.
        seed: Of the draws.

    Returns:
        For 'all', each season and each class with values: the metrics, and with `_lower` and `_upper` their intervals
        where four days or more have values.
    """
    season = season_numbers(days)
    parts = {"all": np.ones(truth.shape, bool)} | {n: season == k for k, n in enumerate(SEASONS)} | dict(classes or {})
    # differences stay, and variances from sums of squares keep their digits
    middle = float(truth.mean(dtype=np.float64)) if truth.size else 0.0
    table = {}
    for name, chosen in parts.items():
        if chosen.any():
            values = estimate[chosen].astype(np.float64) - middle, truth[chosen].astype(np.float64) - middle
            table[name] = _scores(*values, days[chosen], block_days, draws, seed)
    return table


def _scores(
    estimate: np.ndarray, truth: np.ndarray, days: np.ndarray, block_days: int, draws: int, seed: int
) -> dict[str, float]:
    there, number = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    by_day = bin_statistics(error_statistics(estimate, truth), number.reshape(-1), len(there))
    found = metrics(by_day.total())
    row = {name: float(found[theirs]) for name, theirs in SHOWN.items()} | {"n": int(found["n"])}
    if len(there) >= LEAST_DAYS:
        step = float(np.median(np.diff(there).astype(int)))
        rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed, 2])
        drawn = moving_blocks(len(there), max(1, round(block_days / step)), draws, rng)
        # metrics of a resampled series come of sums over its days
        resampled = metrics(State(by_day.sum[drawn].sum(1), by_day.weight[drawn].sum(1)))
        for name, theirs in SHOWN.items():
            # a class with one value has no r
            values = resampled[theirs][np.isfinite(resampled[theirs])]
            if values.size:
                low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                row |= {f"{name}_lower": float(low), f"{name}_upper": float(high)}
    return row


def rows_text(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return scores as a table in text."""
    lines = [f"{'':16}" + "".join(f"{name:>10}" for name in (*SHOWN, "N"))]
    for name, row in table.items():
        values = "".join(f"{row[n]:>{10}.{3 if n in ('r', 'r2') else 4}f}" for n in SHOWN)
        lines.append(f"{name:16}{values}{row['n']:>10}")
    return "\n".join(lines)
