"""Rows of predictors and target at 1 km, from a cube or a table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, check_cube
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log
from sgdsm.core.memory import check_fits

MOST_CLASSES = 20  # values of a flag that scores are told by


@dataclass(frozen=True)
class Rows:
    """Values of a target with their predictors, all finite.

    Attributes:
        values: Predictors, (N, P) float32.
        truth: Target, (N,) float32.
        days: datetime64[D], (N,).
        flags: Classes by name, (N,); NaN where unknown.
        predictors: Names of the columns.
        units: Of predictors, by name; '1' where the file had none.
        sources: Attribute `source` of predictors, by name; '' where unknown.
        target: Name of the target.
        target_units: Of the target.
    """

    values: np.ndarray
    truth: np.ndarray
    days: np.ndarray
    flags: dict[str, np.ndarray]
    predictors: list[str]
    units: dict[str, str]
    sources: dict[str, str]
    target: str
    target_units: str

    def classes(self) -> dict[str, np.ndarray]:
        """Return for each value of each flag the rows that have it, (N,) bool, by names like 'crop=2'."""
        found: dict[str, np.ndarray] = {}
        for name, values in self.flags.items():
            known = np.unique(values[np.isfinite(values)])
            if len(known) > MOST_CLASSES:
                log.warning("'%s' has %d values: scores are not told by it", name, len(known))
                continue
            found |= {f"{name}={value:g}": values == value for value in known}
        return found

    def digest(self) -> str:
        """Return a digest of names, days and values."""
        found = hashlib.sha256(repr((self.predictors, self.units, self.target, self.target_units)).encode())
        for array in (self.values, self.truth, self.days.astype(int)):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]


def rows_of(data: xr.Dataset) -> Rows:
    """Return the rows of a cube (T, H, W), or of a table, where target and all predictors are finite.

    Args:
        data: Cube, or a Dataset with the dim `row` and the same roles.

    Raises:
        CubeError: There is no predictor, or no row is complete.
        ConfigError: The rows do not fit into memory.
    """
    if "row" not in data.dims:
        check_cube(data)
    (target,) = by_role(data, "target")
    predictors = [*by_role(data, "dynamic"), *by_role(data, "static")]
    if not predictors:
        raise CubeError("the data have no predictors: name them, like data.dynamic=[..] data.static=[..]")
    shape = data[target].shape
    check_fits("data", data[target].size * (len(predictors) + 2), "select a smaller region, or fewer days, with a copy")
    columns = [_spread(data[name], data[target]) for name in (target, *predictors)]
    complete = np.isfinite(columns[0])
    for column in columns[1:]:
        complete &= np.isfinite(column)
    if not complete.any():
        empty = next((n for n, c in zip((target, *predictors), columns, strict=True) if not np.isfinite(c).any()), None)
        why = f"'{empty}' has no values" if empty else "never are all of them known together"
        raise CubeError(f"no row has the target and all of {', '.join(predictors)}: {why}")
    days = np.broadcast_to(data["time"].values.astype("datetime64[D]").reshape(-1, *[1] * (len(shape) - 1)), shape)[
        complete
    ]
    values = np.stack([column[complete] for column in columns[1:]], -1)
    units = {name: str(data[name].attrs.get("units", "1")) for name in predictors}
    for k, name in enumerate(predictors):
        if units[name] == "dB" and values[:, k].min() >= 0:
            raise ConfigError(f"'{name}' has no value below 0 dB: is it power? dB are 10 log10 of it")
    return Rows(
        values,
        columns[0][complete],
        days,
        {name: _spread(data[name], data[target])[complete] for name in by_role(data, "flag")},
        predictors,
        units,
        {name: str(data[name].attrs.get("source", "")) for name in predictors},
        target,
        str(data[target].attrs.get("units", "1")),
    )


def _spread(variable: xr.DataArray, target: xr.DataArray) -> np.ndarray:
    """Return a variable in the shape of the target, float32."""
    dims = [dim for dim in target.dims if dim in variable.dims]
    values = variable.transpose(*dims).values.astype(np.float32)
    kept = tuple(slice(None) if dim in dims else None for dim in target.dims)
    spread: np.ndarray = np.broadcast_to(values[kept], target.shape)
    return spread
