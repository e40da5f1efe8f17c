"""Soil moisture of a filled file beside that of stations: matching, subsets of days, metrics of stations and networks.

Files in, numbers out: the stations come as a Dataset, which the command reads by the product readers. Observed and
filled days are scored apart, because they are not the same days: filled ones are frosty, rainy or wintry. Their
difference is therefore given with both sides weighed to the same months too.

Source: Gruber et al., Remote Sens. Environ. 244, 111806, 2020 (validation practices); QA4SM (metrics and status).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import step_days
from sgdsm.core.days import SEASONS, season_numbers
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import FILLED, GAP_AGE, OBSERVED, OBSERVED_NAME, SM_LOWER, SM_SOURCE, SM_UPPER
from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM
from sgdsm.core.random import Stream
from sgdsm.core.units import conversion, normal
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.statistics import (
    block_copies,
    climatology_anomalies,
    fisher_mean,
    interval,
    moving_anomalies,
    p_value,
    pair_metrics,
    pearson,
)

AGES = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4_to_7": (4, 7), "8_or_more": (8, 10**6)}
# name: units and long name; `scaled` units are those of the stations
METRICS: dict[str, tuple[str, str]] = {
    "n": ("1", "number of pairs"),
    "r": ("1", "Pearson correlation"),
    "r_anomaly": ("1", "Pearson correlation of anomalies from a moving mean"),
    "r_climatology_anomaly": ("1", "Pearson correlation of anomalies from the mean of the time of the year"),
    "spearman": ("1", "Spearman rank correlation"),
    "rmsd": ("m3 m-3", "root mean square difference"),
    "ubrmsd": ("m3 m-3", "root mean square difference without bias"),
    "ubrmsd_anomaly": ("m3 m-3", "root mean square difference of anomalies from a moving mean, without bias"),
    "mae": ("m3 m-3", "mean absolute difference"),
    "bias": ("m3 m-3", "mean of product minus station"),
    "nse": ("1", "R2 with the station in the denominator: efficiency of Nash and Sutcliffe"),
    "mse": ("m6 m-6", "mean square difference"),
    "mse_corr": ("m6 m-6", "part of the mean square difference from imperfect correlation"),
    "mse_bias": ("m6 m-6", "part of the mean square difference from the bias"),
    "mse_var": ("m6 m-6", "part of the mean square difference from unequal spread"),
    "coverage": ("1", "share of the station's values inside the interval of the product"),
    "p_r": ("1", "significance of r for independent days: too small, days are alike"),
    "p_spearman": ("1", "significance of spearman for independent days: too small, days are alike"),
}
WITH_INTERVAL = (
    "r", "r_anomaly", "r_climatology_anomaly", "spearman", "rmsd", "ubrmsd", "ubrmsd_anomaly", "mae", "bias", "nse",
    "coverage",
)  # fmt: skip
CORRELATIONS = ("r", "r_anomaly", "r_climatology_anomaly", "spearman")
OK, FEW, FLAT, OUTSIDE, OFF_LAND, NO_DAYS = range(6)
STATUS = ("ok", "too_few_pairs", "no_spread", "outside_the_grid", "no_value_in_the_cell", "no_common_day")
DENSE = "dense cells"  # network of the means of cells with many stations
MINUS, SAME_MONTHS = " minus observed", ", same months"
NEAR = 5  # rows and columns around a station among which the nearest centre is looked for
HALF = 0.5  # of the days of a step, or of the stations of a cell, for a mean

Project = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Projection(NamedTuple):
    """How places of a projected grid and of stations become each other.

    Attributes:
        forward: (lat, lon) in degrees -> (y, x) in m.
        backward: (y, x) in m -> (lat, lon) in degrees.
    """

    forward: Project
    backward: Project


def nearest_cells(
    rows: np.ndarray, columns: np.ndarray, lat: np.ndarray, lon: np.ndarray, projection: Projection | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells whose centres are nearest on the sphere, and whether they hold the places.

    A cell ends half-way between its centre and the next one.

    Args:
        rows: Centres of the rows, degrees or m, (H,), rising or falling.
        columns: Centres of the columns, (W,).
        lat: Latitudes of the places, degrees, (S,).
        lon: Longitudes of the places, degrees, (S,).
        projection: Of a grid in m; None: degrees.

    Returns:
        Row and column (S,), distance to the centre in km (S,), and whether the place lies inside the cell (S,).
    """
    at_row, at_column = (lat, lon) if projection is None else projection.forward(lat, lon)
    count = len(lat)
    row, column, distance = np.zeros(count, int), np.zeros(count, int), np.full(count, np.inf)
    around_rows = _closest(rows, at_row, turn=None)
    around_columns = _closest(columns, at_column, turn=360.0 if projection is None else None)
    for i in around_rows.T:
        for j in around_columns.T:
            centre = (rows[i], columns[j]) if projection is None else projection.backward(rows[i], columns[j])
            far = distance_km(lat, lon, *centre)
            near = far < distance
            row, column, distance = np.where(near, i, row), np.where(near, j, column), np.where(near, far, distance)
    inside = abs(at_row - rows[row]) <= _half_width(rows)[row] * (1 + 1e-9)
    apart = at_column - columns[column]
    if projection is None:
        apart = (apart + 180) % 360 - 180
    inside &= abs(apart) <= _half_width(columns)[column] * (1 + 1e-9)
    return row, column, distance, inside


