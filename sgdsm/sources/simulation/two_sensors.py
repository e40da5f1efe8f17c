"""The built-in world seen by two sensors: a long record with gaps and a known bias, and a short one that is right.

What the ESA CCI record of 1981-2022 and SMAP's of 2015-2022 are to one another. The moisture of the world gets a known
trend in each cell; the long sensor reads it with another range and level in each cell, and with an error that follows
the vegetation through the year, so no fixed map from one to the other is enough. Random numbers of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, as_cube, open_cube
from sgdsm.core.orbit import Orbit
from sgdsm.sources.simulation.world import DYNAMIC, SETTINGS, STATIC, is_made, simulate

SEED = 9  # of random numbers, apart from those of the world itself
COVARIATES = (*DYNAMIC, "ndvi")
LEAST = 0.01  # m3 m-3, of what a sensor reports
GREENEST_DAY = 200.0
UNITS = "m3 m-3"


def two_sensors(
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
    """A cube of the long sensor's record, `sm`, with covariates; the short one's is `sm_reference`.

    rows to start, land_fraction, seed: as `sgdsm.sources.simulate`. trend: of the moisture, m3 m-3 a year; in
    each cell between minus and plus this, in map `sm_trend`. vegetation_bias: m3 m-3 for each unit that NDVI is above
    the cell's mean. season_bias: amplitude over the year, m3 m-3, where vegetation is densest. noise, reference_noise:
    standard deviations, m3 m-3.

    Without a role, for scores: the truth `sm_true`, its part `sm_in_gaps` where the long sensor saw nothing, and
    `sm_reference_held_back`, the reference as if it had flown before `reference_from`.

    Raises ConfigError where a number or a date cannot be.
    """
    try:
        flown = np.datetime64(reference_from, "D")
    except ValueError as error:
        raise ConfigError(f"data.reference_from={reference_from}: expected a date like 2015-01-01") from error
    if min(noise, reference_noise, trend) < 0:
        raise ConfigError(f"data.noise={noise}, reference_noise={reference_noise}, trend={trend}: expected 0 or more")
    world = simulate(rows, columns, days, resolution, north, west, start, land_fraction, seed)
    rng = np.random.default_rng([seed, SEED])
    number = world["time"].values.astype("datetime64[D]").astype(np.int64)
    green = world["ndvi_mean"].values
    cycle = np.cos(2 * np.pi * (number - GREENEST_DAY) / 365.2425)[:, None, None]
    ndvi = np.clip(green * (1 + 0.35 * cycle) + 0.02 * rng.standard_normal(world["sm"].shape), 0.0, 0.98)
    slope = trend * rng.uniform(-1, 1, green.shape)
    years = (number - number.mean())[:, None, None] / 365.2425
    truth = np.maximum(world["sm_true"].values + slope * years, LEAST)
    late = np.sin(2 * np.pi * (number - GREENEST_DAY) / 365.2425)[:, None, None]
    drift = vegetation_bias * (ndvi - green) + season_bias * late * green
    level, gain = 0.04 + 0.03 * rng.standard_normal(green.shape), rng.uniform(0.7, 1.2, green.shape)
    value = level + gain * truth**1.15 + drift + noise * rng.standard_normal(truth.shape)
    seen = _looks(world, rng, number)
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
    dims = world["sm"].dims
    arrays = {
        n: (dims[-v.ndim :], v.astype(np.float32), {"units": units, "long_name": told})
        for n, (v, units, told) in fields.items()
    }
    kept = world[[*DYNAMIC, *STATIC, "land"]]
    dataset = kept.assign(arrays)
    cube = as_cube(dataset, "sm", COVARIATES, STATIC, land="land")
    return cube.assign({n: dataset[n] for n in fields if n not in ("sm", "ndvi")})


def two_sensors_file(
    path: str,
    dynamic: Sequence[str] = COVARIATES,
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
    """As `two_sensors`, written to a NetCDF file and opened from there, with some of its covariates.

    A file that is there already is opened. Raises ConfigError where that was made with other settings.
    """
    settings: dict[str, Any] = {
        "rows": rows, "columns": columns, "days": days, "resolution": resolution, "north": north, "west": west,
        "start": start, "reference_from": reference_from, "land_fraction": land_fraction, "trend": trend,
        "vegetation_bias": vegetation_bias, "season_bias": season_bias, "noise": noise,
        "reference_noise": reference_noise, "seed": seed,
    }  # fmt: skip
    if not is_made(path, ".nc", settings):
        world = two_sensors(**settings).assign_attrs({SETTINGS: json.dumps(settings)})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        world.to_netcdf(f"{path}.partial", engine="netcdf4")
        Path(f"{path}.partial").rename(path)
    return open_cube(path, "sm", dynamic, STATIC, land="land")


def _looks(world: xr.Dataset, rng: np.random.Generator, number: np.ndarray) -> np.ndarray:
    """Where the long sensor sees: its own orbit, no frost, gaps that get fewer over the years."""
    swaths = Orbit(world["lat"].values, world["lon"].values).cycle(float(rng.uniform(0, 2 * np.pi)))
    share = 0.4 + 0.5 * (number - number[0]) / max(1, number[-1] - number[0])
    seen = swaths[np.arange(number.size) % len(swaths)] & (rng.random(world["sm"].shape) < share[:, None, None])
    thawed = world["sm_reason"].values != world["sm_reason"].attrs["flag_meanings"].split().index("frost")
    found: np.ndarray = seen & thawed & world["land"].values
    return found
