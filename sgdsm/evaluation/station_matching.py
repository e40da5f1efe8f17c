"""Which cell and which days of a filled file belong to each station."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.axes import SPACE_DIMS
from sgdsm.core.cube import step_days
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import FILLED, GAP_AGE, OBSERVED, OBSERVED_NAME, SM_LOWER, SM_SOURCE, SM_UPPER, level_of
from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM
from sgdsm.core.units import conversion, normal
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.strata import flag_names

OK, FEW, FLAT, OUTSIDE, OFF_LAND, NO_DAYS = range(6)  # what became of a station
DENSE = "dense cells"  # network of the means of cells with many stations
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
        "gap_age": _gap_age(file, source, picked, days),
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
    pairs = xr.Dataset(data, coords)
    # moving means and blocks go by days: those that a file lacks are gaps
    axis = np.arange(days[0], days[-1] + np.timedelta64(1, "D"), np.timedelta64(step, "D"))
    pairs = pairs.reindex(time=axis, fill_value={"estimate": np.nan, "source": 0, "reason": -1})
    return pairs.assign_attrs({
        "reason_names": reason_names,
        "step_days": step,
        "level": level_of(bounds),
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
    file: ScoredFile, source: np.ndarray, picked: Callable[[xr.DataArray], np.ndarray], times: np.ndarray
) -> np.ndarray:
    if GAP_AGE in file.dataset:
        return picked(file.variable(GAP_AGE))
    days = times.astype("datetime64[D]").astype(np.int64)[:, None]
    before = np.maximum.accumulate(np.where(source == OBSERVED, days, -(10**7)), 0)
    after = np.minimum.accumulate(np.where(source == OBSERVED, days, 10**7)[::-1], 0)[::-1]
    return np.minimum(days - before, after - days).astype(np.float64)


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
    named = flag_names(classes.attrs)
    return np.array(["" if np.isnan(v) else named.get(int(v), f"{v:g}") for v in values])


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
