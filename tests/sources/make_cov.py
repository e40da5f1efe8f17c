"""Small files of covariates and stations in the real layout of the products."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

LAT, LON = np.array([2.0, 1.0, 0.0, -1.0]), np.array([0.0, 90.0, 180.0, 270.0, 359.0])


def era5(
    path: Path,
    times: np.ndarray,
    maps: dict[str, np.ndarray],
    old: bool = False,
    expver: bool = False,
    chunk: tuple[int, int, int] | None = None,
) -> Path:
    """Hourly file of the Climate Data Store; maps: (time, 4, 5) by short name, NaN = none.

    old: NetCDF-3 with int16 packed values, as before 2024; expver: there with final and preliminary halves.
    """
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET" if old else "NETCDF4") as file:
        axis = "time" if old else "valid_time"
        for name, size in ((axis, len(times)), ("latitude", len(LAT)), ("longitude", len(LON))):
            file.createDimension(name, size)
        since, step, kind = ("1900-01-01", "h", "i4") if old else ("1970-01-01", "s", "i8")
        variable = file.createVariable(axis, kind, (axis,))
        variable.units = f"{'hours' if old else 'seconds'} since {since}{' 00:00:00.0' if old else ''}"
        variable.calendar = "gregorian" if old else "proleptic_gregorian"
        variable[:] = (times - np.datetime64(since)) // np.timedelta64(1, step)
        for name, values, units in (("latitude", LAT, "degrees_north"), ("longitude", LON, "degrees_east")):
            variable = file.createVariable(name, "f4" if old else "f8", (name,))
            variable.units, variable[:] = units, values
        dims: tuple[str, ...] = (axis, "latitude", "longitude")
        if expver:
            file.createDimension("expver", 2)
            file.createVariable("expver", "i4", ("expver",))[:] = [1, 5]
            dims = (axis, "expver", "latitude", "longitude")
        if not old:
            file.createVariable("number", "i8", ())[...] = 0
            file.createVariable("expver", str, (axis,))[:] = np.full(len(times), "0001", object)
            file.createDimension("time", 1)  # of another variable, as in files made from GRIB
            variable = file.createVariable("time", "i4", ("time",))
            variable.units, variable[:] = "hours since 1900-01-01", [998520]
            file.createVariable("lsm", "f8", ("time", "latitude", "longitude"))[:] = 1.0
        for name, values in maps.items():
            if old:
                _packed(file, name, dims, _halves(values) if expver else values)
            else:
                variable = file.createVariable(name, "f4", dims, zlib=True, chunksizes=chunk, fill_value=np.nan)
                variable[:] = values
                variable.GRIB_shortName = name
    return path


def _halves(values: np.ndarray) -> np.ndarray:
    half = len(values) // 2
    both = np.full((len(values), 2, *values.shape[1:]), np.nan)
    both[:half, 0], both[half:, 1] = values[:half], values[half:]
    return both


def _packed(file: netCDF4.Dataset, name: str, dims: tuple[str, ...], values: np.ndarray) -> None:
    """int16 over the range of the values, as the store packed them."""
    low, high = np.nanmin(values), np.nanmax(values)
    variable = file.createVariable(name, "i2", dims, fill_value=np.int16(-32767))
    variable.set_auto_maskandscale(False)
    scale = max(high - low, 1e-6) / 65532
    variable.scale_factor, variable.add_offset, variable.missing_value = scale, (low + high) / 2, np.int16(-32767)
    packed = np.round((values - (low + high) / 2) / scale)
    variable[:] = np.where(np.isnan(values), -32767, np.nan_to_num(packed)).astype(np.int16)