def _closest(centres: np.ndarray, wanted: np.ndarray, turn: float | None) -> np.ndarray:
    """Return the indices of the NEAR centres that are closest to each place, (S, at most NEAR)."""
    apart = centres[None, :].astype(np.float64) - wanted[:, None]
    if turn is not None:
        apart = (apart + turn / 2) % turn - turn / 2
    return np.argsort(abs(apart), axis=1, kind="stable")[:, :NEAR]


def _half_width(centres: np.ndarray) -> np.ndarray:
    """Return half of the distance to the nearer neighbour, (N,); in a lone row or column anything is inside."""
    if len(centres) < 2:
        return np.full(len(centres), np.inf)
    steps = abs(np.diff(centres.astype(np.float64)))
    # longitudes may jump from 359 to 0
    return np.minimum(np.r_[steps, np.inf], np.r_[np.inf, steps]) / 2


def distance_km(lat: Any, lon: Any, other_lat: Any, other_lon: Any) -> np.ndarray:
    """Return distances on the sphere in km between places in degrees (haversine)."""
    a, b, c, d = (np.deg2rad(np.asarray(v, np.float64)) for v in (lat, lon, other_lat, other_lon))
    half = np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2
    far: np.ndarray = 2 * MEAN_EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return far


def matched(
    product: xr.Dataset,
    stations: xr.Dataset,
    *,
    estimate: str = "sm_filled",
    observed: str | None = None,
    reasons: xr.Dataset | None = None,
    classes: xr.DataArray | None = None,
    max_distance_km: float | None = None,
    frozen_below: float | None = None,
    projection: Projection | None = None,
    any_units: bool = False,
    name: str = "filled=",
) -> xr.Dataset:
    """Return the series of the product and of the stations on their common days.

    Args:
        product: Filled file, dims time and lat, lon (or y, x).
        stations: `sm` (time, station) of every day, m3 m-3, with `lat`, `lon`, `network` and `depth_m`; perhaps
            `soil_temperature` (time, station) in degC and `sm_noise` (station).
        estimate: Variable of the product that is compared.
        observed: Variable whose finite values say which days were observed; by default `sm_source`, else the variable
            that the estimate names.
        reasons: Cube whose `sm_reason` says why values are missing, on the grid and days of the product.
        classes: Map of classes (land cover, climate); the nearest cell counts.
        max_distance_km: Largest distance of a cell's centre, which then need not hold the station.
        frozen_below: Soil temperature in degC at or below which a station's value is left out.
        projection: Of a grid in m.
        any_units: Take a product whose units are no share of volume: its values are to be scaled.
        name: Of the product, in messages.

    Returns:
        Dims (time, station): `estimate`, `in_situ`, `lower`, `upper`, `source` (0 none, 1 observed, 2 filled),
        `gap_age` in days, `reason` (index of `reason_names`, -1 none); coords of the stations, `status`, `cell_lat`,
        `cell_lon`, `distance_km`, `row`, `column`, `class`. Values of stations that are not matched are NaN.

    Raises:
        CubeError: A variable is missing, units do not fit, there is no common day, no station lies in the grid or none
            on land.
    """
    file = ScoredFile(product, name)
    values = file.variable(estimate)
    space = next((s for s in SPACE_DIMS if set(s) < set(values.dims)), None)
    if space is None or set(values.dims) != {"time", *space} or 0 in values.shape:
        raise CubeError(f"{name}: '{estimate}' has dims {dict(values.sizes)}, expected days and lat, lon (or y, x)")
    values = values.transpose("time", *space)
    if space != ("lat", "lon") and projection is None:
        raise CubeError(f"{name}: a grid in y and x without a CRS: nothing tells where its cells lie")
    factor = 1.0 if any_units else _to_volume(values, name)
    step = step_days(values["time"])
    days, at, station_sm, temperature = _common_days(values["time"].values, stations, step, name)
    lat, lon = (stations[axis].values.astype(np.float64) for axis in ("lat", "lon"))
    row, column, distance, inside = nearest_cells(
        values[space[0]].values, values[space[1]].values, lat, lon, projection
    )
    kept = inside if max_distance_km is None else distance <= max_distance_km
    status = np.where(kept, OK, OUTSIDE)
    if not kept.any():
        within = "inside a cell of the grid" if max_distance_km is None else f"within {max_distance_km:g} km of a cell"
        raise CubeError(
            f"{name}: none of {len(lat)} stations lies {within} ({_extent(lat, lon)}; the grid: "
            f"{_extent(*_corners(values, space, projection))}); the nearest centre is {distance.min():.0f} km away"
            + ("" if max_distance_km is not None else ": max_distance_km= takes cells whose centre is so near")
        )
    cells = {
        space[0]: xr.DataArray(row, dims="station"),
        space[1]: xr.DataArray(column, dims="station"),
        "time": xr.DataArray(at, dims="time"),
    }

    def picked(variable: xr.DataArray) -> np.ndarray:
        """Return the values of the cells, (T, S) float64, NaN at stations outside of the grid."""
        found: np.ndarray = variable.transpose("time", *space).isel(cells).transpose("time", "station").values
        return np.where(kept, found.astype(np.float64), np.nan)

    estimates = factor * picked(values)
    status[kept & ~np.isfinite(estimates).any(0)] = OFF_LAND
    if not (status == OK).any():
        raise CubeError(f"{name}: none of the cells of {int(kept.sum())} stations has a value: they are off land")
    source = _source(file, values, estimate, observed, picked)
    series = {
        "estimate": estimates,
        "in_situ": station_sm,
        "source": np.where(np.isfinite(estimates), source, 0),
        "lower": np.full(estimates.shape, np.nan),
        "upper": np.full(estimates.shape, np.nan),
        "gap_age": _gap_age(file, source, picked, step),
    }
    if temperature is not None and frozen_below is not None:
        series["in_situ"] = np.where(temperature <= frozen_below, np.nan, station_sm)
    for bound, variable in (("lower", SM_LOWER), ("upper", SM_UPPER)):
        if estimate == "sm_filled" and variable in product:
            series[bound] = factor * picked(file.variable(variable))
    reason, reason_names = _reasons(reasons, values, picked)
    status[(status == OK) & ~np.isfinite(series["in_situ"]).any(0)] = NO_DAYS
    dims = ("time", "station")
    data: dict[str, Any] = {key: (dims, v) for key, v in series.items()}
    data["reason"] = (dims, np.broadcast_to(reason, estimates.shape).copy())
    centre_lat, centre_lon = _centres(values, space, row, column, projection)
    coords: dict[str, Any] = {
        "time": days,
        "station": stations["station"].values.astype(str),
        **{
            key: ("station", np.asarray(stations[key].values))
            for key in ("network", "lat", "lon", "depth_m")
            if key in stations.coords
        },
        "cell_lat": ("station", centre_lat),
        "cell_lon": ("station", centre_lon),
        "distance_km": ("station", distance),
        "row": ("station", row),
        "column": ("station", column),
        "status": ("station", status),
        "class": ("station", _classes(classes, lat, lon)),
    }
    noise = stations["sm_noise"].values if "sm_noise" in stations else np.full(len(lat), np.nan)
    data["noise"] = ("station", np.asarray(noise, np.float64))
    bounds = product[SM_LOWER].attrs if SM_LOWER in product else {}
    return xr.Dataset(data, coords, {
        "reason_names": reason_names,
        "step_days": step,
        "level": float(bounds.get("level", np.nan)),
        "units": str(values.attrs.get("units", "1")) if any_units else "m3 m-3",
        "max_distance_km": np.nan if max_distance_km is None else float(max_distance_km),
    })  # fmt: skip


