"""Small files in the real layout of soil-moisture products: names, groups, attributes, fill values, packing."""

from __future__ import annotations

from pathlib import Path

import h5py
import netCDF4
import numpy as np

COORDINATES = "/{0}/latitude{1} /{0}/longitude{1}"


def _smap_group(file: h5py.File, name: str, suffix: str, variables: dict[str, np.ndarray]) -> None:
    group = file.create_group(name)
    for variable, values in variables.items():
        data = group.create_dataset(variable + suffix, data=values, compression="gzip", shuffle=True)
        data.attrs["_FillValue"] = np.array(65534 if values.dtype == np.uint16 else -9999.0, values.dtype)
        data.attrs["coordinates"] = np.bytes_(COORDINATES.format(name, suffix))
        if variable == "soil_moisture":
            data.attrs["units"] = np.bytes_("cm**3/cm**3")
            data.attrs["valid_min"], data.attrs["valid_max"] = np.float32(0.02), np.float32(0.5)


def smap_l3(
    folder: Path,
    day: str,
    am: dict[tuple[int, int], tuple[float, int, int]],
    pm: dict[tuple[int, int], tuple[float, int, int]] | None = None,
    enhanced: bool = False,
    release: str = "R18290",
) -> Path:
    """A day of SPL3SMP (or _E); am, pm: (row, column) -> soil moisture, retrieval_qual_flag, surface_flag."""
    shape = (1624, 3856) if enhanced else (406, 964)
    path = folder / f"SMAP_L3_SM_P_{'E_' if enhanced else ''}{day}_{release}_001.h5"
    with h5py.File(path, "w") as file:
        file.create_group("Metadata/Extent")
        for overpass, cells in (("AM", am), ("PM", pm or {})):
            maps = {
                "soil_moisture": np.full(shape, -9999, np.float32),
                "retrieval_qual_flag": np.full(shape, 65534, np.uint16),
                "surface_flag": np.full(shape, 65534, np.uint16),
            }
            for cell, values in cells.items():
                for data, value in zip(maps.values(), values, strict=True):
                    data[cell] = value
            _smap_group(file, f"Soil_Moisture_Retrieval_Data_{overpass}", "_pm" if overpass == "PM" else "", maps)
    return path


def smap_l2(folder: Path, name: str, points: list[tuple[int, int, float, int, int]]) -> Path:
    """A half orbit of SPL2SMP; name: as '02801_A_20150811T013002'; points: row, column, sm, quality, surface flag."""
    path = folder / f"SMAP_L2_SM_P_{name}_R18290_001.h5"
    columns = list(zip(*points, strict=True))
    names = ("EASE_row_index", "EASE_column_index", "soil_moisture", "retrieval_qual_flag", "surface_flag")
    kinds = (np.uint16, np.uint16, np.float32, np.uint16, np.uint16)
    with h5py.File(path, "w") as file:
        file.create_group("Metadata")
        arrays = {n: np.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}
        _smap_group(file, "Soil_Moisture_Retrieval_Data", "", arrays)
    return path


def smap_l4(
    folder: Path,
    when: str,
    maps: dict[str, np.ndarray],
    rows: slice = slice(600, 604),
    columns: slice = slice(1000, 1005),
    version: str = "Vv7032",
) -> Path:
    """A time (20150331T013000) of SPL4SMGP, cut to a part of the grid; maps: (rows, columns), NaN = fill."""
    size = 9008.055210146
    path = folder / f"SMAP_L4_SM_gph_{when}_{version}_001.h5"
    limits = {"sm_surface": (0.0, 0.9), "sm_rootzone": (0.0, 0.9), "precipitation_total_surface_flux": (0.0, 0.05)}
    with h5py.File(path, "w") as file:
        for name, numbers in (
            ("y", (811.5 - np.arange(1624)[rows]) * size),
            ("x", (np.arange(3856)[columns] - 1927.5) * size),
        ):
            file.create_dataset(name, data=numbers)
        file.create_dataset("time", data=np.array([4.8e8]))
        file["time"].attrs["units"] = np.bytes_("seconds since 2000-01-01 11:58:55.816")
        for name in ("cell_lat", "cell_lon"):
            file.create_dataset(name, data=np.zeros((len(file["y"]), len(file["x"])), np.float32))
        for name, values in maps.items():
            stored = np.where(np.isnan(values), -9999, values).astype(np.float32)
            data = file.create_dataset(f"Geophysical_Data/{name}", data=stored, compression="gzip", shuffle=True)
            low, high = limits.get(name, (150.0, 350.0))
            data.attrs["_FillValue"] = data.attrs["missing_value"] = np.float32(-9999)
            data.attrs["valid_min"], data.attrs["valid_max"] = np.float32(low), np.array([high], np.float32)
            data.attrs["units"] = np.bytes_({"sm_surface": "m3 m-3"}.get(name, "K"))
    return path


