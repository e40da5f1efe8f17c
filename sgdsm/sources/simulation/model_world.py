"""The built-in world with what LIU's method takes from elsewhere: temperature ranges and soil moisture of models.

The diurnal temperature range (DTR) of a satellite is missing under cloud; those of three land surface models, and
their soil moisture, are everywhere, with errors that last for days and with another mean and spread in each cell
(Liu et al., HESS 27, 577, 2023, section 4.5 and Fig. 14, compare such sources). A map of three climates is for forests
by region. The sizes of the errors are ours; the names only tell which of the paper's sources each stands for.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.random import Stream
from sgdsm.sources.simulation.world import simulate

DTR_ERRORS = {"dtr_noah": 1.0, "dtr_era": 1.6, "dtr_gldas": 2.0}  # K
MOISTURE_ERRORS = {"sm_era": 0.015, "sm_gleam": 0.02, "sm_noah": 0.025}  # m3 m-3
SATELLITE_NOISE = 0.7  # K
PERSISTENCE = 0.8  # of the errors from day to day
CLIMATES = "arid semi_arid wet"
WET = 0.45  # m3 m-3 at which the soil is as cool as it gets by day


@checked
def model_world(
    rows: int = 24,
    columns: int = 48,
    days: int = 731,
    *,
    resolution: float = 1.0,
    north: float = 50.0,
    west: float = -125.0,
    start: str = "2015-04-01",
    land_fraction: float = 0.75,
    seed: int = 0,
) -> xr.Dataset:
    """Return `simulate` with temperature ranges and soil moisture of models, and a map of climates.

    Args:
        rows: As in `simulate`.
        columns: As in `simulate`.
        days: As in `simulate`.
        resolution: As in `simulate`.
        north: As in `simulate`.
        west: As in `simulate`.
        start: As in `simulate`.
        land_fraction: As in `simulate`.
        seed: As in `simulate`.

    Returns:
        Cube (T, H, W): dynamic `dtr` (satellite), `dtr_noah`, `dtr_era`, `dtr_gldas` in K, `sm_era`, `sm_gleam`,
        `sm_noah` in m3 m-3; static `climate`, 1 to 3 by terciles of NDVI.

    Raises:
        ConfigError: If the size is not possible or does not fit into memory.
    """
    cube = simulate(
        rows, columns, days, resolution=resolution, north=north, west=west, start=start,
        land_fraction=land_fraction, seed=seed,
    )  # fmt: skip
    # a third word: apart from the world's own numbers, and from those of its second sensor
    rng = np.random.default_rng([seed, Stream.SECOND_SENSOR, 1])
    land = cube["land"].values
    truth = np.where(land, np.nan_to_num(cube["sm_true"].values), np.nan)
    # dry ground under the sun warms by day and cools by night
    shine = np.where(land, cube["shortwave_down"].values, np.nan)
    span = 3.0 + 0.06 * shine * (1 - 0.7 * np.minimum(truth / WET, 1))
    clear = np.isfinite(cube["surface_temperature"].values)
    fields = {"dtr": np.where(clear, span + SATELLITE_NOISE * rng.standard_normal(span.shape), np.nan)}
    for errors, of in ((DTR_ERRORS, span), (MOISTURE_ERRORS, truth)):
        for name, size in errors.items():
            fields[name] = _modelled(rng, of, size)
    made = {name: (cube["sm"].dims, np.maximum(v, 0).astype(np.float32), _attrs(name)) for name, v in fields.items()}
    green = cube["ndvi_mean"].values
    edges = np.quantile(green[land], [1 / 3, 2 / 3])
    climate = np.where(land, 1 + np.searchsorted(edges, np.nan_to_num(green)), np.nan).astype(np.float32)
    attrs = {"units": "1", "long_name": "climate by thirds of NDVI", "role": "static"}
    flags = {"flag_values": np.array([1.0, 2.0, 3.0], np.float32), "flag_meanings": CLIMATES}
    return cube.assign(made).assign(climate=(cube["land"].dims, climate, attrs | flags))


def _modelled(rng: np.random.Generator, truth: np.ndarray, size: float) -> np.ndarray:
    """Return a model's version of a variable, (T, H, W): other mean and spread in each cell, errors that last."""
    error = np.empty(truth.shape)
    noise = rng.standard_normal(truth.shape)
    error[0] = noise[0]
    for day in range(1, len(noise)):
        error[day] = PERSISTENCE * error[day - 1] + np.sqrt(1 - PERSISTENCE**2) * noise[day]
    cell = truth.shape[1:]
    mean = truth.mean(0)
    spread = rng.uniform(0.5, 1.5, cell)
    level = mean * (1 + 0.25 * rng.standard_normal(cell))
    modelled: np.ndarray = level + spread * (truth - mean + size * error)
    return modelled


def _attrs(name: str) -> dict[str, str]:
    if name.startswith("sm_"):
        return {"units": "m3 m-3", "long_name": f"simulated soil moisture of a model, as {name[3:]}", "role": "dynamic"}
    whose = "a satellite, missing under cloud" if name == "dtr" else f"a model, as {name[4:]}"
    return {"units": "K", "long_name": f"simulated diurnal temperature range of {whose}", "role": "dynamic"}
