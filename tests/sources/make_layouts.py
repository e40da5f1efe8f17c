"""Small files in layouts that other programs make of the products: cfgrib, earthkit, groups of NetCDF."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

from tests.sources.make_cov import LAT, LON

EPOCH = np.datetime64("1970-01-01")


def grid(file: netCDF4.Dataset, lat: np.ndarray = LAT, lon: np.ndarray = LON) -> None:
    for name, values, units in (("latitude", lat, "degrees_north"), ("longitude", lon, "degrees_east")):
        file.createDimension(name, len(values))
        variable = file.createVariable(name, "f8", (name,))
        variable.units, variable.standard_name, variable[:] = units, name, values


def times(file: netCDF4.Dataset, name: str, dims: tuple[str, ...], values: np.ndarray, standard: str = "time") -> None:
    variable = file.createVariable(name, "i8", dims)
    variable.units, variable.calendar, variable.standard_name = (
        "seconds since 1970-01-01",
        "proleptic_gregorian",
        standard,
    )
    variable[...] = (np.asarray(values, "datetime64[s]") - EPOCH).astype("timedelta64[s]").astype(np.int64)


def cfgrib(
    path: Path,
    start: np.ndarray,
    maps: dict[str, np.ndarray],
    steps: list[int] | None = None,
    level: str = "surface",
    valid_time: bool = True,
    chunk: tuple[int, ...] | None = None,
    single: bool = False,
) -> Path:
    """What xarray writes of a dataset of cfgrib. start: of the forecasts. steps: in hours, None: a scalar of 0.
    maps: (time, [step,] 4, 5), NaN where a message is missing. single: `number` is a dimension of length 1."""
    with netCDF4.Dataset(path, "w") as file:
        file.history = "2026-01-01T00:00 GRIB to CDM+CF via cfgrib-0.9.15.0/ecCodes-2.39.0"
        file.createDimension("time", len(start))
        times(file, "time", ("time",), start, "forecast_reference_time")
        along: tuple[str, ...] = ("time",)
        if steps is not None:
            file.createDimension("step", len(steps))
            along = ("time", "step")
        step = file.createVariable("step", "f8", along[1:])
        step.units, step.standard_name = "hours", "forecast_period"
        step[...] = 0 if steps is None else steps
        if valid_time:
            hours = np.array([0] if steps is None else steps) * np.timedelta64(1, "h")
            both = np.asarray(start, "datetime64[s]")[:, None] + hours
            times(file, "valid_time", along, both[:, 0] if steps is None else both)
        if single:
            file.createDimension("number", 1)
        file.createVariable("number", "i8", ("number",) if single else ())[...] = 0
        file.createVariable(level, "f8", ())[...] = 0
        grid(file)
        dims = (*(("number",) if single else ()), *along, "latitude", "longitude")
        for name, values in maps.items():
            variable = file.createVariable(
                name, "f4", dims, zlib=chunk is not None, chunksizes=chunk, fill_value=np.float32(np.nan)
            )
            variable[:] = values[None] if single else values
            variable.coordinates = f"number time step {level} latitude longitude valid_time"
    return path


def daily_statistic(
    folder: Path, long_name: str, how: str, days: np.ndarray, maps: dict[str, np.ndarray], told: bool = True
) -> Path:
    """A file of derived-era5-single-levels-daily-statistics. how: mean, sum, max, min; told by name and history."""
    path = folder / (f"{long_name}_0_daily-{how}.nc" if told else f"{long_name}_{how[0]}.nc")
    with netCDF4.Dataset(path, "w") as file:
        if told:
            file.history = (
                "2026-01-01T00:00 GRIB to CDM+CF via cfgrib-0.9.15.0/ecCodes-2.39.0\n"
                f"earthkit.transforms.aggregate.temporal.daily_reduce({long_name}_stream-oper, how={how}, "
                "**{'time_shift': {'hours': 0}, 'remove_partial_periods': True})"
            )
        file.createDimension("valid_time", len(days))
        variable = file.createVariable("valid_time", "i8", ("valid_time",))
        first = str(days[0])[:10]
        variable.units, variable.calendar = f"days since {first} 00:00:00", "proleptic_gregorian"
        variable[:] = (np.asarray(days, "datetime64[D]") - np.datetime64(first)).astype(np.int64)
        file.createVariable("number", "i8", ())[...] = 0
        grid(file)
        for name, values in maps.items():
            dims = ("valid_time", "latitude", "longitude")
            variable = file.createVariable(name, "f4", dims, zlib=True, fill_value=np.float32(np.nan))
            variable[:] = values
    return path