def c3s(folder: Path, day: str, sm: np.ndarray, flag: np.ndarray, kind: str = "COMBINED", every: str = "DAILY") -> Path:
    """A file of C3S; sm, flag: (rows, columns), NaN = none. every: DAILY, DEKADAL or MONTHLY (without flags)."""
    group = "SSMS" if kind == "ACTIVE" else "SSMV"
    path = folder / f"C3S-SOILMOISTURE-L3S-{group}-{kind}-{every}-{day}000000-TCDR-v201801.0.0.nc"
    number = float((np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}") - np.datetime64("1970-01-01")).astype(int))
    rows, columns = sm.shape
    with netCDF4.Dataset(path, "w") as file:
        file.product_version = "v201801.0"
        _axes(file, time=[number], lat=90 - 180 / rows * (np.arange(rows) + 0.5), lon=_global(columns))
        file["time"].units = "days since 1970-01-01 00:00:00 UTC"
        t0 = _packed(file, "t0", "f8", np.where(np.isnan(sm), -9999.0, number + 0.3), -9999.0)
        t0.units = "days since 1970-01-01 00:00:00 UTC"
        for name, values in (("sm", sm), ("sm_uncertainty", 0.1 * sm)):
            data = _packed(file, name, "f4", np.where(np.isnan(values), -9999, values), np.float32(-9999))
            data.units = "percent" if kind == "ACTIVE" else "m3 m-3"
        if every == "DAILY":
            _packed(file, "flag", "i1", flag, np.int8(127))
            _packed(file, "dnflag", "i1", np.ones_like(flag), np.int8(0))
    return path


def smap_l3e_points(folder: Path, day: str, lat: list[float], lon: list[float], sm: list[float]) -> Path:
    """A list of points of the 9 km grid; day: as '2020-01-03'."""
    path = folder / f"Western-Australia_{day}.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("index", len(sm))
        for name, values in (("latitude", lat), ("longitude", lon), ("soil_moisture", sm), ("soil_moisture_dca", sm)):
            data = file.createVariable(name, "f4", ("index",), fill_value=np.float32(np.nan))
            data[:] = values
        file.createVariable("index", "i8", ("index",))[:] = np.arange(len(sm))
    return path


def smos_l3(
    folder: Path,
    day: str,
    orbit: str,
    lat: np.ndarray,
    lon: np.ndarray,
    sm: np.ndarray,
    dqx: np.ndarray | None = None,
    rfi: np.ndarray | None = None,
) -> Path:
    """A pass of CATDS L3 (A or D) on a part of the 25 km grid, rows from the south; packed as int16."""
    path = folder / f"SM_OPER_MIR_CLF31{orbit}_{day}T000000_{day}T235959_300_002_7.DBL.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        _axes(file, lat=lat, lon=lon)
        for name, values in (("Soil_Moisture", sm), ("Soil_Moisture_Dqx", dqx), ("Rfi_Prob", rfi)):
            if values is not None:
                data = file.createVariable(name, "i2", ("lat", "lon"), fill_value=np.int16(-32768))
                data.set_auto_maskandscale(False)
                data.scale_factor, data.add_offset = 3.05185094759971e-05, 0.0
                data[:] = np.where(np.isnan(values), -32768, np.round(np.nan_to_num(values) * 32767)).astype(np.int16)
    return path


def lprm(
    folder: Path, day: str, orbit: str, percent: np.ndarray, sensor: str = "AMSR2", bands: str = "c1 c2 x"
) -> Path:
    """A pass (A or D) of LPRM; percent: (rows, columns), NaN = none, north first; stored (Longitude, Latitude)."""
    path = folder / f"LPRM-{sensor}_L3_{orbit}_SOILM3_V001_{day}013507.nc4"
    rows, columns = percent.shape
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("Latitude", rows)
        file.createDimension("Longitude", columns)
        for name, values in (("Latitude", 90 - 180 / rows * (np.arange(rows) + 0.5)), ("Longitude", _global(columns))):
            axis = file.createVariable(name, "f4", (name,))
            axis.scale_factor, axis.add_offset, axis[:] = np.float32(1), np.float32(0), values
        stored = ("Longitude", "Latitude")
        file.createVariable("mask", "i2", stored, zlib=True, fill_value=np.int16(-32767))[:] = (percent.T > 45) * 2
        for k, band in enumerate(bands.split()):
            data = file.createVariable(f"soil_moisture_{band}", "i2", stored, zlib=True, fill_value=np.int16(-32767))
            data.set_auto_maskandscale(False)
            data.units, data.scale_factor, data.add_offset = "percent", np.float32(1), np.float32(0)
            data[:] = np.where(np.isnan(percent.T), -32767, np.nan_to_num(percent.T) + k).astype(np.int16)
            error = file.createVariable(f"soil_moisture_{band}_error", "f4", stored, zlib=True, fill_value=-32767.0)
            error.units, error[:] = "m3 m-3", np.where(np.isnan(percent.T), -32767, 0.05 + 0.01 * k)
    return path


def sgd_sm(folder: Path, day: str, original: np.ndarray, reconstructed: np.ndarray) -> Path:
    """A day of SGD-SM; (rows, columns) in whole percent, -32767 = none."""
    path = folder / f"LPRM_AMSR2_{day}.nc"
    rows, columns = original.shape
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("Latitude", rows)
        file.createDimension("Longitude", columns)
        latitude = file.createVariable("Latitude", "f4", ("Latitude",))
        latitude.units, latitude[:] = "degree_north", 90 - 180 / rows * (np.arange(rows) + 0.5)
        longitude = file.createVariable("Longitude", "f4", ("Longitude",))
        longitude.units, longitude[:] = "degree_east", _global(columns)
        for name, values in (("original_sm_c1", original), ("reconstructed_sm_c1", reconstructed)):
            data = file.createVariable(name, "i4", ("Latitude", "Longitude"), fill_value=np.int32(-32767))
            data.set_auto_maskandscale(False)
            data.units, data.scale_factor, data.add_offset, data.coordinates = "percent", 1.0, 0.0, "Longitude Latitude"
            data[:] = values
        file.date = day
    return path


def gldas(folder: Path, when: str, layers: dict[str, np.ndarray]) -> Path:
    """A time of GLDAS Noah; when: as '20160101.0600'. layers: kg m-2 by layer, (rows, columns) from the south."""
    path = folder / f"GLDAS_NOAH025_3H.A{when}.021.nc4"
    rows, columns = next(iter(layers.values())).shape
    time = np.datetime64(f"{when[:4]}-{when[4:6]}-{when[6:8]}T{when[9:11]}:{when[11:]}")
    with netCDF4.Dataset(path, "w") as file:
        minutes = float((time - np.datetime64("2000-01-01T03:00")).astype(int))
        _axes(file, time=[minutes], lat=-59.875 + 0.25 * np.arange(rows), lon=-179.875 + 0.25 * np.arange(columns))
        file["time"].units = " minutes since 2000-01-01 03:00:00"
        for layer, values in layers.items():
            data = _packed(
                file, f"SoilMoi{layer}cm_inst", "f4", np.where(np.isnan(values), -9999, values), np.float32(-9999)
            )
            data.units, data.missing_value = "kg m-2", np.float32(-9999)
    return path


def cmip6(folder: Path, first: str, mrsos: np.ndarray, calendar: str = "proleptic_gregorian") -> Path:
    """Days of CMIP6 from `first` (as '1970-01-01') on; mrsos: (days, rows, columns) kg m-2, rows from the south."""
    days, rows, columns = mrsos.shape
    path = folder / f"mrsos_day_EC-Earth3-Veg_land-hist_r1i1p1f1_gr_{first.replace('-', '')}-x.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.frequency, file.source_id = "day", "EC-Earth3-Veg"
        _axes(file, time=np.arange(days) + 0.5, lat=10.0 + np.arange(rows), lon=178.0 + np.arange(columns))
        file["time"].units, file["time"].calendar = f"days since {first} 00:00:00", calendar
        file.createVariable("depth", "f8", ())[:] = 0.05
        data = _packed(file, "mrsos", "f4", np.where(np.isnan(mrsos), 1e20, mrsos), np.float32(1e20))
        data.units, data.missing_value, data.coordinates = "kg m-2", np.float32(1e20), "depth"
    return path


def cgls(folder: Path, when: str, variables: dict[str, np.ndarray]) -> Path:
    """A time of CGLS 1 km, as '201706010000'; variables: bytes (rows, columns), 'ssm' or 'SWI_005' among them."""
    name = "SSM1km_{}_CEURO_S1CSAR" if "ssm" in variables else "SWI1km_{}_CEURO_SCATSAR"
    path = folder / f"c_gls_{name.format(when)}_V1.1.1.nc"
    rows, columns = next(iter(variables.values())).shape
    time = np.datetime64(f"{when[:4]}-{when[4:6]}-{when[6:8]}T{when[8:10]}:00")
    with netCDF4.Dataset(path, "w") as file:
        file.product_version = "V1.1.1"
        days = (time - np.datetime64("1970-01-01T12:00")).astype(float) / 60 / 24
        _axes(file, time=[days], lat=45 - (np.arange(rows) + 0.5) / 112, lon=-1 + (np.arange(columns) + 0.5) / 112)
        file["time"].units = "days since 1970-01-01T12:00:00"
        for variable, values in variables.items():
            data = _packed(file, variable, "u1", values, np.uint8(255))
            data.missing_value = np.uint8(255)
            if variable != "SSF":
                data.scale_factor = 0.5
    return path


def _global(columns: int) -> np.ndarray:
    return -180 + 360 / columns * (np.arange(columns) + 0.5)


def _axes(file: netCDF4.Dataset, **axes: np.ndarray | list[float]) -> None:
    for name, values in axes.items():
        file.createDimension(name, len(values))
        file.createVariable(name, "f8" if name == "time" else "f4", (name,))[:] = values


def _packed(file: netCDF4.Dataset, name: str, kind: str, values: np.ndarray, fill: object) -> netCDF4.Variable:
    """A variable (time, lat, lon) whose values are stored as they are."""
    data = file.createVariable(name, kind, ("time", "lat", "lon"), zlib=True, fill_value=fill)
    data.set_auto_maskandscale(False)
    data[:] = values if values.ndim == 3 else values[None]
    return data
