"""Small files in the real layout of more soil-moisture products: swaths, points and model layers."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

ASCAT = {
    "soil_moisture": ("u2", 0.01, 65535),
    "soil_moisture_error": ("u2", 0.01, 65535),
    "proc_flag1": ("u1", None, 255),
    "snow_cover_probability": ("u1", None, 255),
    "frozen_soil_probability": ("u1", None, 255),
    "wetland_flag": ("u1", None, 255),
    "topography_flag": ("u1", None, 255),
}


def ascat_l2(folder: Path, name: str, lat: np.ndarray, lon: np.ndarray, **values: np.ndarray) -> Path:
    """A swath (lines, nodes); name: as 'METOPA 20170220041500'. values: percent and flags by the file's names, NaN =
    none; what is not given is 0, and none where there is no soil moisture."""
    platform, start = name.split()
    path = (
        folder / f"W_XX-EUMETSAT-Darmstadt,SURFACE+SATELLITE,{platform}+ASCAT_C_EUMP_{start}_53652_eps_o_250_ssm_l2.nc"
    )
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.createDimension("numRows", lat.shape[0])
        file.createDimension("numCells", lat.shape[1])
        dims = ("numRows", "numCells")
        lines = file.createVariable("utc_line_nodes", ">i4", ("numRows",), endian="big", fill_value=-2147483648)
        lines.units, lines[:] = "seconds since 2000-01-01 00:00:00", 540879300 + 3 * np.arange(lat.shape[0])
        for axis, degrees in (("latitude", lat), ("longitude", lon)):
            data = file.createVariable(axis, ">i4", dims, zlib=True, endian="big")
            data.set_auto_maskandscale(False)
            data.missing_value, data.scale_factor = np.int32(-2147483648), np.float32(1e-6)
            data[:] = np.where(np.isnan(degrees), -2147483648, np.round(np.nan_to_num(degrees) * 1e6))
        nothing = np.where(np.isnan(values["soil_moisture"]), np.nan, 0.0)
        for variable, (_, scale, fill) in ASCAT.items():
            given = values.get(variable, nothing)
            # unsigned numbers of the classic model: stored as signed ones
            kind = "i2" if scale else "i1"
            data = file.createVariable(variable, kind, dims, zlib=True)
            data.set_auto_maskandscale(False)
            data._Unsigned = "true"
            if scale:
                data.units, data.scale_factor = "percent", np.float32(scale)
            packed = np.where(np.isnan(given), fill, np.round(np.nan_to_num(given) / (scale or 1))).astype(np.uint16)
            data[:] = packed.astype(kind)
    return path
