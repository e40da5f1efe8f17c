"""Anomaly skill: the correlation R of a filled file, and R after the seasonal cycle is taken away.

Reads files only. The cycle of each cell (mean and two harmonics, `normalization.Climatology`) is fitted to the values
that the scored run was trained with. It is subtracted from the truth and from the estimate alike. CASM (Skulovich and
Gentine, Sci. Data 10, 154, 2023) reports both correlations too; its cycle has one harmonic, fitted to all values.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import CubeError
from sgdsm.data.normalization import CellStatistics, Climatology
from sgdsm.data.record import day_numbers
from sgdsm.evaluation.protocol import FILLED, HIDDEN, VISIBLE


def score_run(evaluation: Path) -> dict[str, float]:
    """Return scores at the hidden values of a run.

    Args:
        evaluation: Folder of the files that the run was scored with.

    Returns:
        `n`, `r`, `r_residual` (R without the seasonal cycle), `rmse` and `bias`, the last two in the target's units.

    Raises:
        CubeError: If the grids differ, or a hidden value is not filled.
    """
    with open_dataset(evaluation / HIDDEN) as hidden:
        truth = hidden["truth"].load()
        masks = [
            hidden[n].values.astype(bool) for n in hidden.data_vars if hidden[n].dims == truth.dims and n != "truth"
        ]
    return _scores(evaluation / FILLED, truth, np.logical_or.reduce(masks), evaluation)


def score_file(
    filled: Path, truth: Path, variable: str, where: str, cycle: Path, estimate: str = "sm_filled", time: str = ":"
) -> dict[str, float]:
    """Return scores of a filled file against a variable of another file.

    Args:
        filled: The filled file.
        truth: The other file.
        variable: Of `truth`, that the estimates are compared to.
        where: Another variable of `truth`. Values are scored where both variables have one.
        cycle: Evaluation folder of the run whose training values give the seasonal cycle.
        estimate: Variable of `filled`.
        time: First and last day, like `2015-01-01:`.

    Returns:
        As `score_run`.

    Raises:
        CubeError: If a file lacks a variable, the grids differ, or a value to score is not filled.
    """
    with open_dataset(truth) as source:
        missing = [n for n in (variable, where) if n not in source]
        if missing:
            raise CubeError(f"{truth}: no variable {missing[0]!r}")
        first, _, last = time.partition(":")
        with open_dataset(filled) as product:
            days = product["time"].sel(time=slice(first or None, last or None)).values
        if not np.isin(days, source["time"].values).all():
            raise CubeError(f"{filled}: has days that {truth} lacks")
        wanted, present = (source[n].sel(time=days).load() for n in (variable, where))
    mask = np.isfinite(wanted.values) & np.isfinite(present.values)
    return _scores(filled, wanted, mask, cycle, estimate)


def cycle_of(evaluation: Path, like: xr.DataArray) -> Climatology:
    """Return the seasonal cycle of the values that a run was trained with.

    Args:
        evaluation: Folder of the files that the run was scored with.
        like: A variable, (T, H, W), whose grid the cycle must have.

    Raises:
        CubeError: If the grid differs, or if the files do not say which values the run was trained with.
    """
    with open_dataset(evaluation / HIDDEN) as hidden, open_dataset(evaluation / VISIBLE) as visible:
        if "learned" not in visible:
            raise CubeError(f"{evaluation / VISIBLE}: does not say what was learned from: score the run again")
        _check_grid(hidden["truth"], like, evaluation / HIDDEN, like.dims[1:])
        known = visible["learned"].values.astype(bool)
        # only training values: a cycle of the scored ones would know the answer
        values = np.where(known, hidden["truth"].values, 0)
        return CellStatistics.of(values, known, day_numbers(hidden["time"])).solve()


def format_scores(scores: dict[str, dict[str, float]]) -> str:
    """Return scores as text, a line for each, six decimals."""
    width = max(map(len, scores))
    head = f"{'':{width}}  {'N':>8} {'R':>9} {'R resid.':>9} {'RMSE':>9} {'bias':>9}"
    lines = [
        f"{name:{width}}  {s['n']:8.0f} {s['r']:9.6f} {s['r_residual']:9.6f} {s['rmse']:9.6f} {s['bias']:+9.6f}"
        for name, s in scores.items()
    ]
    return "\n".join([head, *lines])


def _scores(
    filled: Path, truth: xr.DataArray, mask: np.ndarray, cycle: Path, name: str = "sm_filled"
) -> dict[str, float]:
    """Return the scores of a variable of a filled file where `mask`, (T, H, W) bool."""
    with open_dataset(filled) as product:
        if name not in product:
            raise CubeError(f"{filled}: no variable '{name}'")
        variable = product[name]
        # the file may hold more days; one that lacks some ends in the error of the grid
        if truth["time"].isin(variable["time"]).all():
            variable = variable.sel(time=truth["time"])
        _check_grid(variable, truth, filled, truth.dims)
        estimate = variable.values
    # fewer values would make another score, not a comparable one
    missing = int((mask & ~np.isfinite(estimate)).sum())
    if missing:
        raise CubeError(f"{filled}: {name} has no value at {missing} of the {int(mask.sum())} values to score")
    if mask.sum() < 2:
        raise CubeError(f"{filled}: nothing to score: fewer than two values are wanted")
    seasonal = cycle_of(cycle, truth).at(day_numbers(truth["time"]))[mask].astype(np.float64)
    q, t = estimate[mask].astype(np.float64), truth.values[mask].astype(np.float64)
    return {
        "n": float(mask.sum()),
        "r": float(np.corrcoef(q, t)[0, 1]),
        "r_residual": float(np.corrcoef(q - seasonal, t - seasonal)[0, 1]),
        "rmse": float(np.sqrt(np.mean((q - t) ** 2))),
        "bias": float(np.mean(q - t)),
    }


def _check_grid(array: xr.DataArray, expected: xr.DataArray, name: Path, dims: tuple[Hashable, ...]) -> None:
    if array.dims != expected.dims:
        raise CubeError(f"{name}: dimensions {array.dims}, expected {expected.dims}")
    for dim in dims:
        if not np.array_equal(array[dim].values, expected[dim].values):
            raise CubeError(f"{name}: '{dim}' differs from that of the truth")
