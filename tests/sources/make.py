"""Small files in the real layout of the products: names, groups, attributes, fill values, compression."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

CCI_FLAGS = "no_data_inconsistency_detected snow_coverage_or_temperature_below_zero dense_vegetation"


def esa_cci(
    folder: Path,
    day: str,
    kind: str = "COMBINED",
    version: str = "05.2",
    sm: np.ndarray | None = None,
    flag: np.ndarray | None = None,
    inside: str | None = None,
    gapfilled: bool = False,
) -> Path:
    """One day of ESA CCI; sm: (rows, columns), NaN = none. inside: the day that its time axis tells."""
    rows, columns = (4, 8) if sm is None else sm.shape
    sm = np.full((rows, columns), 0.25, np.float32) if sm is None else sm
    flag = np.where(np.isnan(sm), 127, 0).astype(np.int8) if flag is None else flag
    group = "SSMS" if kind == "ACTIVE" else "SSMV"
    path = folder / f"ESACCI-SOILMOISTURE-L3S-{group}-{kind}-{day}000000-fv{version}.nc"
    old = version.startswith("02")
    with netCDF4.Dataset(path, "w") as file:
        file.product_version = version
        for name, size in (("time", 1), ("lat", rows), ("lon", columns)):
            file.createDimension(name, size)
        number = (
            np.datetime64(f"{(inside or day)[:4]}-{(inside or day)[4:6]}-{(inside or day)[6:]}")
            - np.datetime64("1970-01-01")
        ).astype(float)
        for name, values, units in (
            ("time", [number - (1e-7 if old else 0)], "days since 1970-01-01 00:00:00 UTC"),
            ("lat", 90 - 180 / rows * (np.arange(rows) + 0.5), "degrees_north"),
            ("lon", -180 + 360 / columns * (np.arange(columns) + 0.5), "degrees_east"),
        ):
            variable = file.createVariable(name, "f8" if name == "time" else "f4", (name,))
            variable.units, variable[:] = units, values
        dims = ("time", "lat", "lon")
        t0 = file.createVariable("t0", "f8", dims, zlib=True, fill_value=-9999.0)
        t0.units, t0[:] = "days since 1970-01-01 00:00:00 UTC", np.where(np.isnan(sm), -9999.0, number + 0.3)[None]
        units = "percent" if kind == "ACTIVE" else "m3 m-3"
        for name, values in (("sm", sm), ("sm_uncertainty", 0.1 * sm)):
            if old:
                variable = file.createVariable(name, "i2", dims, zlib=True, fill_value=-9999)
                variable.set_auto_maskandscale(False)
                variable.scale_factor = 1e-4
                variable[:] = np.where(np.isnan(values), -9999, np.round(np.nan_to_num(values) * 1e4)).astype(np.int16)[
                    None
                ]
            else:
                variable = file.createVariable(name, "f4", dims, zlib=True, fill_value=np.float32(-9999))
                variable[:] = np.where(np.isnan(values), -9999, values)[None]
            variable.units = units
        if gapfilled:
            for name, values in (("gapmask", np.isnan(sm) + 0), ("frozenmask", np.zeros_like(sm))):
                variable = file.createVariable(name, "i1", dims, zlib=True)
                variable[:] = values[None].astype(np.int8)
        else:
            variable = file.createVariable("flag", "i1", dims, zlib=True, fill_value=np.int8(127))
            variable.set_auto_maskandscale(False)
            variable.flag_values, variable.flag_meanings = np.array([0, 1, 2], np.int8), CCI_FLAGS
            variable[:] = flag[None]
    return path
