"""Reading the values of variables: what is missing, what is no value, and which file it is of."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from sgdsm.core.cube import CubeError
from sgdsm.core.units import moisture_bounds

NEGATIVE_FILLS = (-999.0, -9999.0, -99999.0, -32767.0, -32768.0, -999.9, -9999.9, -99999.9)
LARGEST_CODES = (255.0, 65535.0, 32767.0, 2147483647.0, 4294967295.0)  # of unsigned and signed integers
OFTEN = 0.01  # share of the values from which a suspicious one is a fill value
FAR = 2.0  # widths of the bulk of the values that a fill value lies away from it
BULK = (0.01, 0.99)
SLACK = 0.05  # of the range that units can mean: what noise and corrections go beyond it
SAMPLE = 10**6


def read_values(variable: xr.DataArray) -> np.ndarray:
    """Values of a variable, float32, NaN = missing.

    Raises CubeError for infinite values, undeclared fill values, and soil moisture that its units cannot mean.
    """
    values = np.asarray(variable.values, dtype=np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        where = np.unravel_index(infinite.argmax(), values.shape)
        place = ", ".join(
            f"{dim} {str(variable[dim].values[i])[: 10 if dim == 'time' else 20]}"
            for dim, i in zip(variable.dims, where, strict=True)
        )
        found = f"{int(infinite.sum())} infinite values, the first at {place}"
        raise CubeError(f"{file_of(variable)}variable '{variable.name}' has {found}")
    check_values(variable, values)
    return values


def check_values(variable: xr.DataArray, values: np.ndarray) -> None:
    """Raise CubeError for undeclared fill values and, of a target, values that its units cannot mean.

    values: of the variable or of a part of it.
    """
    if not values.size:
        return
    lowest, highest = (float(extreme.reduce(values, axis=None)) for extreme in (np.fmin, np.fmax))
    for value in (lowest, highest):
        if _is_fill(value, values):
            count = int((values == np.float32(value)).sum())
            raise CubeError(
                f"{file_of(variable)}variable '{variable.name}' holds {value:g} {count} times: a fill value that the "
                f"file does not declare; set its attribute _FillValue, or {_cure(variable)}"
            )
    if variable.attrs.get("role") == "target":
        refuse_beyond_units(variable, values, lowest, highest)


def refuse_beyond_units(variable: xr.DataArray, values: np.ndarray, lowest: float, highest: float) -> None:
    """Raise CubeError where values of soil moisture are beyond what the variable's units can mean.

    lowest, highest: of the values.
    """
    units = variable.attrs.get("units")
    bounds = None if units is None or "units_missing" in variable.attrs else moisture_bounds(units)
    if bounds is None or not np.isfinite(lowest):
        return
    slack = SLACK * (bounds[1] - bounds[0])
    if lowest >= bounds[0] - slack and highest <= bounds[1] + slack:
        return
    beyond = int(((values < bounds[0]) | (values > bounds[1])).sum())
    known = int(np.isfinite(values).sum())
    raise CubeError(
        f"{file_of(variable)}'{variable.name}' is in '{units}', but {beyond} of {known} values ({beyond / known:.2%}) "
        f"lie outside {bounds[0]:g} to {bounds[1]:g}; they go from {lowest:g} to {highest:g}: mend the units, or "
        f"{_cure(variable)}"
    )


def _cure(variable: xr.DataArray) -> str:
    if variable.attrs.get("role") != "target":
        return "its attribute valid_range, or make them NaN"
    low, high = moisture_bounds(variable.attrs.get("units", "1")) or (0, 1)
    return (
        f"say data.valid_range=[{low:g},{high:g}] (valid_range=({low:g}, {high:g}) in Python), or give the variable "
        "the attribute valid_range: what lies outside becomes gaps"
    )


def _is_fill(value: float, values: np.ndarray) -> bool:
    """Whether the smallest or largest value stands for 'missing': the usual codes always, what looks like one where it
    is frequent and far from the others."""
    if not math.isfinite(value):
        return False
    if float(f"{value:.7g}") in NEGATIVE_FILLS or abs(value) > 1e19:
        return True
    if not looks_like_fill(value):
        return False
    known = values[np.isfinite(values)]
    known = known[:: max(1, known.size // SAMPLE)]
    others = known[known != np.float32(value)]
    if others.size > (1 - OFTEN) * known.size:
        return False
    if not others.size:
        return abs(value) > 1e9 or value < 0
    low, high = np.quantile(others, BULK)
    # of values that hardly differ, a fifth of their size
    width = max(float(high - low), 0.2 * float(max(abs(low), abs(high))))
    return bool(value < low - FAR * width or value > high + FAR * width)


def looks_like_fill(value: float) -> bool:
    """Whether a number is one that people write for 'missing': nines, powers of ten, the largest code of an integer."""
    size = float(f"{abs(value):.6g}")
    nines = size >= 99 and set(f"{size:.10g}") <= {"9", "."}
    power = size >= 1e5 and abs(math.log10(size) - round(math.log10(size))) < 1e-6
    return nines or power or size in {float(f"{code:.6g}") for code in LARGEST_CODES}


def file_of(variable: xr.DataArray) -> str:
    """The file that a variable comes from, as the head of a message; '' where that is not known."""
    source = variable.encoding.get("source")
    return f"{source}: " if source else ""