def _to_volume(values: xr.DataArray, name: str) -> float:
    units = values.attrs.get("units")
    hint = "scale=mean_std or scale=cdf scales it to each station"
    # '1' and '%' may be shares of volume or of saturation: names tell them apart
    about = f"{values.name} {values.attrs.get('long_name', '')} {values.attrs.get('standard_name', '')}".lower()
    if any(word in about.replace("_", " ") for word in ("index", "saturation", "swi ", "relative")) or str(
        units
    ).lower().endswith("saturation"):
        raise CubeError(f"{name}: '{values.name}' [{units}] is an index, the stations are in m3 m-3: {hint}")
    if units is None or (normal(units) == "1" and str(units).strip() in ("", "1", "-")):
        finite = float(np.nanmax(values.isel(time=slice(0, 30)).values, initial=-np.inf))
        if units is None or finite > 0.9:
            raise CubeError(
                f"{name}: '{values.name}' has the units '{units}' and values up to {finite:.3g}, the stations are in "
                f"m3 m-3: give it the attribute units, or {hint}"
            )
    try:
        factor, offset = conversion(units, "m3 m-3")
    except CubeError as error:
        raise CubeError(f"{name}: '{values.name}' is in '{units}', the stations in m3 m-3: {hint}") from error
    if offset:
        raise CubeError(f"{name}: '{values.name}' is in '{units}', the stations in m3 m-3: {hint}")
    return factor


