from __future__ import annotations

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import open_cube
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import decode
from sgdsm.core.io.hdf5 import NetcdfWriter, open_hdf5


def test_reads_what_netcdf_wrote_lazily(plain, tmp_path):
    dataset = plain()
    dataset.to_netcdf(tmp_path / "a.nc", encoding={"sm": {"dtype": "i2", "scale_factor": 1e-4, "_FillValue": -9999}})
    got = decode(open_hdf5(tmp_path / "a.nc"))
    with xr.open_dataset(tmp_path / "a.nc") as expected:
        xr.testing.assert_equal(got.load(), expected.load())
    got = decode(open_hdf5(tmp_path / "a.nc"))
    turned = got["sm"].isel(time=slice(30, 2, -3), lat=slice(None, None, -1), lon=[3, 0])
    expected = dataset["sm"].isel(time=slice(30, 2, -3), lat=slice(None, None, -1), lon=[3, 0])
    np.testing.assert_allclose(turned.values, expected.values, atol=1e-4)


def test_groups_and_bare_arrays(tmp_path):
    values = np.random.default_rng(0).random((6, 3, 4)).astype(np.float32)
    with h5py.File(tmp_path / "cci.h5", "w") as file:
        file["coords/time"] = np.arange(6)
        file["coords/time"].attrs["units"] = "days since 2000-01-01"
        file["coords/lat"], file["coords/lon"] = [2.0, 1.0, 0.0], [5.0, 6.0, 7.0, 8.0]
        file["target/sm"] = values
        file["target/sm"].attrs["units"] = "m3 m-3"
        file["dynamic/rain"] = 2 * values
        file["static/clay"] = values[0]
    cube = open_cube(str(tmp_path / "cci.h5"), "sm", ["rain"], ["clay"])
    np.testing.assert_array_equal(cube["sm"].values, values)
    assert str(cube["time"].values[-1])[:10] == "2000-01-06"


def test_arrays_whose_dims_cannot_be_told_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO", "sgdsm")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["lat"], file["lon"] = [2.0, 1.0, 0.0], [5.0, 6.0, 7.0]
        file["sm"] = np.zeros((3, 3))
        file["meta/lat"] = [1.0, 2.0]
    with pytest.raises(CubeError, match=r"odd.h5: no variable 'sm'"):
        open_cube(str(tmp_path / "odd.h5"), "sm")
    assert "left out: array '/sm': dimension 0 of length 3 fits ['lat', 'lon']" in caplog.text
    assert "two arrays are called 'lat': meta/lat goes by its whole path" in caplog.text


def test_writes_netcdf4_that_the_netcdf_library_reads(tmp_path):
    path = tmp_path / "w.nc"
    values = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    coords = {
        "time": (np.arange(5), {"units": "days since 1970-01-01", "standard_name": "time"}),
        "lat": (np.array([2.0, 1, 0]), {"units": "degrees_north"}),
        "lon": (np.array([0.0, 1, 2, 3]), {"units": "degrees_east"}),
    }
    variables = {
        "sm": (("time", "lat", "lon"), np.float32, {"_FillValue": np.float32(np.nan), "units": "m3 m-3"}),
        "flag": (("lat", "lon"), np.int8, {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes"}),
    }
    writer = NetcdfWriter(path, coords, variables, {"title": "t"})
    writer.write("sm", values[:3], (slice(0, 3), slice(0, 3)))
    writer.close()
    with netCDF4.Dataset(path) as file:
        assert file["sm"].dimensions == ("time", "lat", "lon")
        assert len(file.dimensions["time"]) == 5
        assert file.title == "t"
        np.testing.assert_array_equal(file["sm"][:3].filled(), values[:3])
        assert file["sm"][3:].mask.all() or np.isnan(file["sm"][3:].filled(np.nan)).all()
    with xr.open_dataset(path) as dataset:
        assert str(dataset["time"].values[0])[:10] == "1970-01-01"
        assert dataset["flag"].attrs["flag_meanings"] == "no yes"
