"""A cube as a fitted model expects it: in the units of its training, and with values in the range of its training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sgdsm.core.cube import SAMPLED, step_days
from sgdsm.core.errors import CubeError
from sgdsm.core.io.lazy import changed, in_place_of
from sgdsm.core.logging import log
from sgdsm.core.units import conversion, is_difference, moisture_bounds, water_factor
from sgdsm.core.validation import check_values, file_of

DAYS = 16  # maps that are read to estimate the range of a variable
MARGIN = 0.1  # of the width of a range: values so far outside are still like it
SMALL = 0.03  # of the largest value in training: where nearly all values are smaller, the units are in doubt


def units_of(variable: xr.DataArray) -> str | None:
    """Return the units of a variable of a cube; None where the file had none.

    Args:
        variable: Variable of a cube.
    """
    return None if "units_missing" in variable.attrs else str(variable.attrs.get("units", "1"))


def in_units_of(cube: xr.Dataset, wanted: Mapping[str, str | None], whose: str) -> xr.Dataset:
    """Convert variables of a cube to the units that a model was fitted in, as they are read.

    What is converted, and which units are missing on one side, is logged. Values are checked for undeclared fill
    values before they are converted, as afterwards -9999 degC would be a number like any other.

    Args:
        cube: Cube, whose values are not read yet.
        wanted: Units by the name of a variable; None where they were not known.
        whose: Origin of these units, in messages, like "training".

    Returns:
        The cube with lazily converted variables.

    Raises:
        CubeError: Units do not convert; names the variable and both units. Later, as values are read: an undeclared
            fill value.
    """
    converted = {}
    for name, units in wanted.items():
        variable = cube[name]
        own_units = units_of(variable)
        if own_units is None or units is None:
            if own_units is not units:
                known = (
                    f"in {whose} they are '{units}'"
                    if own_units is None
                    else f"{whose} had none, here they are '{own_units}'"
                )
                log.info("'%s' is taken as it is: units are missing on one side (%s)", name, known)
            continue
        factor, offset = _conversion(variable, own_units, units, whose)
        if (factor, offset) != (1.0, 0.0):
            log.info("'%s' is converted from '%s' to '%s', the units of %s", name, own_units, units, whose)
            converted[name] = _converted(variable, factor, offset, units)
    return cube.assign(converted)


def _conversion(variable: xr.DataArray, found: str, wanted: str, whose: str) -> tuple[float, float]:
    try:
        return conversion(found, wanted, is_difference(variable.attrs))
    except CubeError as error:
        factor = _water_factor(variable, found, wanted)
        if factor is not None:
            return factor, 0.0
        raise CubeError(
            f"{file_of(variable)}'{variable.name}' is in '{found}', expected '{wanted}' as in {whose}: {error}"
        ) from error


def _water_factor(variable: xr.DataArray, found: str, wanted: str) -> float | None:
    """Return the factor between a rate and an amount a map of a variable that is a flux of water, else None."""
    about = " ".join(str(variable.attrs.get(key, "")) for key in ("quantity", "standard_name", "long_name")).lower()
    # metres a second are wind too
    flux = any(word in about for word in ("precipitation", "rain", "snowfall", "evapo", "runoff"))
    if not flux and not all("mm" in units or "kg" in units for units in (found, wanted)):
        return None
    return water_factor(found, wanted, step_days(variable["time"]) if "time" in variable.dims else 1)


def _converted(variable: xr.DataArray, factor: float, offset: float, units: str) -> xr.DataArray:
    def convert(values: np.ndarray) -> np.ndarray:
        check_values(variable, values)
        # in float64: a kelvin has few digits left in float32
        return (values.astype(np.float64) * factor + offset).astype(values.dtype)

    new = changed(variable.variable, convert)
    new.attrs = {**variable.attrs, "units": units}
    if "valid_range" in new.attrs:
        new.attrs["valid_range"] = np.sort(np.asarray(new.attrs["valid_range"], float) * factor + offset)
    return in_place_of(variable, new)


def warn_ranges(cube: xr.Dataset, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Log a warning for each variable of which more than half lies outside the range of its training values.

    Args:
        cube: Cube in the units of the training; some of its maps are read.
        ranges: By the name of a variable: the 1 % and 99 % quantiles of its training values.
    """
    for name, (low, high) in ranges.items():
        values = _some(cube[name])
        margin = MARGIN * (high - low)
        outside = (values < low - margin) | (values > high + margin)
        if values.size and outside.mean() > 0.5:
            first, last = np.quantile(values, (0.01, 0.99))
            log.warning(
                "'%s': %.0f %% of the values lie outside what the model has learned from: here %.4g to %.4g [%s], "
                "there %.4g to %.4g; are the units right? Estimates and intervals may be wrong",
                name, 100 * outside.mean(), first, last, units_of(cube[name]) or "no units", low, high,
            )  # fmt: skip


def check_target(target: xr.DataArray, units: str | None, lowest: float, highest: float) -> None:
    """Compare the values of a target with those that a model was trained on.

    A warning is logged where the units are in doubt: more than half of the values outside of the training values, or
    nearly all of them far smaller (shares of 1 that are called percent).

    Args:
        target: Target in the units of the training, (T, H, W); some of its maps are read.
        units: Units of the training; None where they were not known.
        lowest: Smallest training value.
        highest: Largest training value.

    Raises:
        CubeError: The file gives no units, and the bulk of the values is not possible in those of the training.
    """
    values = _some(target)
    if not values.size:
        return
    first, middle, last = np.quantile(values, (0.01, 0.5, 0.99))
    bounds = None if units is None else moisture_bounds(units)
    if units_of(target) is None and bounds is not None and not bounds[0] <= middle <= bounds[1]:
        raise CubeError(
            f"{file_of(target)}target '{target.name}' has no units and values from {first:.4g} to {last:.4g} (median "
            f"{middle:.4g}), which cannot be in '{units}', the units of training: give it the attribute units"
        )
    outside = float(((values < lowest) | (values > highest)).mean())
    if outside > 0.5 or last < SMALL * highest:
        log.warning(
            "target '%s': values from %.4g to %.4g [%s], in training from %.4g to %.4g [%s]: ARE THE UNITS RIGHT? "
            "Estimates and intervals may be wrong",
            target.name, first, last, units_of(target) or "no units", lowest, highest, units or "no units",
        )  # fmt: skip


def _some(variable: xr.DataArray) -> np.ndarray:
    """Return the finite values of some maps of a variable, (N,) float64."""
    if "time" in variable.dims:
        count = variable.sizes["time"]
        variable = variable.isel(time=np.unique(np.linspace(0, count - 1, DAYS).astype(int)))
    rows = variable.dims[-2]
    step = max(1, int(variable.size / SAMPLED))
    values = np.asarray(variable.isel({rows: slice(None, None, step)}).values, np.float64)
    return values[np.isfinite(values)]