def _common_days(
    times: np.ndarray, stations: xr.Dataset, step: int, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the common days, their places in the product, and the stations' values and temperatures of them.

    A product of n-day means is dated by its first day; the stations get means of the same n days, where half of them
    have a value.
    """
    own = times.astype("datetime64[D]").astype(int)
    theirs = stations["time"].values.astype("datetime64[D]").astype(int)
    at = np.flatnonzero((own + step - 1 >= theirs[0]) & (own <= theirs[-1]))
    if not at.size:
        raise CubeError(
            f"{name}: no common day: its days are {_day(own[0])} to {_day(own[-1])}, those of the stations "
            f"{_day(theirs[0])} to {_day(theirs[-1])}"
        )
    places = own[at][:, None] + np.arange(step) - theirs[0]
    there = (places >= 0) & (places < len(theirs))

    def means(variable: str) -> np.ndarray:
        values = stations[variable].transpose("time", "station").values.astype(np.float64)
        every = np.where(there[..., None], values[np.clip(places, 0, len(theirs) - 1)], np.nan)
        count = np.isfinite(every).sum(1)
        return np.where(count >= HALF * step, np.nansum(every, 1) / np.maximum(count, 1), np.nan)

    temperature = means("soil_temperature") if "soil_temperature" in stations else None
    return times[at], at, means("sm"), temperature


def _day(number: int) -> str:
    return str(np.datetime64(int(number), "D"))


def _extent(lat: np.ndarray, lon: np.ndarray) -> str:
    return f"lat {lat.min():.1f} to {lat.max():.1f}, lon {lon.min():.1f} to {lon.max():.1f}"


def _corners(
    values: xr.DataArray, space: Sequence[str], projection: Projection | None
) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = (values[dim].values[[0, -1]].astype(np.float64) for dim in space)
    return (rows, columns) if projection is None else projection.backward(rows[[0, 0, 1, 1]], columns[[0, 1, 0, 1]])


def _centres(
    values: xr.DataArray, space: Sequence[str], row: np.ndarray, column: np.ndarray, projection: Projection | None
) -> tuple[np.ndarray, np.ndarray]:
    place = values[space[0]].values[row].astype(np.float64), values[space[1]].values[column].astype(np.float64)
    return place if projection is None else projection.backward(*place)


def _source(
    file: ScoredFile,
    values: xr.DataArray,
    estimate: str,
    observed: str | None,
    picked: Callable[[xr.DataArray], np.ndarray],
) -> np.ndarray:
    """Return 1 on observed and 2 on other days, (T, S)."""
    dataset = file.dataset
    named = values.attrs.get(OBSERVED_NAME)
    if observed is None and SM_SOURCE in dataset:
        return np.where(picked(file.variable(SM_SOURCE)) == OBSERVED, OBSERVED, FILLED)
    if observed is None and named in dataset:
        observed = str(named)
    if observed is None:
        raise CubeError(
            f"{file.name}: nothing says which values of '{estimate}' were observed (no {SM_SOURCE}): give observed=NAME"
        )
    seen = picked(aligned(file.variable(observed), values, file.name))
    return np.where(np.isfinite(seen), OBSERVED, FILLED)


def _gap_age(
    file: ScoredFile, source: np.ndarray, picked: Callable[[xr.DataArray], np.ndarray], step: int
) -> np.ndarray:
    if GAP_AGE in file.dataset:
        return picked(file.variable(GAP_AGE))
    steps = np.arange(len(source))[:, None]
    before = np.maximum.accumulate(np.where(source == OBSERVED, steps, -(10**7)), 0)
    after = np.minimum.accumulate(np.where(source == OBSERVED, steps, 10**7)[::-1], 0)[::-1]
    return step * np.minimum(steps - before, after - steps).astype(np.float64)


def _reasons(
    cube: xr.Dataset | None, values: xr.DataArray, picked: Callable[[xr.DataArray], np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """Return the reason of each value as an index of the names, -1 for none, (T, S)."""
    if cube is None:
        return np.full((1, 1), -1), []
    file = ScoredFile(cube, "reasons=")
    variable = aligned(file.variable("sm_reason"), values, file.name)
    names = str(variable.attrs.get("flag_meanings", "")).split()
    codes = np.atleast_1d(variable.attrs.get("flag_values", np.arange(len(names))))
    if not names or len(codes) != len(names):
        raise CubeError("reasons=: 'sm_reason' lacks the attributes flag_values and flag_meanings, which name reasons")
    found = picked(variable)
    index = np.full(found.shape, -1)
    for k, code in enumerate(codes):
        index[found == code] = k
    return index, names


def _classes(classes: xr.DataArray | None, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Return the name of the class of each station; '' without a map, or where it has none."""
    if classes is None:
        return np.full(len(lat), "")
    if classes.dims not in (("lat", "lon"), ("lon", "lat")):
        raise CubeError(f"classes=: '{classes.name}' has dims {classes.dims}, expected a map of lat and lon")
    classes = classes.transpose("lat", "lon")
    row, column, _, inside = nearest_cells(classes["lat"].values, classes["lon"].values, lat, lon)
    values = np.where(inside, classes.values[row, column].astype(np.float64), np.nan)
    meanings = str(classes.attrs.get("flag_meanings", "")).split()
    named = dict(zip(np.atleast_1d(classes.attrs.get("flag_values", [])).tolist(), meanings, strict=False))
    return np.array(["" if np.isnan(v) else named.get(v, f"{v:g}") for v in values])


def with_dense_cells(pairs: xr.Dataset, least: int) -> xr.Dataset:
    """Return the series with a further one for each cell with so many stations: their mean.

    The mean is of the days on which half of the stations have a value. Its coordinate `count` is the number of stations
    (1 for a station), and `spread` their standard error (time, station), NaN for a station.

    Args:
        pairs: As `matched` returns it.
        least: Number of stations of a dense cell.
    """
    place = list(zip(pairs["row"].values.tolist(), pairs["column"].values.tolist(), strict=True))
    usable = pairs["status"].values == OK
    pairs = pairs.assign_coords(count=("station", np.ones(len(place), int)))
    pairs["spread"] = xr.full_like(pairs["in_situ"], np.nan)
    parts = [pairs]
    for cell in dict.fromkeys(p for p, ok in zip(place, usable, strict=True) if ok):
        members = np.flatnonzero([ok and p == cell for p, ok in zip(place, usable, strict=True)])
        if len(members) < least:
            continue
        values = pairs["in_situ"].values[:, members]
        number = np.isfinite(values).sum(1)
        mean = np.where(number >= HALF * len(members), np.nansum(values, 1) / np.maximum(number, 1), np.nan)
        apart = np.nansum((values - mean[:, None]) ** 2, 1) / np.maximum(number - 1, 1)
        dense = pairs.isel(station=members[:1]).copy(deep=True)
        first = pairs.isel(station=int(members[0]))
        label = f"{DENSE}/{float(first['cell_lat']):.2f}_{float(first['cell_lon']):.2f}"
        dense = dense.assign_coords(
            station=[label],
            network=("station", [DENSE]),
            lat=("station", [float(pairs["lat"].values[members].mean())]),
            lon=("station", [float(pairs["lon"].values[members].mean())]),
            count=("station", [len(members)]),
        )
        dense["in_situ"].values[:, 0] = mean
        dense["spread"].values[:, 0] = np.where(number > 1, np.sqrt(apart / np.maximum(number, 1)), np.nan)
        noise = pairs["noise"].values[members]
        dense["noise"].values[0] = np.sqrt((noise**2).sum()) / len(members)
        parts.append(dense)
    return pairs if len(parts) == 1 else xr.concat(parts, "station").assign_attrs(pairs.attrs)


def scaled(pairs: xr.Dataset, fit: Callable[[np.ndarray, np.ndarray], Any]) -> xr.Dataset:
    """Return the series with the product scaled to each station.

    Args:
        pairs: As `matched` returns it.
        fit: Function of product and station on the observed days, (T, S) each, NaN elsewhere, whose result has `apply`,
            a function of (T, S) values. Filled days are not fitted to.
    """
    seen = pairs["source"].values == OBSERVED
    product, station = (np.where(seen, pairs[v].values, np.nan) for v in ("estimate", "in_situ"))
    maps = fit(product, station)
    new = pairs.copy()
    for variable in ("estimate", "lower", "upper"):
        new[variable] = (pairs[variable].dims, maps.apply(pairs[variable].values))
    return new.assign_attrs(units="m3 m-3")


def subsets(pairs: xr.Dataset) -> dict[str, np.ndarray]:
    """Return which values are in each subset of days, (T, S) bool, by name: observed, filled, and parts of both."""
    source = pairs["source"].values
    seen, filled = source == OBSERVED, source == FILLED
    found = {"observed": seen, "filled": filled}
    for k, name in enumerate(pairs.attrs["reason_names"]):
        here = filled & (pairs["reason"].values == k)
        if here.any():
            found[f"filled_{name}"] = here
    age = pairs["gap_age"].values
    found |= {f"filled_age_{name}": filled & (age >= low) & (age <= high) for name, (low, high) in AGES.items()}
    season = season_numbers(pairs["time"].values)[:, None]
    for whose, mask in (("observed", seen), ("filled", filled)):
        found |= {f"{whose}_{name}": mask & (season == k) for k, name in enumerate(SEASONS)}
    return found


@dataclass
class InSitu:
    """Metrics of stations.

    Attributes:
        table: Dims (station, subset): the METRICS, `_lower` and `_upper` of WITH_INTERVAL, `status`; coords of the
            stations.
        draws: Of WITH_INTERVAL: resampled values (draws, station, subset).
        pairs: The series that they are of.
        chosen: Stations (draws, S) of a resampled network of S stations are these shares of S, so that all networks and
            files with one seed are resampled alike.
        level: Of the intervals.
    """

    table: xr.Dataset
    draws: dict[str, np.ndarray]
    pairs: xr.Dataset
    seed: int
    level: float


def compare(
    pairs: xr.Dataset,
    *,
    least: int = 100,
    anomaly_days: int = 35,
    block_days: int = 60,
    draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> InSitu:
    """Return the metrics of each station in each subset of days, with intervals by moving blocks.

    A further subset `filled minus observed` has differences; `..., same months` weighs both sides: a day of a month
    counts by the share of the other side among the pairs of that month.

    Args:
        pairs: As `matched` returns it.
        least: Number of pairs below which a subset of a station has no metrics.
        anomaly_days: Window of the moving mean and of the climatology that anomalies are counted from.
        block_days: Length of a block.
        draws: Number of resampled series.
        level: Of the intervals, 0 to 1.
        seed: Of the draws.
    """
    masks = subsets(pairs)
    compared = [name for name in ("filled", "filled_orbit") if name in masks]
    differences = [f"{name}{MINUS}{more}" for name in compared for more in ("", SAME_MONTHS)]
    names = [*masks, *differences]
    step = pairs.attrs["step_days"]
    time = pairs["time"].values
    blocks = max(2, round(block_days / step))
    copies = block_copies(len(time), blocks, draws, seed)
    count = pairs.sizes["station"]
    table = {name: np.full((count, len(names)), np.nan) for name in METRICS}
    sampled = {name: np.full((draws, count, len(names)), np.nan, np.float32) for name in WITH_INTERVAL}
    status = np.full((count, len(names)), NO_DAYS)
    month = (time.astype("datetime64[M]").astype(int) % 12)[:, None] == np.arange(12)
    for s in range(count):
        station = _Station.of(pairs.isel(station=s), anomaly_days)
        reached: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
        own = int(pairs["status"].values[s])
        for k, name in enumerate(masks):
            chosen = np.flatnonzero(masks[name][:, s] & station.known)
            table["n"][s, k] = len(chosen)
            status[s, k] = own if own != OK else FEW if len(chosen) < max(least, 3) else OK
            if status[s, k] == OK:
                reached[name] = station.metrics(chosen, None), station.metrics(chosen, copies[:, chosen])
                status[s, k] = FLAT if np.isnan(reached[name][0]["r"]) else OK
        for k, name in enumerate(differences, len(masks)):
            part = name.partition(MINUS)[0]
            lacking = [n for n in (part, "observed") if n not in reached]
            status[s, k] = status[s, names.index(lacking[0])] if lacking else OK
            table["n"][s, k] = min(table["n"][s, names.index(n)] for n in (part, "observed"))
            if lacking:
                continue
            sides: Any = (reached[part], reached["observed"])
            if name.endswith(SAME_MONTHS):
                sides = station.same_months(masks[part][:, s], masks["observed"][:, s], month, copies)
            (value, copied), (other, others) = sides
            reached[name] = _minus(value, other), _minus(copied, others)
        for name, (values, resampled) in reached.items():
            k = names.index(name)
            for key in METRICS:
                if key in values and key != "n":
                    table[key][s, k] = values[key]
            for key in WITH_INTERVAL:
                sampled[key][:, s, k] = resampled[key]
    return InSitu(
        _dataset(pairs, names, table, sampled, status, len(time) / blocks, level), sampled, pairs, seed, level
    )


@dataclass
class _Station:
    """The series of a station, its anomalies and its interval, each (T,)."""

    estimate: np.ndarray
    in_situ: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    anomalies: tuple[np.ndarray, np.ndarray]
    climatology: tuple[np.ndarray, np.ndarray]
    known: np.ndarray

    @classmethod
    def of(cls, pairs: xr.Dataset, anomaly_days: int) -> _Station:
        estimate, in_situ = pairs["estimate"].values, pairs["in_situ"].values
        known = np.isfinite(estimate) & np.isfinite(in_situ)
        # anomalies of both are counted from the same days
        both = [np.where(known, series, np.nan) for series in (estimate, in_situ)]
        window = max(3, round(anomaly_days / pairs.attrs["step_days"]))
        lower, upper = pairs["lower"].values, pairs["upper"].values
        noise, level = float(pairs["noise"]), pairs.attrs["level"]
        if np.isfinite(noise) and 0 < level < 1:
            # the station's own error is independent of that of the product
            wider = (noise * _normal_quantile((1 + level) / 2)) ** 2
            lower = estimate - np.sqrt((estimate - lower) ** 2 + wider)
            upper = estimate + np.sqrt((upper - estimate) ** 2 + wider)
        days = pairs["time"].values
        return cls(
            estimate,
            in_situ,
            lower,
            upper,
            (moving_anomalies(both[0], window), moving_anomalies(both[1], window)),
            (
                climatology_anomalies(both[0], days, anomaly_days),
                climatology_anomalies(both[1], days, anomaly_days),
            ),
            known,
        )

    def metrics(self, chosen: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return the metrics of chosen days, (N,), for weights (draws, N) of them, by default 1."""
        bounds = {"lower": self.lower[chosen], "upper": self.upper[chosen]}
        found = pair_metrics(self.estimate[chosen], self.in_situ[chosen], weights, **bounds)
        for name, (a, b) in (("r_anomaly", self.anomalies), ("r_climatology_anomaly", self.climatology)):
            there = np.isfinite(a[chosen]) & np.isfinite(b[chosen])
            days = chosen[there]
            of_days = None if weights is None else weights[:, there]
            # a correlation of a few anomalies says nothing
            enough = there.sum() >= HALF * len(chosen)
            found[name] = pearson(a[days], b[days], of_days) if enough else np.full(found["n"].shape, np.nan)
            if name == "r_anomaly":
                spread = pair_metrics(a[days], b[days], of_days)["ubrmsd"] if enough else found[name]
                found["ubrmsd_anomaly"] = spread
        found["p_r"], found["p_spearman"] = (p_value(found[name], found["n"]) for name in ("r", "spearman"))
        return found

    def same_months(
        self, part: np.ndarray, seen: np.ndarray, month: np.ndarray, copies: np.ndarray
    ) -> tuple[tuple[dict[str, np.ndarray], dict[str, np.ndarray]], ...]:
        """Return the metrics of two subsets of days (T,), each weighed by the share of the other in its month."""
        days = [np.flatnonzero(mask & self.known) for mask in (part, seen)]
        sides = []
        for mine, others in (days, days[::-1]):
            both = []
            for drawn in (np.ones((1, len(month))), copies):
                own, other = (drawn[:, d] @ month[d] for d in (mine, others))
                with np.errstate(invalid="ignore", divide="ignore"):
                    share = np.where(own + other > 0, other / (own + other), 0)
                both.append(self.metrics(mine, drawn[:, mine] * (share @ month[mine].T)))
            sides.append(({key: value[0] for key, value in both[0].items()}, both[1]))
        return tuple(sides)


def _minus(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value - others[name] for name, value in values.items()}


def _normal_quantile(probability: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(probability))


def _dataset(
    pairs: xr.Dataset,
    names: list[str],
    table: Mapping[str, np.ndarray],
    sampled: Mapping[str, np.ndarray],
    status: np.ndarray,
    blocks: float,
    level: float,
) -> xr.Dataset:
    dims = ("station", "subset")
    data: dict[str, Any] = {}
    for name, (units, long_name) in METRICS.items():
        data[name] = (dims, table[name], {"units": units, "long_name": long_name})
        if name not in WITH_INTERVAL:
            continue
        low, high = interval(sampled[name].astype(np.float64), level, value=table[name], blocks=blocks)
        if name in CORRELATIONS:
            limits = np.where([MINUS in subset for subset in names], 2.0, 1.0)
            low, high = np.maximum(low, -limits), np.minimum(high, limits)
        if name in ("rmsd", "ubrmsd", "ubrmsd_anomaly", "mae", "coverage"):
            low = np.where([MINUS in subset for subset in names], low, np.maximum(low, 0))
        for bound, values in (("lower", low), ("upper", high)):
            about = {"units": units, "long_name": f"{bound} bound of the {100 * level:g} % interval of {name}"}
            data[f"{name}_{bound}"] = (dims, values, about)
    flags = {"flag_values": np.arange(len(STATUS), dtype=np.int8), "flag_meanings": " ".join(STATUS)}
    data["status"] = (dims, status.astype(np.int8), {"long_name": "whether there are metrics, or why not", **flags})
    kept = ("network", "lat", "lon", "depth_m", "cell_lat", "cell_lon", "distance_km", "class", "count")
    coords: dict[str, Any] = {n: ("station", pairs[n].values) for n in kept if n in pairs.coords}
    unit_of = {"lat": "degrees_north", "cell_lat": "degrees_north", "lon": "degrees_east", "cell_lon": "degrees_east"}
    unit_of |= {"depth_m": "m", "distance_km": "km"}
    dataset = xr.Dataset(data, {**coords, "station": pairs["station"].values, "subset": names})
    for name, unit in unit_of.items():
        if name in dataset.coords:
            dataset[name].attrs["units"] = unit
    return dataset


def groups_of(table: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the stations of each group, (S,) bool: all (without means of cells), networks and classes, if several."""
    network = table["network"].values.astype(str)
    single = network != DENSE
    found = {"all": single}
    networks = sorted(set(network))
    if len(networks) > 1:
        found |= {f"network {name}": network == name for name in networks}
    kinds = sorted(set(table["class"].values.astype(str)) - {""})
    found |= {f"class {kind}": single & (table["class"].values == kind) for kind in kinds}
    return found


def network_median(result: InSitu, metric: str, subset: str, stations: np.ndarray) -> tuple[float, float, float]:
    """Return the median over stations with its interval: blocks of days are resampled within stations, and stations.

    Args:
        result: Of `compare`.
        metric: Name of a metric.
        subset: Name of a subset of days.
        stations: Which stations, (S,) bool.
    """
    k = list(result.table["subset"].values).index(subset)
    values = result.table[metric].values[:, k]
    used = np.flatnonzero(stations & np.isfinite(values))
    if not used.size:
        return float("nan"), float("nan"), float("nan")
    middle = float(np.median(values[used]))
    if metric not in WITH_INTERVAL or used.size < 3:
        return middle, float("nan"), float("nan")
    return (middle, *_resampled(result.draws[metric][:, used, k], result.seed, result.level))


def paired_difference(
    result: InSitu, reference: InSitu, metric: str, subset: str
) -> tuple[float, float, float, float, int]:
    """Return the median over stations of the difference between two products, on the same stations and draws.

    Args:
        result: Of `compare`, for a product.
        reference: Of `compare` with the same stations and seed, for another.
        metric: Name of a metric with intervals.
        subset: Name of a subset of days.

    Returns:
        Median difference, its lower and upper bound, the share of stations where it is above 0, and their number.
    """
    k = list(result.table["subset"].values).index(subset)
    other = list(reference.table["subset"].values).index(subset)
    apart = result.table[metric].values[:, k] - reference.table[metric].values[:, other]
    used = np.flatnonzero(np.isfinite(apart) & (result.table["network"].values != DENSE))
    if used.size < 3:
        return float("nan"), float("nan"), float("nan"), float("nan"), int(used.size)
    drawn = result.draws[metric][:, used, k] - reference.draws[metric][:, used, other]
    low, high = _resampled(drawn, result.seed, result.level)
    return float(np.median(apart[used])), low, high, float((apart[used] > 0).mean()), int(used.size)


def _resampled(drawn: np.ndarray, seed: int, level: float) -> tuple[float, float]:
    """Return the interval of the median of resampled values (draws, S) of resampled stations."""
    rng = np.random.default_rng([Stream.MOVING_BLOCKS, seed, 1])
    chosen = rng.integers(0, drawn.shape[1], drawn.shape)
    some = np.take_along_axis(drawn, chosen, 1).astype(np.float64)
    medians = np.full(len(some), np.nan)
    there = np.isfinite(some).any(1)
    medians[there] = np.nanmedian(some[there], 1)
    low, high = interval(medians, level)
    return float(low), float(high)


def summary(result: InSitu) -> list[dict[str, Any]]:
    """Return a row for each group of stations and subset of days: medians with intervals, quartiles, mean R.

    Returns:
        Rows with `group`, `subset`, `stations`, `n` (median), and for each metric its median, `_lower`, `_upper`, and
        `_iqr`; `r_fisher` is the mean of R by Fisher's z weighed by N - 3.
    """
    rows = []
    table = result.table
    for group, stations in groups_of(table).items():
        for k, subset in enumerate(table["subset"].values):
            used = stations & (table["status"].values[:, k] == OK)
            if not used.any():
                continue
            row: dict[str, Any] = {"group": group, "subset": str(subset), "stations": int(used.sum())}
            row["n"] = float(np.median(table["n"].values[used, k]))
            for metric in WITH_INTERVAL:
                row[metric], row[f"{metric}_lower"], row[f"{metric}_upper"] = network_median(
                    result, metric, str(subset), used
                )
                values = table[metric].values[used, k]
                values = values[np.isfinite(values)]
                row[f"{metric}_iqr"] = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if values.size else np.nan
            row["r_fisher"] = (
                float("nan")
                if MINUS in str(subset)
                else fisher_mean(table["r"].values[used, k], table["n"].values[used, k])
            )
            rows.append(row)
    return rows


def format_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `summary` as text: medians over stations, intervals in brackets."""
    width = max((len(row["subset"]) for row in rows), default=6)
    head = (
        f"{'':{width}} stations      N  {'R':22} {'R anomaly':22} {'rho':>6} {'ubRMSD':24} {'RMSD':>6} {'bias':>7} "
        f"{'NSE':>6} {'cover':>6}"
    )
    lines: list[str] = []
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines += [*([""] if lines else []), f"{group}: medians over stations", head]
        sign = "+" if MINUS in row["subset"] else ""
        lines.append(
            f"{row['subset']:{width}} {row['stations']:8d} {row['n']:6.0f}  {_ranged(row, 'r', 3, sign):22} "
            f"{_ranged(row, 'r_anomaly', 3, sign):22} {_short(row['spearman'], 3, sign):>6} "
            f"{_ranged(row, 'ubrmsd', 4, sign):24} {_short(row['rmsd'], 4, sign):>6} {_short(row['bias'], 4, '+'):>7} "
            f"{_short(row['nse'], 2, sign):>6} {_short(row['coverage'], 3, sign):>6}"
        )
    return "\n".join(lines)


def _short(value: float, digits: int, sign: str = "") -> str:
    return "-" if not np.isfinite(value) else f"{value:{sign}.{digits}f}"


def _ranged(row: Mapping[str, Any], metric: str, digits: int, sign: str = "") -> str:
    text = _short(row[metric], digits, sign)
    low, high = (row[f"{metric}_{bound}"] for bound in ("lower", "upper"))
    return text if not np.isfinite(low) else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def left_out(result: InSitu) -> dict[str, list[str]]:
    """Return the stations that no row has, by reason: those without metrics on observed and on filled days."""
    status = result.table["status"].sel(subset=["observed", "filled"]).values
    names = result.table["station"].values.astype(str)
    found: dict[str, list[str]] = {}
    for s in np.flatnonzero((status != OK).all(1)):
        found.setdefault(STATUS[int(status[s].min())], []).append(str(names[s]))
    return found
