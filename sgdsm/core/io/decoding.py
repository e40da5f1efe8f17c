"""Decoding of CF attributes: numbers that were written as text, and valid ranges in the units of the values.

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
from sgdsm.core.io.lazy import changed, in_place_of
from sgdsm.core.logging import log

FILLS = ("_FillValue", "missing_value")
BOUNDS = ("valid_min", "valid_max", "valid_range")
NUMBERS = ("scale_factor", "add_offset", *FILLS, *BOUNDS)
MASKED = "sgdsm_valid_range"  # key of the encoding of a variable that is NaN outside of these bounds
EXACT = 4 * float(np.finfo(np.float32).eps)  # share of a bound, and of an offset: what float32 rounds


def decode(raw: xr.Dataset, zero_is_value: bool = False) -> xr.Dataset:
    """Decode a Dataset that was opened with `decode_cf=False`, lazily.

    Args:
        raw: The Dataset.
        zero_is_value: Ignore a fill value of 0, which Zarr v2 stores have where nobody chose one.

    Raises:
        CubeError: An attribute that should hold a number does not.
    """
    for name, variable in raw.variables.items():
        variable.attrs = numeric_attributes(variable.attrs, variable.dtype, str(name))
        # a longitude of 0 is a place, whatever the store says
        if (zero_is_value or name in raw.dims) and is_zero(variable.attrs.get("_FillValue")):
            del variable.attrs["_FillValue"]
    return xr.decode_cf(raw)


def zero_filled(raw: xr.Dataset) -> list[str]:
    """Return the names of the variables of an undecoded Dataset whose zeros count as missing, sorted.

    Args:
        raw: Dataset that was opened with `decode_cf=False`.
    """
    # a store lists its variables in any order
    return sorted(str(n) for n, v in raw.variables.items() if n not in raw.dims and is_zero(v.attrs.get("_FillValue")))


def numeric_attributes(attributes: Mapping[str, Any], dtype: np.dtype, name: str) -> dict[str, Any]:
    """Return the attributes of a numeric variable, with numbers for those that are text; empty text is left out.

    Args:
        attributes: Attributes as the file has them.
        dtype: Type of the numbers in the file.
        name: Name of the variable, for messages.

    Raises:
        CubeError: The text is no number; names the attribute.
    """
    numeric = dict(attributes)
    if dtype.kind not in "iufb":
        return numeric
    for key in NUMBERS:
        text = numeric.get(key)
        if isinstance(text, np.ndarray) and text.dtype.kind in "SUO":
            text = " ".join(t.decode() if isinstance(t, bytes) else str(t) for t in text.ravel())
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if not isinstance(text, str):
            continue
        if not text.strip():
            del numeric[key]
            continue
        numbers = _read(text, key, name)
        # a fill value is compared with the packed numbers, in their type
        if key in FILLS:
            numbers = numbers.astype(dtype)
        if key != "valid_range" and numbers.size > 1 and key != "missing_value":
            raise CubeError(f"variable '{name}': {key}='{text}' holds {numbers.size} numbers, expected one")
        numeric[key] = numbers if numbers.size > 1 else numbers[0]
    return numeric


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
    """Return the smallest and the largest valid value of a variable, in the units of its unpacked values.

    Of packed integers, bounds of an integer type count in packed numbers, floating-point bounds in unpacked ones
    (NetCDF User Guide).

    Args:
        attributes: Attributes with `valid_range`, `valid_min` or `valid_max`.
        dtype: Type of the numbers in the file.
        packing: Mapping with `scale_factor`, `add_offset` and `_Unsigned`; by default `attributes`.
        name: Name of the variable, for messages.

    Returns:
        The two bounds, infinite on a side without one; None if there are no bounds.

    Raises:
        CubeError: The bounds are not numbers, or no range.
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
    # one floating-point bound is enough: both are then in unpacked units
    integers = all(bound is None or bound.dtype.kind in "iu" for bound in given)
    low, high = _unpacked(numbers, dtype, packing) if integers and dtype.kind in "iu" else numbers
    if low is not None and high is not None and low > high:
        raise CubeError(f"variable '{name}': valid_min={low:g} is above valid_max={high:g}")
    return -np.inf if low is None else low, np.inf if high is None else high


def _unpacked(numbers: list[float | None], dtype: np.dtype, packing: Mapping[str, Any]) -> list[float | None]:
    """Return bounds of packed integers in the units of the unpacked values, the smaller one first."""
    unsigned = str(packing.get("_Unsigned", "")).lower() == "true"
    # netCDF-3 has no unsigned types: codes above the largest signed one are stored as negative numbers
    wrap = 2.0 ** (8 * dtype.itemsize) if unsigned else 0.0
    scale, offset = float(packing.get("scale_factor", 1.0)), float(packing.get("add_offset", 0.0))
    ends = [None if n is None else (n + wrap if n < 0 else n) * scale + offset for n in numbers]
    return ends if scale > 0 else ends[::-1]


