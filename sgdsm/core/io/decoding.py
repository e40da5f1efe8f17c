"""CF attributes as they are meant: numbers that were written as text, and valid ranges in the units of the values.

Facts: CF conventions 1.11, sections 2.5.1 (missing data) and 8.1 (packed data); NetCDF User Guide, "Best practices",
on the type of `valid_range`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.core.io.lazy import changed

FILLS = ("_FillValue", "missing_value")
BOUNDS = ("valid_min", "valid_max", "valid_range")
NUMBERS = ("scale_factor", "add_offset", *FILLS, *BOUNDS)
EXACT = 1e-6  # of a bound: what float32 rounds


def decode(raw: xr.Dataset, zero_is_value: bool = False) -> xr.Dataset:
    """Decode a Dataset that was opened with `decode_cf=False`, lazily.

    zero_is_value: whether a fill value of 0 is to be ignored: Zarr v2 stores have it where nobody chose one.

    Raises CubeError for an attribute that should hold a number and does not.
    """
    for name, variable in raw.variables.items():
        variable.attrs = numeric_attributes(variable.attrs, variable.dtype, str(name))
        # a longitude of 0 is a place, whatever the store says
        if (zero_is_value or name in raw.dims) and _is_zero(variable.attrs.get("_FillValue")):
            del variable.attrs["_FillValue"]
    return xr.decode_cf(raw)


def zero_filled(raw: xr.Dataset) -> list[str]:
    """Variables of an undecoded Dataset whose zeros count as missing."""
    return [str(n) for n, v in raw.variables.items() if n not in raw.dims and _is_zero(v.attrs.get("_FillValue"))]


def numeric_attributes(attributes: Mapping[str, Any], dtype: np.dtype, name: str) -> dict[str, Any]:
    """The attributes of a numeric variable, with numbers for those that are written as text; empty text is left out.

    Raises CubeError naming an attribute whose text is no number.
    """
    found = dict(attributes)
    if dtype.kind not in "iufb":
        return found
    for key in NUMBERS:
        text = found.get(key)
        if isinstance(text, np.ndarray) and text.dtype.kind in "SUO":
            text = " ".join(t.decode() if isinstance(t, bytes) else str(t) for t in text.ravel())
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if not isinstance(text, str):
            continue
        if not text.strip():
            del found[key]
            continue
        numbers = _read(text, key, name)
        if key in FILLS:
            numbers = numbers.astype(dtype)
        if key != "valid_range" and numbers.size > 1 and key != "missing_value":
            raise CubeError(f"variable '{name}': {key}='{text}' holds {numbers.size} numbers, expected one")
        found[key] = numbers if numbers.size > 1 else numbers[0]
    return found


def _read(text: str, key: str, name: str) -> np.ndarray:
    words = re.split(r"[\s,;]+", text.strip().strip("[]()"))
    try:
        # whole numbers stay so: valid ranges of integers count in packed numbers
        whole = all(re.fullmatch(r"[+-]?\d+", word) for word in words) and key in BOUNDS
        return np.array([int(word) if whole else float(word.rstrip("fFdD") or "none") for word in words])
    except ValueError as error:
        raise CubeError(
            f"variable '{name}': {key}='{text[:60]}' is no number: mend the attribute in the file"
        ) from error


def valid_limits(
    attributes: Mapping[str, Any], dtype: np.dtype, packing: Mapping[str, Any] | None = None, name: str = ""
) -> tuple[float, float] | None:
    """Smallest and largest valid value of a variable, in the units of its unpacked values; None where nothing is said.

    attributes: hold `valid_range`, `valid_min` or `valid_max`. dtype: of the numbers as they lie in the file. packing:
    holds `scale_factor`, `add_offset` and `_Unsigned`, by default `attributes`. Of packed integers, bounds of an
    integer type count in packed numbers, floating-point bounds in unpacked ones (NetCDF User Guide).

    Raises CubeError for bounds that are none.
    """
    packing = attributes if packing is None else packing
    pair = [attributes.get("valid_min"), attributes.get("valid_max")]
    if "valid_range" in attributes:
        pair = list(np.atleast_1d(attributes["valid_range"]))
        if len(pair) != 2:
            raise CubeError(f"variable '{name}': valid_range={attributes['valid_range']!r}: expected two numbers")
    if pair == [None, None]:
        return None
    try:
        given = [None if bound is None else np.asarray(bound).reshape(()) for bound in pair]
        numbers = [None if bound is None else float(bound) for bound in given]
    except (ValueError, TypeError) as error:
        raise CubeError(f"variable '{name}': valid_min, valid_max = {pair}: expected numbers") from error
    integers = all(bound is None or bound.dtype.kind in "iu" for bound in given)
    low, high = _unpacked(numbers, dtype, packing) if integers and dtype.kind in "iu" else numbers
    if low is not None and high is not None and low > high:
        raise CubeError(f"variable '{name}': valid_min={low:g} is above valid_max={high:g}")
    return -np.inf if low is None else low, np.inf if high is None else high


def _unpacked(numbers: list[float | None], dtype: np.dtype, packing: Mapping[str, Any]) -> list[float | None]:
    """Bounds of packed integers in the units of the unpacked values, the smaller one first."""
    unsigned = str(packing.get("_Unsigned", "")).lower() == "true"
    wrap = 2.0 ** (8 * dtype.itemsize) if unsigned else 0.0
    scale, offset = float(packing.get("scale_factor", 1.0)), float(packing.get("add_offset", 0.0))
    ends = [None if n is None else (n + wrap if n < 0 else n) * scale + offset for n in numbers]
    return ends if scale > 0 else ends[::-1]


def limits_of(variable: xr.DataArray) -> tuple[float, float] | None:
    """`valid_limits` of a variable that xarray has decoded."""
    attributes, packing = variable.attrs, variable.encoding
    dtype = np.dtype(packing.get("dtype", variable.dtype))
    narrow = [np.asarray(attributes[k]).dtype for k in BOUNDS if k in attributes]
    packed = "scale_factor" in packing or "add_offset" in packing
    if dtype.kind == "f" and not packed and any(t.kind in "iu" and t.itemsize <= 2 for t in narrow):
        return None  # bounds of packed numbers, of values that were unpacked elsewhere
    attributes = numeric_attributes(attributes, variable.dtype, str(variable.name))
    return valid_limits(attributes, dtype, packing, str(variable.name))


def only_valid(variable: xr.DataArray) -> xr.DataArray:
    """The variable with NaN outside its valid range, lazily; itself where it declares none, or holds flags."""
    codes = any(key in variable.attrs for key in ("flag_masks", "flag_values", "flag_meanings"))
    if variable.dtype.kind not in "iuf" or (codes and variable.dtype.kind in "iu"):
        return variable
    limits = limits_of(variable)
    return variable if limits is None else within(variable, limits)


def within(variable: xr.DataArray, limits: tuple[float, float]) -> xr.DataArray:
    """The variable with NaN outside of two bounds, lazily; `valid_range` tells them in the units of the values."""
    found = changed(variable.variable, lambda values: only_within(values.copy(), limits))
    found.attrs = {k: v for k, v in variable.attrs.items() if k not in BOUNDS}
    found.attrs["valid_range"] = np.array(limits)
    return xr.DataArray(found, variable.coords, name=variable.name)


def only_within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Set values outside of two bounds to NaN, in place."""
    rounding = EXACT * max((abs(bound) for bound in limits if np.isfinite(bound)), default=0.0)
    with np.errstate(invalid="ignore"):
        values[(values < limits[0] - rounding) | (values > limits[1] + rounding)] = np.nan
    return values


def _is_zero(value: Any) -> bool:
    return (
        value is not None
        and np.asarray(value).dtype.kind in "iuf"
        and np.asarray(value).size == 1
        and float(value) == 0
    )
