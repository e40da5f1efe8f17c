"""Scores of fine maps, such as of 10 m, beside the truth and beside the bilinear coarse map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sgdsm.evaluation.metrics import State, error_statistics, metrics
from sgdsm.evaluation.rows import SHOWN

AT_ONCE = 2**17  # values whose statistics are in memory
BILINEAR = "bilinear"


def fine_states(truth: np.ndarray, estimates: Mapping[str, np.ndarray]) -> dict[str, State]:
    """Return the sums that scores of maps are made of; those of several days add up.

    Args:
        truth: (H, W); NaN where unknown.
        estimates: By name, (H, W) in the same units; pixels that one of them lacks are left out of all.
    """
    known = np.isfinite(truth)
    for values in estimates.values():
        known &= np.isfinite(values)
    reference = truth[known]
    found = {}
    for name, values in estimates.items():
        chosen, state = values[known], State.zeros()
        for start in range(0, len(reference), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            statistics = error_statistics(chosen[part], reference[part])
            state = state + State(statistics.sum(0), np.asarray(float(len(statistics))))
        found[name] = state
    return found


def fine_scores(states: Mapping[str, State], reference: str = BILINEAR) -> dict[str, dict[str, float]]:
    """Return RMSE, ubRMSE, MD (estimate minus truth), r, R2, N, and the ubRMSE over that of the bilinear coarse map.

    Args:
        states: By name, of the same pixels.
        reference: Which of them is the bilinear map.

    Returns:
        By name; `ratio` is below 1 where an estimate tells more than the coarse map.
    """
    table = {}
    for name, state in states.items():
        found = metrics(state)
        table[name] = {key: float(found[theirs]) for key, theirs in SHOWN.items()} | {"n": int(found["n"])}
    for row in table.values():
        row["ratio"] = row["ubrmse"] / table[reference]["ubrmse"]
    return table