def limits_of(variable: xr.DataArray) -> tuple[float, float] | None:
    """Return `valid_limits` of a variable that xarray has decoded.

    Bounds that count in packed numbers are not applied where the packing is lost: a warning names them.

    Args:
        variable: Decoded variable; the packing is in its encoding.

    Returns:
        Smallest and largest valid value in the units of the values, or None.

    Raises:
        CubeError: The bounds are not numbers, or no range.
    """
    attributes, packing = variable.attrs, variable.encoding
    dtype = np.dtype(packing.get("dtype", variable.dtype))
    narrow = [np.asarray(attributes[k]).dtype for k in BOUNDS if k in attributes]
    packed = "scale_factor" in packing or "add_offset" in packing
    if dtype.kind == "f" and not packed and any(t.kind in "iu" and t.itemsize <= 2 for t in narrow):
        # values were unpacked elsewhere, and what they were packed by is not known
        given = ", ".join(f"{k}={np.asarray(attributes[k]).tolist()}" for k in BOUNDS if k in attributes)
        log.warning(
            "'%s': %s is not applied: it counts in packed numbers, and scale_factor and add_offset of the file are "
            "lost; give the variable a valid_range in the units of its values", variable.name, given,
        )  # fmt: skip
        return None
    attributes = numeric_attributes(attributes, variable.dtype, str(variable.name))
    return valid_limits(attributes, dtype, packing, str(variable.name))


def only_valid(variable: xr.DataArray) -> xr.DataArray:
    """Return a variable with NaN outside its valid range, lazily.

    Args:
        variable: Decoded variable.

    Returns:
        A new variable, or `variable` itself where it declares no range, holds flags, or is masked already.

    Raises:
        CubeError: The bounds are not numbers, or no range.
    """
    # valid_range of flags lists codes, and bit masks may be negative
    codes = any(key in variable.attrs for key in ("flag_masks", "flag_values", "flag_meanings"))
    if variable.dtype.kind not in "iuf" or (codes and variable.dtype.kind in "iu"):
        return variable
    limits = limits_of(variable)
    if limits is None or variable.encoding.get(MASKED) == limits:
        return variable
    return within(variable, limits)


def within(variable: xr.DataArray, limits: tuple[float, float]) -> xr.DataArray:
    """Return a variable with NaN outside of two bounds, lazily; its `valid_range` is these bounds.

    Args:
        variable: Decoded variable.
        limits: Smallest and largest valid value, in the units of the values.
    """
    offset = float(variable.encoding.get("add_offset", 0.0))
    new = changed(variable.variable, lambda values: only_within(values.copy(), limits, offset))
    new.attrs = {k: v for k, v in variable.attrs.items() if k not in BOUNDS}
    new.attrs["valid_range"] = np.array(limits)
    new.encoding[MASKED] = limits
    return in_place_of(variable, new)


def only_within(values: np.ndarray, limits: tuple[float, float], offset: float = 0.0) -> np.ndarray:
    """Set values outside of two bounds to NaN, in place.

    Args:
        values: Floating-point values of any shape.
        limits: Smallest and largest valid value, in the units of the values.
        offset: `add_offset` that they were unpacked with, whose rounding remains where the sum is near 0.

    Returns:
        `values`.
    """
    # each bound has a rounding of its own: of (0, 1e6) the lower one is exact
    low, high = (EXACT * max(abs(bound), abs(offset)) if np.isfinite(bound) else 0.0 for bound in limits)
    with np.errstate(invalid="ignore"):
        values[(values < limits[0] - low) | (values > limits[1] + high)] = np.nan
    return values


def as_decoded(variable: xr.DataArray) -> xr.DataArray:
    """Return a variable of a Dataset that was opened elsewhere, decoded where xarray has not done it.

    Args:
        variable: Variable whose attributes may still hold a packing (`mask_and_scale=False`), or whose numbers were
            written as text.

    Raises:
        CubeError: An attribute that should hold a number is text, and xarray has decoded the variable without it.
    """
    if variable.dtype.kind not in "iufb":
        return variable
    for key in (*FILLS, "scale_factor", "add_offset"):
        text = variable.encoding.get(key)
        if isinstance(text, str | bytes) and text.strip():
            raise CubeError(
                f"variable '{variable.name}': {key}={text!r} is text, which xarray does not apply: open the file with "
                "sgdsm.open_cube, or make the attribute a number"
            )
    if not any(key in variable.attrs for key in (*FILLS, "scale_factor", "add_offset")):
        return variable
    attributes = numeric_attributes(variable.attrs, variable.dtype, str(variable.name))
    if variable.dtype.kind == "f" and attributes.keys() & {"scale_factor", "add_offset"}:
        raise CubeError(
            f"variable '{variable.name}' holds {variable.dtype} numbers and the attributes of packed ones: expected "
            "values without scale_factor and add_offset, once these are applied"
        )
    raw = xr.Variable(variable.dims, variable.variable._data, attributes, variable.encoding)
    try:
        # units of days are no lengths of time here
        decoded = xr.conventions.decode_cf_variable(str(variable.name), raw, decode_times=False, decode_timedelta=False)
    except ValueError as error:
        raise CubeError(f"variable '{variable.name}' cannot be decoded by its attributes: {error}") from error
    log.info(
        "'%s' is decoded by its attributes: %s", variable.name, ", ".join(sorted(decoded.encoding.keys() & NUMBERS))
    )
    return in_place_of(variable, decoded)


def is_zero(value: Any) -> bool:
    """Return True if a fill value is the number 0."""
    return (
        value is not None
        and np.asarray(value).dtype.kind in "iuf"
        and np.asarray(value).size == 1
        and float(value) == 0
    )
