"""Checking the values of variables as they are read: undeclared fill values, and values that the units cannot mean.

What a file declares (`_FillValue`, `missing_value`, `valid_range`) is NaN before; this module finds what it does not
declare, which a model would take for measurements.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.core.units import is_difference, moisture_bounds, normal

NEGATIVE_FILLS = (-999.0, -9999.0, -99999.0, -32767.0, -32768.0, -999.9, -9999.9, -99999.9)
LARGEST_CODES = (255.0, 65535.0, 32767.0, 2147483647.0, 4294967295.0)  # of unsigned and signed integers
LARGEST = 1e19  # no measurement is larger; netCDF's default fill value is 9.97e36
OFTEN, LEAST = 0.01, 3  # share and number of the values from which a suspicious one is a fill value
FAR = 2.0  # widths of the bulk of the values that a fill value lies away from it
BULK = (0.01, 0.99)  # quantiles
SLACK = 0.05  # of the range that units can mean: what noise and corrections go beyond it
BEYOND = 1e-4  # of that range: what packing and float32 round
ALONE = 0.9  # share of the values beyond a bound that one value has which is no noise
TINY_GAP = 0.05  # of the range of the others: a value so near to them belongs to them
CLASSES = 50  # most classes of a map; whole numbers of fewer values may be codes
CONTINUOUS = 20  # distinct values from which a variable may be continuous
WHOLES = (1.0, 100.0)  # the whole of a share: of water, of forest, of sand
ZERO_FAR = 5.0  # ranges of the others: nearer to them, zeros are dry or snow-free
SAMPLE = 10**6


def read_values(variable: xr.DataArray) -> np.ndarray:
    """Read a variable, or a part of it.

    Args:
        variable: Variable of a cube, of any shape.

    Returns:
        Its values, float32 in its shape, NaN where missing.

    Raises:
        CubeError: Values are infinite or an undeclared fill value, or soil moisture is beyond what its units can mean.
    """
    values = np.asarray(variable.values, dtype=np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        where = np.unravel_index(infinite.argmax(), values.shape)
        place = ", ".join(
            f"{dim} {str(variable[dim].values[i])[: 10 if dim == 'time' else 20]}"
            for dim, i in zip(variable.dims, where, strict=True)
        )
        raise CubeError(
            f"{file_of(variable)}variable '{variable.name}' has {int(infinite.sum())} infinite values, the first at "
            f"{place}"
        )
    check_values(variable, values)
    return values


def check_values(variable: xr.DataArray, values: np.ndarray) -> None:
    """Raise CubeError for undeclared fill values and, of a target, values that its units cannot mean.

    Args:
        variable: Variable whose name, file and attributes count.
        values: Values of it or of a part of it, in the units of its attributes, of any shape.

    Raises:
        CubeError: Naming the file, the variable, the value and how often it occurs.
    """
    if not values.size:
        return
    lowest, highest = (float(extreme.reduce(values, axis=None)) for extreme in (np.fmin, np.fmax))
    if not math.isfinite(lowest):
        return
    sample = _Sample(values, lowest, highest)
    for value in (lowest, highest):
        # infinite values have an error of their own, see `read_values`
        if math.isfinite(value) and (_is_code(value, sample) or _is_isolated(value, sample, variable)):
            raise CubeError(_fill_message(variable, values, value))
    if variable.attrs.get("role") == "target":
        refuse_beyond_units(variable, values, lowest, highest)


def refuse_beyond_units(variable: xr.DataArray, values: np.ndarray, lowest: float, highest: float) -> None:
    """Raise CubeError where values of soil moisture are beyond what the variable's units can mean.

    Noise may go a little beyond. One value that makes up nearly all that is beyond is a fill value.

    Args:
        variable: The target; its attribute `units` counts.
        values: Values of it or of a part of it.
        lowest: Smallest of the values.
        highest: Largest of the values.

    Raises:
        CubeError: Naming the file, the variable, its units and the share of the values.
    """
    units = variable.attrs.get("units")
    bounds = None if units is None or "units_missing" in variable.attrs else moisture_bounds(units)
    if bounds is None or not np.isfinite(lowest):
        return
    width = bounds[1] - bounds[0]
    known = int(np.isfinite(values).sum())
    for value, beyond in (
        (lowest, values < bounds[0] - BEYOND * width),
        (highest, values > bounds[1] + BEYOND * width),
    ):
        count = int((values[beyond] == value).sum())
        if count >= max(LEAST, OFTEN * known) and count >= ALONE * beyond.sum():
            raise CubeError(_fill_message(variable, values, value))
    if lowest >= bounds[0] - SLACK * width and highest <= bounds[1] + SLACK * width:
        return
    outside = int(((values < bounds[0]) | (values > bounds[1])).sum())
    said = (
        f"{file_of(variable)}'{variable.name}' is in '{units}', but {outside} of {known} values "
        f"({outside / known:.2%}) lie outside {bounds[0]:g} to {bounds[1]:g}; they go from {lowest:g} to {highest:g}: "
    )
    if bounds[1] == 1 and lowest >= 0 and highest <= 100 and outside > known / 2:
        raise CubeError(f"{said}percent, it seems: set the attribute units to '%'")
    raise CubeError(
        f"{said}mend or remove the attribute units (an anomaly or an optical depth is no share of water), or "
        f"{_cure(variable)}"
    )


def _fill_message(variable: xr.DataArray, values: np.ndarray, value: float) -> str:
    count = int((values == value).sum())
    return (
        f"{file_of(variable)}variable '{variable.name}' holds {value:g} {count} times: a fill value that the "
        f"file does not declare; set its attribute _FillValue, or {_cure(variable)}"
    )


def _cure(variable: xr.DataArray) -> str:
    if variable.attrs.get("role") != "target":
        return "its attribute valid_range, or make them NaN"
    low, high = moisture_bounds(variable.attrs.get("units", "1")) or (0, 1)
    pair = f"valid_range=[{low:g},{high:g}]"
    return (
        f"say data.{pair} (describe: {pair}, Python: valid_range=({low:g}, {high:g})), or give the variable "
        "the attribute valid_range: what lies outside becomes gaps"
    )


class _Sample:
    """At most about SAMPLE finite values, and how one of the extremes lies to the others.

    Args:
        values: Values of any shape, at least one finite.
        lowest: Smallest of the values.
        highest: Largest of the values.
    """

    def __init__(self, values: np.ndarray, lowest: float, highest: float) -> None:
        flat = values.ravel()
        some = flat[:: max(1, flat.size // SAMPLE)]
        self.known = some[np.isfinite(some)]
        self.lowest, self.highest = lowest, highest

    def count(self, value: float) -> int:
        """Return how often a value occurs."""
        return int((self.known == value).sum())

    def is_frequent(self, value: float) -> bool:
        """Return True if a value occurs several times, and on more than OFTEN of the values."""
        count = self.count(value)
        return count >= LEAST and count > OFTEN * self.known.size

    def others(self, value: float) -> np.ndarray:
        """Return the values without one of the extremes."""
        return self.known[self.known != value]

    def between(self, value: float) -> np.ndarray:
        """Return the values without one of the extremes, and without the other extreme where that is frequent too."""
        others = self.others(value)
        opposite = self.highest if value == self.lowest else self.lowest
        rest = others[others != opposite]
        return rest if rest.size and self.is_frequent(opposite) else others


def _is_code(value: float, sample: _Sample) -> bool:
    """Return True if an extreme looks like a number that people write for 'missing', and is one.

    The usual negative codes are always one, but where a whole field reaches down to them. Others are one where they
    are frequent and far from the bulk of the values, with no tail of values on the way to them.
    """
    if abs(value) > LARGEST:
        return True
    if float(f"{value:.7g}") in NEGATIVE_FILLS:
        others = sample.others(value)
        if not others.size or sample.is_frequent(value):
            return True
        return float(others.min()) - value > TINY_GAP * float(others.max() - others.min())
    if not looks_like_fill(value):
        return False
    if not sample.others(value).size:
        return abs(value) > 1e9 or value < 0
    if not sample.is_frequent(value):
        return False
    others = sample.between(value)
    low, high = (float(edge) for edge in np.quantile(others, BULK))
    if value == 255 and others.min() == others.max() == 0:
        return False  # a mask of bytes
    # of values that hardly differ, a fifth of their size
    width = max(high - low, 0.2 * max(abs(low), abs(high)))
    edge = low if value < low else high
    if abs(value - edge) <= FAR * width or low <= value <= high:
        return False
    # a cap of a long tail has values on the way to it
    on_the_way = others[others < edge] if value < low else others[others > edge]
    steps = np.diff(np.sort(np.concatenate([on_the_way.astype(np.float64), [edge, value]])))
    return bool(steps.max() > 0.5 * abs(value - edge))


def _is_isolated(value: float, sample: _Sample, variable: xr.DataArray) -> bool:
    """Return True if an extreme is one frequent number that is farther from all others than these are apart.

    Classes, masks and the zeros of rain and snow are no fill values: the others must be many different numbers, and
    zeros count in units that have no zero in nature, or very far from the others.
    """
    if value in WHOLES or not sample.is_frequent(value):
        return False
    others = sample.between(value).astype(np.float64)
    if not others.size:
        return False
    low, high = float(others.min()), float(others.max())
    gap = low - value if value < low else value - high
    least = high - low
    if value == 0 and not _has_no_zero(variable):
        least *= ZERO_FAR
        if sample.count(value) > 0.5 * sample.known.size or variable.attrs.get("quantity") == "precipitation":
            return False
    if gap <= least:
        return False
    if sample.lowest == 0 and value > high and float(f"{value:.1g}") == value:
        return False  # an amount that is capped at a round number, as the snow of ERA5 on glaciers, 10 m
    distinct = np.unique(others)
    codes = bool((distinct == np.round(distinct)).all()) and distinct.size <= CLASSES
    return distinct.size >= CONTINUOUS and not codes


def _has_no_zero(variable: xr.DataArray) -> bool:
    """Return True if zeros cannot occur: of an absolute temperature."""
    return normal(variable.attrs.get("units")) == "K" and not is_difference(variable.attrs)


def looks_like_fill(value: float) -> bool:
    """Return True if a number is one that people write for 'missing'.

    These are nines, powers of ten, and the largest code of an integer.

    Args:
        value: A finite number.
    """
    size = float(f"{abs(value):.6g}")
    nines = size >= 99 and set(f"{size:.10g}") <= {"9", "."}
    power = size >= 1e5 and abs(math.log10(size) - round(math.log10(size))) < 1e-6
    return nines or power or size in {float(f"{code:.6g}") for code in LARGEST_CODES}


def file_of(variable: xr.DataArray) -> str:
    """Return 'FILE: ' as the head of a message on a variable, '' where its file is not known.

    Args:
        variable: Variable, whose encoding may name its source.
    """
    source = variable.encoding.get("source")
    return f"{source}: " if source else ""
