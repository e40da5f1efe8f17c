"""Zones of a grid: thirds of its land cells by aridity and by air temperature, from meteorology alone.

Aridity is mean precipitation over mean potential evaporation where that is known, else the index of de Martonne
(La Meteorologie 2, 449, 1926): annual precipitation in mm / (mean air temperature in degC + 10).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import xarray as xr

from sgdsm.core.cube import CubeError, time_chunks
from sgdsm.core.units import conversion, per_day
from sgdsm.core.validation import read_values

ARIDITY = ("dry_zone", "moist_zone", "wet_zone")
TEMPERATURE = ("cold_zone", "mild_zone", "warm_zone")
AIR_NAMES = ("air_temperature", "t2m", "2m_temperature", "temperature_2m", "tas", "tair")
DEMAND_NAMES = ("potential_evaporation", "potential_evapotranspiration", "pet", "pev", "evspsblpot")
DEMAND_STANDARD = ("water_potential_evaporation_flux", "water_potential_evaporation_amount")
DAYS_PER_YEAR = 365.25


def air_temperature_of(dataset: xr.Dataset) -> str | None:
    """Name of the daily air temperature, if one is told by its name or its `standard_name` and has known units."""
    return _told(dataset, AIR_NAMES, ("air_temperature",), in_celsius)


def potential_evaporation_of(dataset: xr.Dataset) -> str | None:
    """Name of the daily potential evaporation, if one is told by its name or its `standard_name`, in known units."""
    return _told(dataset, DEMAND_NAMES, DEMAND_STANDARD, per_day)


def mean_map(variable: xr.DataArray) -> xr.DataArray:
    """Mean over time of what is there, float64, NaN where nothing is; reads a part of the days at a time.

    Raises CubeError for infinite values and undeclared fill values.
    """
    variable = variable.transpose("time", ...)
    total, count = np.zeros(variable.shape[1:]), np.zeros(variable.shape[1:])
    for days in time_chunks(variable):
        values = read_values(variable[days])
        total += np.nansum(values, 0, dtype=np.float64)
        count += np.isfinite(values).sum(0)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return variable.isel(time=0, drop=True).copy(data=mean)


def aridity(rain: np.ndarray, demand: np.ndarray | None, air: np.ndarray | None) -> np.ndarray | None:
    """Index of aridity (H, W), small where dry, NaN where it is not defined; None where it cannot be known.

    rain, demand: mean precipitation and potential evaporation, mm a day. air: mean air temperature, degC; the index
    of de Martonne is not defined at -10 degC and below.
    """
    if demand is not None:
        # some products count what leaves the ground as negative
        over, under = rain, abs(demand)
    elif air is not None:
        over, under = rain * DAYS_PER_YEAR, air + 10
    else:
        return None
    found: np.ndarray = np.divide(over, under, out=np.full(rain.shape, np.nan), where=under > 0)
    return found


def thirds(index: np.ndarray, land: np.ndarray, names: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """Masks (H, W) of the cells below, between and above the terciles of an index over land.

    Every cell with an index is in one of them, off land too. Cells on a tercile are in the middle, and so are all of
    them where they are alike. Nothing where no land cell has an index.
    """
    known = np.isfinite(index)
    if not (known & land).any():
        return {}
    low, high = np.quantile(index[known & land], (1 / 3, 2 / 3))
    below, above = index < low, index > high
    return dict(zip(names, (below, known & ~below & ~above, above), strict=True))


def in_celsius(units: object) -> tuple[float, float] | None:
    """Factor and offset that make degC of a temperature; None for other units."""
    try:
        return conversion(units, "degC")
    except CubeError:
        return None


def _told(
    dataset: xr.Dataset, names: Collection[str], standard: Collection[str], known: Callable[[object], object]
) -> str | None:
    daily = {
        str(n): v
        for n, v in dataset.data_vars.items()
        if "time" in v.dims
        and v.ndim == 3
        and isinstance(units := v.attrs.get("units"), str)
        and known(units) is not None
    }
    # by name first: the day's lowest and highest temperature may have the standard name too
    named = [n for n in daily if n.lower() in names]
    told = [*named, *(n for n, v in daily.items() if v.attrs.get("standard_name") in standard)]
    return told[0] if told else None
