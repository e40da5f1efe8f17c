from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_cov, make_layouts


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


MAPS = np.random.default_rng(1).random((2, 4, 5)).astype(np.float32)


def grouped(path, axes="root", time=True):
    """Maps in the group `Geophysical_Data`, as SMAP L4 and OMI have them, with their axes at the root or in it."""
    with netCDF4.Dataset(path, "w") as file:
        group = file.createGroup("Geophysical_Data")
        holder = file if axes == "root" else group
        make_layouts.grid(holder, lon=make_cov.LON - 180)
        dims = ("latitude", "longitude")
        if time:
            holder.createDimension("time", 2)
            make_layouts.times(holder, "time", ("time",), np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"))
            dims = ("time", *dims)
        variable = group.createVariable("sm_surface", "f4", dims, fill_value=np.float32(-9999))
        variable.units, variable[:] = "m3 m-3", MAPS if time else MAPS[0]
    return path


@pytest.mark.parametrize("axes", ["root", "group"])
@pytest.mark.parametrize("ending", ["nc", "h5"])
def test_groups(tmp_path, axes, ending):
    path = grouped(tmp_path / f"a.{ending}", axes)
    for variables, more in (
        ({"sm": "Geophysical_Data/sm_surface"}, {}),
        ({"sm": "/Geophysical_Data/sm_surface"}, {}),
        ({"sm": "sm_surface"}, {"group": "Geophysical_Data"}),
    ):
        cube = open_product("netcdf_grid", path, variables=variables, **more)
        np.testing.assert_array_equal(cube["sm"], MAPS)
        assert cube["time"].values.tolist() == np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]").tolist()
        assert cube["lat"].values.tolist() == make_cov.LAT.tolist()
    with pytest.raises(SourceError, match=r"a\.\w+: no variable 'sm_surface', there are Geophysical_Data/sm_surface"):
        open_product("netcdf_grid", path, variables={"sm": "sm_surface"})


def test_a_map_without_time_in_a_group(tmp_path):
    path = grouped(tmp_path / "a.nc", time=False)
    cube = open_product("netcdf_grid", path, variables={"sm": "sm_surface"}, group="Geophysical_Data")
    np.testing.assert_array_equal(cube["sm"], MAPS[0])


def layered(path, time=True, **extra):
    """Maps with further dims, of the lengths `extra`."""
    with netCDF4.Dataset(path, "w") as file:
        make_layouts.grid(file, lon=make_cov.LON - 180)
        dims, shape = (), ()
        if time:
            file.createDimension("time", 2)
            make_layouts.times(file, "time", ("time",), np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"))
            dims, shape = ("time",), (2,)
        for name, size in extra.items():
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(size)
        dims, shape = (*dims, *extra, "latitude", "longitude"), (*shape, *extra.values(), 4, 5)
        maps = MAPS if time else MAPS[0]
        values = maps.reshape(*((2,) if time else ()), *(1 for _ in extra), 4, 5)
        file.createVariable("sm", "f4", dims)[:] = np.broadcast_to(values, shape)
    return path


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("names", [("band",), ("depth",), ("expver", "number"), ("layer",)])
def test_dims_of_length_1_are_left_out(tmp_path, names, time):
    path = layered(tmp_path / "a.nc", time, **dict.fromkeys(names, 1))
    cube = open_product("netcdf_grid", path, variables={"sm": "sm"})
    np.testing.assert_array_equal(cube["sm"], MAPS if time else MAPS[0])
    assert set(cube.coords) == ({"time", "lat", "lon"} if time else {"lat", "lon"})


def test_of_longer_dims_one_is_to_be_chosen(tmp_path):
    layered(tmp_path / "a.nc", band=3)
    with pytest.raises(SourceError, match=r"a\.nc: sm has dimensions .*'band': 3.*xarray's isel\(band=0\)"):
        open_product("netcdf_grid", tmp_path, variables={"sm": "sm"})


@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian", "Gregorian", None])
def test_real_calendars(tmp_path, calendar):
    path = layered(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        if calendar is None:
            file["time"].delncattr("calendar")
        else:
            file["time"].calendar = calendar
    assert open_product("netcdf_grid", path, variables={"sm": "sm"})["time"].dt.day.values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"calendar": "noleap"}, r"'time' has the calendar 'noleap'.*convert_calendar\('standard'\)"),
        ({"calendar": "360_day"}, r"'time' has the calendar '360_day'.*convert_calendar\('standard'\)"),
        ({"calendar": "julian", "units": "seconds since 1600-01-01"}, r"'time' has the calendar 'julian'"),
        ({"units": "1"}, r"'time' has the units '1', expected times like 'days since 1970-01-01'"),
        ({"units": "fortnights since 2000-01-01"}, r"'time' holds numbers that are no dates in 'fortnights since"),
        ({"units": "years since 0000-01-01"}, r"'time' holds numbers that are no dates"),
    ],
)
def test_times_that_are_no_dates(tmp_path, attributes, message):
    path = layered(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        for name, value in attributes.items():
            setattr(file["time"], name, value)
    with pytest.raises(SourceError, match=rf"a\.nc: {message}") as error:
        open_product("netcdf_grid", path, variables={"sm": "sm"})
    assert "\n" not in str(error.value)


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
