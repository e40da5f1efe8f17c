from __future__ import annotations

import netCDF4
import numpy as np
import pytest
from conftest import shared_data

from sgdsm.cube import ConfigError
from sgdsm.sources.files import SourceError, open_product
from sources import make_cov


def test_names_time_and_units(tmp_path):
    maps = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    make_cov.chirps(tmp_path, 2003, maps)
    cube = open_product("netcdf_grid", tmp_path, variables={"rain": "precip"})
    np.testing.assert_array_equal(cube["rain"], maps)
    assert cube["rain"].attrs["units"] == "mm/day"
    assert cube.sizes["time"] == 3


def test_date_of_the_name(tmp_path):
    for day in ("20200102", "20200101"):
        with netCDF4.Dataset(tmp_path / f"x_{day}.nc", "w") as file:
            for name, values in (("latitude", make_cov.LAT), ("longitude", make_cov.LON)):
                file.createDimension(name, len(values))
                file.createVariable(name, "f4", (name,))[:] = values
            file.createVariable("v", "f4", ("latitude", "longitude"))[:] = float(day[-1])
    cube = open_product("netcdf_grid", tmp_path, variables={"a": "v"}, date=r"_(\d{8})")
    assert cube["a"].mean(("lat", "lon")).values.tolist() == [1, 2]


def test_truncated_netcdf3_is_named_and_not_read_as_zeros(tmp_path):
    times = np.datetime64("2020-01-01", "ns") + np.timedelta64(1, "h") * np.arange(24)
    path = make_cov.era5(tmp_path / "a.nc", times, {"t2m": np.full((24, 4, 5), 280.0)}, old=True)
    cube = open_product("netcdf_grid", tmp_path, variables={"t": "t2m"})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"a\.nc: cannot be read .*truncated: it has"):
        cube.load()


def test_a_file_that_is_no_netcdf_or_has_no_time_is_not_left_out_silently(tmp_path):
    make_cov.chirps(tmp_path, 2003, np.zeros((1, 4, 5)))
    (tmp_path / "a.nc").write_text("<html>404</html>")
    with pytest.raises(SourceError, match=r"a\.nc: cannot be read"):
        open_product("netcdf_grid", tmp_path, variables={"rain": "precip"})
    netCDF4.Dataset(tmp_path / "a.nc", "w").close()
    with pytest.raises(SourceError, match=r"a\.nc: no variable 'precip', there are none"):
        open_product("netcdf_grid", tmp_path, variables={"rain": "precip"})
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name in ("latitude", "longitude"):
            file.createDimension(name, 2)
        file.createVariable("precip", "f4", ("latitude", "longitude"))
    with pytest.raises(SourceError, match=r"a\.nc: 'precip' has no time axis there"):
        open_product("netcdf_grid", tmp_path, variables={"rain": "precip"})


def test_what_is_wrong_is_said(tmp_path):
    make_cov.chirps(tmp_path, 2003, np.zeros((1, 4, 5)))
    with pytest.raises(SourceError, match="no variable 'rain', there are precip"):
        open_product("netcdf_grid", tmp_path, variables={"a": "rain"})
    with pytest.raises(ConfigError, match="variables"):
        open_product("netcdf_grid", tmp_path, variables={})


@pytest.mark.shared_data
def test_real_map_without_time():
    folder = shared_data() / "products" / "misc_ndvi"
    cube = open_product("netcdf_grid", folder, variables={"ndvi": "ndvi_max"})
    with netCDF4.Dataset(folder / "ndvi_time.nc") as file:
        raw = np.ma.filled(file["ndvi_max"][:], np.nan)
    np.testing.assert_array_equal(cube["ndvi"], raw[::-1])
    assert cube["lat"].values[0] == pytest.approx(38.362698)
    assert cube["ndvi"].dims == ("lat", "lon")


@pytest.mark.shared_data
def test_the_time_axis_is_that_of_the_variable():
    folder = shared_data() / "products" / "era5land_cds_nc"  # it has valid_time and time
    cube = open_product("netcdf_grid", folder, variables={"soil_water": "swvl1"})
    assert cube.sizes["time"] == 168
    assert open_product("netcdf_grid", folder, variables={"land": "lsm"}).sizes["time"] == 1
