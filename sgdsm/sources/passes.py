"""Morning and evening passes of a satellite: which files to use, and their mean on a day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.sources.files import SourceError
from sgdsm.sources.names import Reason


def check_overpass(product: str, overpass: str) -> None:
    """Raises SourceError where an option `overpass` is none of am, pm and both."""
    if overpass not in ("am", "pm", "both"):
        raise SourceError(f"{product}: overpass '{overpass}', expected am, pm or both")


def of_overpass(product: str, paths: Sequence[Path], overpass: str, names: dict[str, str], one: str) -> list[Path]:
    """The files of an overpass; names: the regular expression that names of files match, for am and pm. one: its groups
    in a name tell which pass it is.

    Raises SourceError where there are none, or two of the same pass (their mean would be taken).
    """
    check_overpass(product, overpass)
    found = [p for p in paths if overpass == "both" or re.search(names[overpass], p.name)]
    if not found:
        raise SourceError(f"{product}: none of the {len(paths)} files is of overpass '{overpass}': {paths[0]}")
    seen: dict[tuple[str, ...], Path] = {}
    for path in found:
        match = re.search(one, path.name)
        # a name that tells no date is refused where dates are looked for
        if match and seen.setdefault(match.groups(), path) != path:
            raise SourceError(f"{path} and {seen[match.groups()]}: both hold one pass, expected one file")
    return found


def mean_of_passes(passes: list[xr.Dataset]) -> xr.Dataset:
    """Passes over the same grid on a day as one map: the mean of the observed values of a cell.

    Where none is observed, all variables are of the pass that tells most: a rejected value, or else a reason. So are
    flags everywhere. The error of a mean is the mean of the errors: those of the passes are not independent.
    """
    best = passes[0].copy(deep=True)
    merit = _merit(passes[0])
    for other in passes[1:]:
        better = _merit(other) > merit
        merit = np.maximum(merit, _merit(other))
        for name in best.data_vars:
            best[name].values[better] = other[name].values[better]
    for name in {"sm", "sm_uncertainty"} & set(best.data_vars):
        total = np.zeros(best[name].shape)
        count = np.zeros(best[name].shape)
        for one in passes:
            used = (one["sm_reason"].values == Reason.OBSERVED) & np.isfinite(one[name].values)
            total[used] += one[name].values[used]
            count += used
        some = count > 0
        best[name].values[some] = total[some] / count[some]
    return best


def _merit(one: xr.Dataset) -> np.ndarray:
    """How much a pass tells of a cell: 3 = observed, 2 = a rejected value, 1 = why there is none, 0 = nothing."""
    reason = one["sm_reason"].values
    retrieved = np.isfinite(one["sm"].values)
    merit: np.ndarray = np.select([reason == Reason.OBSERVED, retrieved, reason != Reason.NO_DATA], [3, 2, 1], 0)
    return merit
