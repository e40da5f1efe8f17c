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


def _axes(file: netCDF4.Dataset, time: list[float], units: str, lat: np.ndarray, lon: np.ndarray, short: bool) -> None:
    names = ("lat", "lon") if short else ("latitude", "longitude")
    for name, values, unit in (
        ("time", time, units),
        (names[0], lat, "degrees_north"),
        (names[1], lon, "degrees_east"),
    ):
        file.createDimension(name, len(values))
        variable = file.createVariable(name, "f8" if name == "time" else "f4", (name,))
        variable.units, variable[:] = unit, values


def days_since(day: str, epoch: str) -> int:
    return int((np.datetime64(day) - np.datetime64(epoch)) / np.timedelta64(1, "D"))


def imerg(folder: Path, day: str, rain: np.ndarray, version: str = "07B", units: str = "days") -> Path:
    """rain: (4, 5) of mm, NaN = none; the file has (time, lon, lat), south first. units: of the time: days, or seconds;
    the calendar is called julian, and the dates are the usual ones."""
    path = folder / f"3B-DAY.MS.MRG.3IMERG.{day.replace('-', '')}-S000000-E235959.V{version}.nc4"
    with netCDF4.Dataset(path, "w") as file:
        number = days_since(day, "1970-01-01") * (86400 if units == "seconds" else 1)
        since = f"{units} since 1970-01-01 00:00:00{' UTC' if units == 'seconds' else 'Z'}"
        _axes(file, [number], since, LAT[::-1], LON - 180, True)
        file["time"].calendar = "julian"
        name = "precipitation" if version > "07" else "precipitationCal"
        fill = np.float32(-9999.9)
        variable = file.createVariable(name, "f4", ("time", "lon", "lat"), zlib=True, fill_value=fill)
        variable.units = "mm/day" if version > "07" else "mm"
        variable[:] = np.where(np.isnan(rain), fill, rain)[::-1].T[None]
        file.createVariable(f"{name}_cnt", "i4", ("time", "lon", "lat"))[:] = 48
    return path


def chirps(folder: Path, year: int, rain: np.ndarray) -> Path:
    """rain: (days, 4, 5), north first."""
    path = folder / f"chirps-v2.0.{year}.days_p25.nc"
    with netCDF4.Dataset(path, "w") as file:
        first = days_since(f"{year}-01-01", "1980-01-01")
        time = [float(first + k) for k in range(len(rain))]
        _axes(file, time, "days since 1980-1-1 0:0:0", LAT[::-1], LON - 180, False)
        dims = ("time", "latitude", "longitude")
        variable = file.createVariable("precip", "f4", dims, zlib=True, fill_value=np.float32(-9999))
        variable.units, variable.missing_value = "mm/day", np.float32(-9999)
        variable[:] = np.where(np.isnan(rain), -9999, rain)[:, ::-1]
    return path


def gleam(folder: Path, name: str, year: int, maps: np.ndarray, turned: bool = False) -> Path:
    """maps: (days, 4, 5). turned: (time, lon, lat) as up to v3.3, and -999 that no attribute tells."""
    path = folder / f"{name}_{year}_GLEAM_v{'3.3a' if turned else '4.2a'}.nc"
    with netCDF4.Dataset(path, "w") as file:
        first = days_since(f"{year}-01-01", "1970-01-01")
        _axes(file, [float(first + k) for k in range(len(maps))], "days since 1970-01-01", LAT, LON - 180, True)
        dims = ("time", "lon", "lat") if turned else ("time", "lat", "lon")
        fill = None if turned else np.float32(np.nan)
        variable = file.createVariable(name, "f4", dims, zlib=True, fill_value=fill)
        variable.units = "mm/day"
        variable[:] = np.where(np.isnan(maps), -999, maps).transpose(0, 2, 1) if turned else maps
    return path


def modis_hdf(path: Path, layers: dict[str, np.ndarray]) -> Path:
    """HDF4 file with stored whole numbers by name of layer."""
    from pyhdf.SD import SD, SDC

    kinds = {"int16": SDC.INT16, "uint16": SDC.UINT16, "uint8": SDC.UINT8}
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    for name, values in layers.items():
        layer = file.create(name, kinds[values.dtype.name], values.shape)
        layer[:] = values
        layer.endaccess()
    file.end()
    return path


