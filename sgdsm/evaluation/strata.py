"""Strata of a grid: thirds of its land cells by aridity and by air temperature, named classes of a map, and cell areas.

The thirds are from meteorology alone.

Aridity is mean precipitation over mean potential evaporation where that is known, else the index of de Martonne
(La Meteorologie 2, 449, 1926): annual precipitation in mm / (mean air temperature in degC + 10).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import xarray as xr

from sgdsm.core.cube import time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.units import conversion, per_day
from sgdsm.core.validation import CLASSES, read_values
from sgdsm.evaluation.scored_files import ScoredFile, places

ARIDITY = ("dry_zone", "moist_zone", "wet_zone")
TEMPERATURE = ("cold_zone", "mild_zone", "warm_zone")
AIR_NAMES = ("air_temperature", "t2m", "2m_temperature", "temperature_2m", "tas", "tair")
DEMAND_NAMES = ("potential_evaporation", "potential_evapotranspiration", "pet", "pev", "evspsblpot")
DEMAND_STANDARD = ("water_potential_evaporation_flux", "water_potential_evaporation_amount")
DAYS_PER_YEAR = 365.25


def air_temperature_of(dataset: xr.Dataset) -> str | None:
    """Return the name of the daily air temperature, found by its name or `standard_name`; None if there is none.

    Args:
        dataset: Variables on (time, y, x); one whose units are not known does not count.
    """
    return _name_of(dataset, AIR_NAMES, ("air_temperature",), in_celsius)


def potential_evaporation_of(dataset: xr.Dataset) -> str | None:
    """Return the name of the daily potential evaporation, found as in `air_temperature_of`; None if there is none."""
    return _name_of(dataset, DEMAND_NAMES, DEMAND_STANDARD, per_day)


def mean_map(variable: xr.DataArray) -> xr.DataArray:
    """Return the mean over time, (H, W) float64, NaN where there is no value.

    Args:
        variable: With the dim time, (T, H, W) in any order; a part of the days is read at a time.

    Raises:
        CubeError: If there are infinite values or undeclared fill values.
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
    """Return an index of aridity, (H, W), small where dry, NaN where it is not defined.

    Args:
        rain: Mean precipitation, (H, W), mm d-1.
        demand: Mean potential evaporation, (H, W), mm d-1, of either sign, if known.
        air: Mean air temperature, (H, W), degC, if known. It is used where `demand` is not known; the index of de
            Martonne is not defined at -10 degC and below.

    Returns:
        The index, 1 or mm degC-1; None where neither `demand` nor `air` is known.
    """
    if demand is not None:
        # in some products fluxes away from the ground are negative
        over, under = rain, abs(demand)
    elif air is not None:
        over, under = rain * DAYS_PER_YEAR, air + 10
    else:
        return None
    index: np.ndarray = np.divide(over, under, out=np.full(rain.shape, np.nan), where=under > 0)
    return index


