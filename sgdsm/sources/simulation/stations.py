"""Stations in the built-in world, with the errors of real ones, written as ISMN archive and as CSV.

A station reads every three hours a share of the cell's soil moisture plus an offset (it is a point in a cell), a slow
error of representativeness, the noise of its sensor, sometimes a jump after which it reads higher or lower, and bad
readings with the flags that ISMN gives them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.errors import ConfigError
from sgdsm.core.random import Stream
from sgdsm.sources.simulation.world import simulate

HOURS = np.arange(0, 24, 3)
DEPTH_M = 0.05
FLAG_FROST, FLAG_SPIKE, GOOD = "D02", "D05", "G"
AIR_FROST_K = 268.0  # below which readings get the flag of frozen air
SPIKES = 0.02  # share of readings


@dataclass(frozen=True)
class Readings:
    """The readings of a simulated station.

    Attributes:
        name: Of the station.
        row: Row of its cell.
        column: Column of its cell.
        lat: Latitude, degrees.
        lon: Longitude, degrees.
        times: UTC times (N,), datetime64[s].
        values: m3 m-3, rounded to four decimals, (N,).
        flags: ISMN's quality flags, (N,).
    """

    name: str
    row: int
    column: int
    lat: float
    lon: float
    times: np.ndarray
    values: np.ndarray
    flags: np.ndarray


@checked
def world_like(lat: np.ndarray, lon: np.ndarray, time: np.ndarray, seed: int = 0) -> xr.Dataset:
    """Return the built-in world on a grid and days.

    Args:
        lat: Latitudes of the rows, degrees, evenly spaced, north first.
        lon: Longitudes of the columns, degrees.
        time: Days, datetime64.
        seed: Of the world.

    Raises:
        ConfigError: The grid or the days are not those of a built-in world.
    """
    steps = np.concatenate([-np.diff(lat), np.diff(lon)])
    days = np.diff(time.astype("datetime64[D]").astype(int))
    if steps.size == 0 or abs(steps - steps[0]).max() > 1e-4 or (days != 1).any():
        raise ConfigError("stations=simulate: needs a filled file of the built-in world, all cells and all days")
    step = float(np.round(steps.mean(), 6))
    return simulate(
        len(lat),
        len(lon),
        len(time),
        resolution=step,
        north=float(np.round(lat[0] + step / 2, 6)),
        west=float(np.round(lon[0] - step / 2, 6)),
        start=str(time[0])[:10],
        seed=seed,
    )


@checked
def simulated_stations(
    world: xr.Dataset,
    number: int = 40,
    *,
    in_one_cell: int = 6,
    error: float = 0.02,
    memory: float = 0.9,
    noise: float = 0.005,
    seed: int = 0,
) -> list[Readings]:
    """Return the readings of a network.

    Args:
        world: What `simulate` returns.
        number: Of stations, most of them in cells of their own.
        in_one_cell: How many of them stand in one cell, a dense network.
        error: Standard deviation of the error of representativeness, m3 m-3.
        memory: Its autocorrelation from day to day, 0 to 1.
        noise: Standard deviation of a reading, m3 m-3.
        seed: Of the network.
    """
    rng = np.random.default_rng([Stream.STATION_NETWORK, seed])
    # cells that the satellite ever sees
    seen = np.argwhere(world["land"].values.astype(bool) & np.isfinite(world["sm"].values).any(0))
    alone = max(1, number - in_one_cell + 1)
    if len(seen) < alone:
        raise ConfigError(f"stations=simulate: the world has {len(seen)} land cells, expected {alone} or more")
    cells = seen[rng.permutation(len(seen))[:alone]]
    cells = np.concatenate([cells, np.repeat(cells[-1:], number - alone, 0)])
    truth, air = world["sm_true"].values, world["air_temperature"].values
    lat, lon = world["lat"].values, world["lon"].values
    step = abs(float(lat[1] - lat[0])) if len(lat) > 1 else 1.0
    days = world["time"].values.astype("datetime64[D]")
    times = (days[:, None] + HOURS.astype("timedelta64[h]")).astype("datetime64[s]").ravel()
    found = []
    for number_of, (row, column) in enumerate(cells):
        gain, offset = rng.normal(1.0, 0.15), rng.normal(0, 0.03)
        shocks = rng.standard_normal(len(days))
        slow = np.empty(len(days))
        slow[0] = shocks[0]
        for day in range(1, len(days)):
            slow[day] = memory * slow[day - 1] + np.sqrt(1 - memory**2) * shocks[day]
        daily = truth[:, row, column].astype(np.float64)
        daily = daily.mean() + gain * (daily - daily.mean()) + offset + error * slow
        # one station in ten is exchanged, and reads on at another level
        if rng.random() < 0.1:
            daily[int(rng.integers(len(days) // 4, 3 * len(days) // 4 + 1)) :] += 0.04 * rng.choice([-1, 1])
        values = np.repeat(daily, len(HOURS)) + noise * rng.standard_normal(len(times))
        flags = np.full(len(times), GOOD, "<U3")
        spikes = rng.random(len(times)) < SPIKES
        values[spikes] += 0.15
        flags[spikes] = FLAG_SPIKE
        flags[np.repeat(air[:, row, column] < AIR_FROST_K, len(HOURS))] = FLAG_FROST
        # about a tenth of the time without readings, in spells
        for _ in range(3):
            begin = int(rng.integers(0, len(times)))
            values[begin : begin + len(times) // 30] = np.nan
        kept = np.isfinite(values)
        north = float(np.round(lat[row] + rng.uniform(-0.4, 0.4) * step, 5))
        east = float(np.round(lon[column] + rng.uniform(-0.4, 0.4) * step, 5))
        clipped = np.round(np.clip(values[kept], 0.01, 0.6), 4)
        name = f"Sim{number_of:03d}"
        found.append(Readings(name, int(row), int(column), north, east, times[kept], clipped, flags[kept]))
    return found


def write_ismn(stations: list[Readings], path: Path) -> None:
    """Write an archive of ISMN, format header and values: a .stm file a station, all readings with their flags.

    Args:
        stations: Of `simulated_stations`.
        path: The .zip file; it appears when it is complete.
    """
    partial = Path(f"{path}.partial")
    with ZipFile(partial, "w", ZIP_DEFLATED) as archive:
        for one in stations:
            first, last = (str(one.times[k])[:10].replace("-", "") for k in (0, -1))
            depth = f"{DEPTH_M:.6f}"
            name = f"SIM/{one.name}/SIM_SIM_{one.name}_sm_{depth}_{depth}_Probe_{first}_{last}.stm"
            head = f"SIM SIM {one.name} {one.lat:.5f} {one.lon:.5f} 0.0 {DEPTH_M:.4f} {DEPTH_M:.4f} Probe"
            rows = [
                f"{str(time)[:16].replace('-', '/').replace('T', ' ')} {value:.4f} {flag} M"
                for time, value, flag in zip(one.times, one.values, one.flags, strict=True)
            ]
            archive.writestr(name, "\n".join([head, *rows]) + "\n")
    partial.replace(path)


def write_csv(stations: list[Readings], path: Path) -> None:
    """Write the good readings as a table for the reader `station_csv`.

    Args:
        stations: Of `simulated_stations`.
        path: The .csv file; it appears when it is complete.
    """
    partial = Path(f"{path}.partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["station", "lat", "lon", "time", "sm"])
        for one in stations:
            for time, value, flag in zip(one.times, one.values, one.flags, strict=True):
                if flag == GOOD:
                    writer.writerow([one.name, f"{one.lat:.5f}", f"{one.lon:.5f}", str(time), f"{value:.4f}"])
    partial.replace(path)
