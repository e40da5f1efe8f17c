"""A cube as a fitted model expects it: in its units, and with values like those that the model learned from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sgdsm.core.cube import SAMPLED, CubeError, log
from sgdsm.core.io.lazy import changed
from sgdsm.core.units import conversion
from sgdsm.core.validation import file_of

DAYS = 16  # maps that are looked at for the range of a variable
MARGIN = 0.1  # of the width of a range: what lies so far outside is still like it


def units_of(variable: xr.DataArray) -> str | None:
    """Units of a variable of a cube; None where the file had none."""
    return None if "units_missing" in variable.attrs else str(variable.attrs.get("units", "1"))


def in_units_of(cube: xr.Dataset, wanted: Mapping[str, str | None], whose: str) -> xr.Dataset:
    """The cube with variables converted, as they are read, to the units that a model was fitted in.

    wanted: units by the name of a variable; None where they were not known. whose: of the units, in messages. What is
    converted, and which units are missing on one side, is logged.

    Raises CubeError naming the variable and both units where they do not convert.
    """
    found = {}
    for name, units in wanted.items():
        variable = cube[name]
        here = units_of(variable)
        if here is None or units is None:
            if here is not units:
                known = (
                    f"in {whose} they are '{units}'" if here is None else f"{whose} had none, here they are '{here}'"
                )
                log.info("'%s' is taken as it is: units are missing on one side (%s)", name, known)
            continue
        try:
            factor, offset = conversion(here, units)
        except CubeError as error:
            raise CubeError(
                f"{file_of(variable)}'{name}' is in '{here}', expected '{units}' as in {whose}: {error}"
            ) from error
        if (factor, offset) != (1.0, 0.0):
            log.info("'%s' is converted from '%s' to '%s', the units of %s", name, here, units, whose)
            found[name] = _converted(variable, factor, offset, units)
    return cube.assign(found)


def _converted(variable: xr.DataArray, factor: float, offset: float, units: str) -> xr.DataArray:
    # in float64: a kelvin has few digits left in float32
    new = changed(variable.variable, lambda v: (v.astype(np.float64) * factor + offset).astype(v.dtype))
    new.attrs = {**variable.attrs, "units": units}
    if "valid_range" in new.attrs:
        new.attrs["valid_range"] = np.sort(np.asarray(new.attrs["valid_range"], float) * factor + offset)
    return xr.DataArray(new, variable.coords, name=variable.name)


def warn_ranges(cube: xr.Dataset, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Log a warning for each variable of which more than half lies outside the range that a model has learned from.

    ranges: by the name of a variable: the 1 % and 99 % quantiles of its training values. Some maps are looked at.
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


def _some(variable: xr.DataArray) -> np.ndarray:
    """Finite values of some maps of a variable."""
    if "time" in variable.dims:
        count = variable.sizes["time"]
        variable = variable.isel(time=np.unique(np.linspace(0, count - 1, DAYS).astype(int)))
    rows = variable.dims[-2]
    step = max(1, int(variable.size / SAMPLED))
    values = np.asarray(variable.isel({rows: slice(None, None, step)}).values, np.float64)
    return values[np.isfinite(values)]