def thirds(index: np.ndarray, land: np.ndarray, names: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """Return masks of the cells below, between and above the terciles of an index over land.

    Every cell with an index is in one of them, cells off land too. A cell on a tercile is in the middle, and so are
    all cells where they are equal.

    Args:
        index: (H, W), NaN where it is not defined.
        land: Which cells are land, (H, W) bool.
        names: Of the three strata, lowest index first.

    Returns:
        Name -> mask, (H, W) bool; empty where no land cell has an index.
    """
    known = np.isfinite(index)
    if not (known & land).any():
        return {}
    # terciles of land alone: the sea would shift them
    low, high = np.quantile(index[known & land], (1 / 3, 2 / 3))
    below, above = index < low, index > high
    return dict(zip(names, (below, known & ~below & ~above, above), strict=True))


def split_name(classes: str) -> tuple[str, str]:
    """Return the file and the variable of `classes=FILE:variable`.

    Raises:
        ConfigError: If it is anything else.
    """
    path, colon, name = classes.rpartition(":")
    if not (path and colon and name) or "/" in name:
        raise ConfigError(f"classes={classes}: expected FILE:variable, like landcover.nc:land_cover")
    return path, name


def class_map(source: ScoredFile, name: str, place: xr.DataArray) -> dict[str, np.ndarray]:
    """Return the masks of the classes of a map, of land cover or climate, on another grid.

    Each cell has the class of the nearest cell of the map, and none where it lies outside of it.

    Args:
        source: File of the map.
        name: Variable of whole numbers, (H', W'); CF's `flag_values` and `flag_meanings` name its classes.
        place: A variable on the grid, (H, W).

    Returns:
        'variable=class' -> mask, (H, W) bool, of the classes that have cells.

    Raises:
        CubeError: If there is no such variable, or it is no map of classes.
    """
    codes = source.variable(name).squeeze()
    if set(codes.dims) != set(place.dims):
        raise CubeError(f"{source.name}: '{name}' has dims {codes.dims}, expected a map with {place.dims}")
    row, column = (_nearest(codes[dim].values, place[dim].values, str(dim)) for dim in place.dims)
    nearest = codes.transpose(*place.dims).values[np.ix_(row, column)].astype(np.float64)
    values = np.where((row >= 0)[:, None] & (column >= 0), nearest, np.nan)
    found = np.unique(values[np.isfinite(values)])
    if len(found) > CLASSES or (found != np.round(found)).any():
        raise CubeError(
            f"{source.name}: '{name}' has {len(found)} different values, like {found[0]:g}: expected a map of at most "
            f"{CLASSES} classes, whole numbers"
        )
    names = flag_names(codes.attrs)
    return {f"{name}={names.get(int(code), str(int(code)))}": values == code for code in found}


def _nearest(centres: np.ndarray, wanted: np.ndarray, dim: str) -> np.ndarray:
    """Return the index of the cell that holds each place along an axis, -1 outside of the cells."""
    steps = abs(np.diff(np.sort(centres.astype(np.float64))))
    # the widest cell decides, and a little for rounding
    return places(centres, wanted, dim, 0.51 * float(steps.max()) if steps.size else None)


def flag_names(attributes: Mapping[str, object]) -> dict[int, str]:
    """Return code -> name of the classes that CF's `flag_values` and `flag_meanings` name; empty without them."""
    meanings, codes = str(attributes.get("flag_meanings", "")).split(), attributes.get("flag_values")
    if not meanings or codes is None:
        return {}
    try:
        numbers = np.array(codes.replace(",", " ").split() if isinstance(codes, str) else codes, np.float64).ravel()
    except (TypeError, ValueError):
        return {}
    return {int(code): meaning for code, meaning in zip(numbers, meanings, strict=False)}


def cell_areas(place: xr.DataArray) -> np.ndarray:
    """Return the area of each cell, (H, W), over the mean of all.

    On a grid of latitude and longitude it is exact on the sphere, and on a regular one the cosine of the latitude.
    Projected grids are taken for equal-area ones, as EASE-Grid 2.0 is: the area there is height times width.

    Args:
        place: A variable on the grid, (H, W), dims lat, lon or y, x.
    """
    heights, widths = (_edges(place[dim].values.astype(np.float64), str(dim)) for dim in place.dims)
    area = np.outer(heights, widths)
    weights: np.ndarray = area / area.mean()
    return weights


def _edges(centres: np.ndarray, dim: str) -> np.ndarray:
    """Return the widths of cells along an axis, of latitudes those of the sine, whose centres are given."""
    if len(centres) < 2:
        return np.ones(len(centres))
    # longitudes may jump from 360 to 0
    centres = np.unwrap(centres, period=360) if dim == "lon" else centres
    order = np.argsort(centres)
    middle = (centres[order][1:] + centres[order][:-1]) / 2
    ends = 2 * centres[order][[0, -1]] - middle[[0, -1]]
    edges = np.concatenate([ends[:1], middle, ends[1:]])
    if dim == "lat":
        edges = np.sin(np.deg2rad(edges.clip(-90, 90)))
    widths = np.empty(len(centres))
    widths[order] = np.diff(edges)
    return widths


def in_celsius(units: object) -> tuple[float, float] | None:
    """Return factor and offset that convert a temperature to degC; None for other units."""
    try:
        return conversion(units, "degC")
    except CubeError:
        return None


def _name_of(
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
    by_name = [n for n in daily if n.lower() in names]
    candidates = [*by_name, *(n for n, v in daily.items() if v.attrs.get("standard_name") in standard)]
    return candidates[0] if candidates else None