def image(
    path: Path,
    values: np.ndarray,
    west: float = -10.0,
    north: float = 50.0,
    cell: float = 0.5,
    crs: str = "EPSG:4326",
    nodata: float | None = None,
) -> Path:
    """GeoTIFF with one map."""
    import rasterio
    from rasterio.transform import from_origin

    options = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "compress": "deflate",
    }
    move = from_origin(west, north, cell, cell)
    with rasterio.open(path, "w", dtype=values.dtype, crs=crs, transform=move, nodata=nodata, **options) as file:
        file.write(values, 1)
    return path


def amsr_tb(folder: Path, day: str, channel: str, kelvin: np.ndarray, overpass: str = "E") -> Path:
    """kelvin: (4, 4), NaN = none. day: YYYYDDD."""
    path = folder / f"NSIDC-0630-EASE2_N25km-AQUA_AMSRE-{day}-{channel}-{overpass}-GRD-RSS-v1.0.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.product_version = "v1.0"
        metres = 25000.0 * np.array([1.5, 0.5, -0.5, -1.5])
        date = np.datetime64(f"{day[:4]}-01-01") + int(day[4:]) - 1
        axes = {"time": [days_since(str(date), "1972-01-01")], "y": metres, "x": metres[::-1]}
        for name, values in axes.items():
            file.createDimension(name, len(values))
            variable = file.createVariable(name, "f8", (name,))
            variable.units, variable[:] = "days since 1972-01-01 00:00:00" if name == "time" else "meters", values
            variable.standard_name = "time" if name == "time" else f"projection_{name}_coordinate"
        crs = file.createVariable("crs", "S1", ())
        crs.srid, crs.grid_mapping_name = "urn:ogc:def:crs:EPSG::6931", "lambert_azimuthal_equal_area"
        variable = file.createVariable("TB", "u2", ("time", "y", "x"), zlib=True, fill_value=np.uint16(0))
        variable.set_auto_maskandscale(False)
        variable.units, variable.scale_factor, variable.add_offset = "K", 0.01, 0.0
        variable.missing_value, variable.valid_range = np.uint16(60000), np.array([5000, 35000], np.uint16)
        variable[:] = np.where(np.isnan(kelvin), 0, np.round(np.nan_to_num(kelvin) * 100)).astype(np.uint16)[None]
    return path


SMOS_ANGLES = np.array([*np.arange(2.5, 40, 5), 40, *np.arange(42.5, 65, 5)])


def smos_tb(folder: Path, day: str, h: np.ndarray, v: np.ndarray, overpass: str = "A") -> Path:
    """h, v: (14, 4, 5) of K by incidence angle, north first, NaN = none."""
    path = folder / f"SM_RE07_MIR_CDF3T{overpass}_{day}T000000_{day}T235959_330_001_7.DBL.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("inc", SMOS_ANGLES), ("lat", LAT[::-1]), ("lon", LON - 180)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f4", (name,))[:] = values
        for name, values in (("BT_H", h), ("BT_V", v)):
            variable = file.createVariable(name, "i2", ("inc", "lat", "lon"), zlib=True, fill_value=np.int16(-32768))
            variable.set_auto_maskandscale(False)
            variable.scale_factor, variable.add_offset, variable.units = 0.0061, 200.0, "K"
            packed = np.where(np.isnan(values), -32768, np.round((np.nan_to_num(values) - 200) / 0.0061))
            variable[:] = packed[:, ::-1].astype(np.int16)
    return path


def ismn_stm(folder: Path, station: str, depth: tuple[float, float], readings: list[tuple[str, float, str]]) -> Path:
    """Loose file, format header and values; readings: time (YYYY/MM/DD HH:MM), value, flag."""
    top, bottom = (f"{d:.6f}" for d in depth)
    path = folder / f"NET_NET_{station}_sm_{top}_{bottom}_Probe-X_20170101_20171231.stm"
    head = f"NET        NET        {station}        40.50000   -3.25000    650.0 {depth[0]:.4f} {depth[1]:.4f} Probe-X"
    rows = [f"{time} {value:.4f} {flag} M" for time, value, flag in readings]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path
