"""The built-in world seen by two sensors: a long record with gaps and a known bias, and a short unbiased one.

They stand for the ESA CCI record of 1981-2022 and SMAP's of 2015-2022. The moisture of the world gets a known trend in
each cell. The long sensor has another range and level in each cell, and an error that follows the vegetation through
the year, so that a fixed map from one to the other is not enough.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.sources.simulation.world import DYNAMIC, SETTINGS, STATIC, is_made, simulate

COVARIATES = (*DYNAMIC, "ndvi")
LEAST = 0.01  # smallest value that a sensor reports, m3 m-3
GREENEST_DAY = 200.0  # day of the year
UNITS = "m3 m-3"


def two_sensors(
    rows: int = 8,
    columns: int = 12,
    days: int = 5844,
    *,
    resolution: float = 1.0,
    north: float = 50.0,
    west: float = -125.0,
    start: str = "2007-01-01",
    reference_from: str = "2015-01-01",
    land_fraction: float = 1.0,
    trend: float = 0.002,
    vegetation_bias: float = 0.25,
    season_bias: float = 0.02,
    noise: float = 0.025,
    reference_noise: float = 0.015,
    seed: int = 0,
) -> xr.Dataset:
    """Return a cube of the long record, `sm`, with covariates; the short record is `sm_reference`.

    Without a role, for scores, it also holds the truth `sm_true`, its part `sm_in_gaps` where the long sensor has no
    value, `sm_reference_held_back`, the short record as if it had begun earlier, and `sm_trend`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        days: Number of days.
        resolution: Cell size, degrees.
        north: Northern edge of the grid, degrees.
        west: Western edge of the grid, degrees.
        start: First day.
        reference_from: First day of the short record.
        land_fraction: Share of cells above the sea, 1.
        trend: Largest trend of the moisture, m3 m-3 a-1; that of each cell lies between minus and plus this.
        vegetation_bias: Bias of the long sensor for each unit of NDVI above the mean of the cell, m3 m-3.
        season_bias: Amplitude of its bias over the year where vegetation is densest, m3 m-3.
        noise: Standard deviation of the long sensor, m3 m-3.
        reference_noise: Standard deviation of the short sensor, m3 m-3.
        seed: Seed of all random numbers.

    Returns:
        Cube (T, H, W); soil moisture in m3 m-3.

    Raises:
        ConfigError: If a number or a date is not possible.
    """
    try:
        flown = np.datetime64(reference_from, "D")
    except ValueError as error:
        raise ConfigError(f"data.reference_from={reference_from}: expected a date like 2015-01-01") from error
    if min(noise, reference_noise, trend) < 0:
        raise ConfigError(f"data.noise={noise}, reference_noise={reference_noise}, trend={trend}: expected 0 or more")
    world = simulate(
        rows,
        columns,
        days,
        resolution=resolution,
        north=north,
        west=west,
        start=start,
        land_fraction=land_fraction,
        seed=seed,
    )
    rng = np.random.default_rng([seed, Stream.SECOND_SENSOR])
    number = world["time"].values.astype("datetime64[D]").astype(np.int64)
    green = world["ndvi_mean"].values
    cycle = np.cos(2 * np.pi * (number - GREENEST_DAY) / 365.2425)[:, None, None]
    # an annual cycle and noise around the mean of each cell
    ndvi = np.clip(green * (1 + 0.35 * cycle) + 0.02 * rng.standard_normal(world["sm"].shape), 0.0, 0.98)
    # trends around zero in the middle of the record, so that its mean is that of the world
    slope = trend * rng.uniform(-1, 1, green.shape)
    years = (number - number.mean())[:, None, None] / 365.2425
    truth = np.maximum(world["sm_true"].values + slope * years, LEAST)
    late = np.sin(2 * np.pi * (number - GREENEST_DAY) / 365.2425)[:, None, None]
    # a bias that follows the vegetation, and one of the season where there is much of it
    drift = vegetation_bias * (ndvi - green) + season_bias * late * green
    # another level, range and curvature than the truth, differing between cells
    level, gain = 0.04 + 0.03 * rng.standard_normal(green.shape), rng.uniform(0.7, 1.2, green.shape)
    value = level + gain * truth**1.15 + drift + noise * rng.standard_normal(truth.shape)
    seen = _long_record_sees(world, rng, number)
    right = np.maximum(truth + reference_noise * rng.standard_normal(truth.shape), LEAST)
    right = np.where(np.isfinite(world["sm"].values), right, np.nan)
    before = (world["time"].values < flown)[:, None, None]
    fields = {
        "sm": (np.where(seen, np.maximum(value, LEAST), np.nan), UNITS, "soil moisture of the long record"),
        "sm_reference": (np.where(before, np.nan, right), UNITS, "soil moisture of the short record"),
        "sm_true": (truth, UNITS, "simulated soil moisture with its trend"),
        "sm_in_gaps": (np.where(seen, np.nan, truth), UNITS, "simulated soil moisture where the long record has none"),
        "sm_reference_held_back": (np.where(before, right, np.nan), UNITS, "the short record, had it begun earlier"),
        "ndvi": (ndvi, "1", "NDVI"),
        "sm_trend": (slope, "m3 m-3 a-1", "trend of the simulated soil moisture"),
    }
    return _cube(world, fields)


def _cube(world: xr.Dataset, fields: dict[str, tuple[np.ndarray, str, str]]) -> xr.Dataset:
    """Return a cube of values, units and long names by name, with the covariates of the world."""
    dims = world["sm"].dims
    arrays = {
        n: (dims[-v.ndim :], v.astype(np.float32), {"units": units, "long_name": long_name})
        for n, (v, units, long_name) in fields.items()
    }
    kept = world[[*DYNAMIC, *STATIC, "land"]]
    dataset = kept.assign(arrays)
    cube = as_cube(dataset, "sm", COVARIATES, STATIC, land="land")
    return cube.assign({n: dataset[n] for n in fields if n not in ("sm", "ndvi")})


def two_sensors_file(
    path: str,
    dynamic: Sequence[str] = COVARIATES,
    *,
    rows: int = 8,
    columns: int = 12,
    days: int = 5844,
    resolution: float = 1.0,
    north: float = 50.0,
    west: float = -125.0,
    start: str = "2007-01-01",
    reference_from: str = "2015-01-01",
    land_fraction: float = 1.0,
    trend: float = 0.002,
    vegetation_bias: float = 0.25,
    season_bias: float = 0.02,
    noise: float = 0.025,
    reference_noise: float = 0.015,
    seed: int = 0,
) -> xr.Dataset:
    """Return `two_sensors`, written to a NetCDF file and opened from there, with some of its covariates.

    An existing file is opened.

    Args:
        path: The file.
        dynamic: Covariates that the cube has.
        rows: As in `two_sensors`.
        columns: As in `two_sensors`.
        days: As in `two_sensors`.
        resolution: As in `two_sensors`.
        north: As in `two_sensors`.
        west: As in `two_sensors`.
        start: As in `two_sensors`.
        reference_from: As in `two_sensors`.
        land_fraction: As in `two_sensors`.
        trend: As in `two_sensors`.
        vegetation_bias: As in `two_sensors`.
        season_bias: As in `two_sensors`.
        noise: As in `two_sensors`.
        reference_noise: As in `two_sensors`.
        seed: As in `two_sensors`.

    Returns:
        Cube (T, H, W).

    Raises:
        ConfigError: If the file was made with other settings, or a setting is not possible.
    """
    settings: dict[str, Any] = {
        "rows": rows, "columns": columns, "days": days, "resolution": resolution, "north": north, "west": west,
        "start": start, "reference_from": reference_from, "land_fraction": land_fraction, "trend": trend,
        "vegetation_bias": vegetation_bias, "season_bias": season_bias, "noise": noise,
        "reference_noise": reference_noise, "seed": seed,
    }  # fmt: skip
    # written under another name first: an interrupted file would count as made
    if not is_made(path, ".nc", settings):
        world = two_sensors(**settings).assign_attrs({SETTINGS: json.dumps(settings)})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        world.to_netcdf(f"{path}.partial", engine="netcdf4")
        Path(f"{path}.partial").rename(path)
    return open_cube(path, "sm", dynamic, STATIC, land="land")


def _long_record_sees(world: xr.Dataset, rng: np.random.Generator, number: np.ndarray) -> np.ndarray:
    """Return where (T, H, W) the long sensor has a value.

    It has its own orbit, no values over frost, and fewer gaps in later years.
    """
    swaths = Orbit(world["lat"].values, world["lon"].values).cycle(float(rng.uniform(0, 2 * np.pi)))
    # from 40 to 90 percent of the overpasses
    share = 0.4 + 0.5 * (number - number[0]) / max(1, number[-1] - number[0])
    seen = swaths[np.arange(number.size) % len(swaths)] & (rng.random(world["sm"].shape) < share[:, None, None])
    thawed = world["sm_reason"].values != world["sm_reason"].attrs["flag_meanings"].split().index("frost")
    observed: np.ndarray = seen & thawed & world["land"].values
    return observed
