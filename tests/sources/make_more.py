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


def lis(folder: Path, when: str, layers: np.ndarray, land: np.ndarray | None = None) -> Path:
    """A time of LIS, as '201703310000'. layers: (layers, rows, columns) m3 m-3, rows from the south. land: where the
    file tells coordinates."""
    path = folder / f"LIS_HIST_{when}.d01.nc"
    count, rows, columns = layers.shape
    land = np.ones((rows, columns), bool) if land is None else land
    lat, lon = np.meshgrid(29.875 + 0.25 * np.arange(rows), -11.375 + 0.25 * np.arange(columns), indexing="ij")
    with netCDF4.Dataset(path, "w") as file:
        file.MAP_PROJECTION, file.DX, file.DY = "EQUIDISTANT CYLINDRICAL", np.float32(0.25), np.float32(0.25)
        sizes = {"north_south": rows, "east_west": columns, "SoilMoist_profiles": count, "time": 1}
        for dim, size in sizes.items():
            file.createDimension(dim, size)
        map_ = ("north_south", "east_west")
        for name, dims, values in (
            ("lat", map_, np.where(land, lat, -9999)),
            ("lon", map_, np.where(land, lon, -9999)),
            ("SoilMoist_inst", ("SoilMoist_profiles", *map_), np.where(np.isnan(layers), -9999, layers)),
        ):
            data = file.createVariable(name, "f4", dims, fill_value=np.float32(-9999))
            data.missing_value, data[:] = np.float32(-9999), values
        file["SoilMoist_inst"].units = "m^3 m-3"
        time = file.createVariable("time", "f4", ("time",))
        time.units = f"minutes since {when[:4]}-{when[4:6]}-{when[6:8]} {when[8:10]}:{when[10:]}:00"
        time.calendar, time[:] = "proleptic_gregorian", 0
    return path


def lis_stack(folder: Path, first: str, sm: np.ndarray) -> Path:
    """Days from `first` on, as '2017-03-30', of one layer; sm: (days, rows, columns), rows from the south."""
    path = folder / "lis_noahmp_stacked.nc"
    with netCDF4.Dataset(path, "w") as file:
        axes = {
            "time": np.arange(sm.shape[0]),
            "lat": 29.875 + 0.25 * np.arange(sm.shape[1]),
            "lon": -11.375 + 0.25 * np.arange(sm.shape[2]),
        }
        for name, values in axes.items():
            file.createDimension(name, len(values))
            file.createVariable(name, values.dtype, (name,))[:] = values
        file["time"].units, file["time"].calendar = f"days since {first} 00:00:00", "proleptic_gregorian"
        data = file.createVariable("SoilMoist_inst", "f4", tuple(axes), fill_value=np.float32(-9999))
        data.missing_value, data.units = np.float32(-9999), "m^3 m-3"
        data[:] = np.where(np.isnan(sm), -9999, sm)
    return path


def smos_l2(folder: Path, start: str, ids: list[int], file_class: str = "REPR", **values: list[float]) -> Path:
    """A half orbit of MIR_SMUDP2; start: as '20100601T073146'. values: by the file's names (RFI_Prob packed), NaN =
    none; what is not given is 0."""
    path = folder / f"SM_{file_class}_MIR_SMUDP2_{start}_{start[:9]}235959_700_100_1.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.createDimension("n_grid_points", len(ids))
        for name, kind, fill in (
            ("Soil_Moisture", "f4", -999.0),
            ("Soil_Moisture_DQX", "f4", -999.0),
            ("Science_Flags", "i4", 0),
            ("Confidence_Flags", "i2", 0),
            ("RFI_Prob", "i1", 0),
            ("Grid_Point_ID", "i4", 0),
        ):
            data = file.createVariable(name, kind, ("n_grid_points",), zlib=True, fill_value=np.array(fill, kind))
            data.set_auto_maskandscale(False)
            if kind == "f4":
                data.units = "m3 m-3"
            else:
                data._Unsigned = "true"
            if name == "RFI_Prob":
                data.scale_factor, data.scale_offset = 0.004999999888241291, 0.0
            given = np.array(ids if name == "Grid_Point_ID" else values.get(name, np.zeros(len(ids))), np.float64)
            data[:] = np.where(np.isnan(given), fill, given).astype("i8" if kind != "f4" else kind).astype(kind)
    return path
