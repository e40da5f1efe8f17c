"""Reading the values of variables: what is missing, what is no value, and which file it is of."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sgdsm.cube import CubeError

NEGATIVE_FILLS = (-999.0, -9999.0, -99999.0, -32767.0, -32768.0)


def read_values(variable: xr.DataArray) -> np.ndarray:
    """Values of a variable, float32, NaN = missing; CubeError for infinite ones and undeclared fill values."""
    values = np.asarray(variable.values, dtype=np.float32)
    refuse_fill_values(variable, values)
    infinite = np.isinf(values)
    if infinite.any():
        where = np.unravel_index(infinite.argmax(), values.shape)
        place = ", ".join(
            f"{dim} {str(variable[dim].values[i])[: 10 if dim == 'time' else 20]}"
            for dim, i in zip(variable.dims, where, strict=True)
        )
        found = f"{int(infinite.sum())} infinite values, the first at {place}"
        raise CubeError(f"{file_of(variable)}variable '{variable.name}' has {found}")
    return values


def refuse_fill_values(variable: xr.DataArray, values: np.ndarray) -> None:
    """Raise CubeError where the smallest or the largest value is one that files use for 'missing'."""
    for extreme in (np.fmin, np.fmax):
        value = float(extreme.reduce(values, axis=None)) if values.size else 0.0
        if value in NEGATIVE_FILLS or 1e19 < value < np.inf:
            raise CubeError(
                f"{file_of(variable)}variable '{variable.name}' holds {value:g} {int((values == value).sum())} times: "
                "a fill value that the file does not declare; set its attribute _FillValue, or make them NaN"
            )


def file_of(variable: xr.DataArray) -> str:
    """The file that a variable comes from, as the head of a message; '' where that is not known."""
    source = variable.encoding.get("source")
    return f"{source}: " if source else ""
