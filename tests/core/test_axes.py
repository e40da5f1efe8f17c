"""Axes as users' files have them: told by names, units, standard names or axis attributes."""

from __future__ import annotations

import cftime
import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.errors import CubeError
from sgdsm.sources.readers.files import open_product

TIME = xr.date_range("2020-01-01", periods=5)
LAT, LON = 50.0 - np.arange(3), 5.0 + np.arange(4)
VALUES = np.random.default_rng(0).uniform(0.1, 0.4, (5, 3, 4)).astype(np.float32)
NORTH, EAST = {"units": "degrees_north"}, {"units": "degrees_east"}
CUBE = as_cube(
    xr.Dataset({"sm": (("time", "lat", "lon"), VALUES, {"units": "1"})}, {"time": TIME, "lat": LAT, "lon": LON}), "sm"
)


def like(dims, coords):
    """A Dataset with the values of CUBE under other names."""
    return xr.Dataset({"sm": (dims, VALUES, {"units": "1"})}, coords)


LAYOUTS = {
    "cfgrib": like(
        ("time", "latitude", "longitude"),
        {"time": TIME - np.timedelta64(6, "h"), "latitude": LAT, "longitude": LON, "valid_time": ("time", TIME),
         "step": np.timedelta64(6, "h"), "number": 0},
    ),
    "CDS": like(
        ("valid_time", "latitude", "longitude"),
        {"valid_time": TIME, "latitude": LAT, "longitude": LON, "time": ("valid_time", TIME - np.timedelta64(1, "D"))},
    ),
    "scalar time": like(
        ("valid_time", "latitude", "longitude"),
        {"valid_time": TIME, "latitude": LAT, "longitude": LON, "time": np.datetime64("2019-12-31"), "lat": 7.0},
    ),
    "auxiliary lat": like(
        ("time", "latitude", "longitude"),
        {"time": TIME, "latitude": LAT, "longitude": LON, "lat": ("latitude", LAT), "lon": ("longitude", LON)},
    ),
    "i, j": like(
        ("time", "j", "i"), {"time": TIME, "j": ("j", LAT, NORTH), "i": ("i", LON, EAST)}
    ),
    "standard names": like(
        ("a", "b", "c"),
        {
            "a": ("a", TIME, {"standard_name": "time"}),
            "b": ("b", LAT, {"standard_name": "latitude"}),
            "c": ("c", LON, {"standard_name": "longitude"}),
        },
    ),
    "T, Y, X": like(
        ("T", "Y", "X"), {"T": ("T", TIME, {"axis": "T"}), "Y": ("Y", LAT, NORTH), "X": ("X", LON, EAST)}
    ),
    "degree_N": like(
        ("time", "r", "s"),
        {"time": TIME, "r": ("r", LAT, {"units": "degree_N"}), "s": ("s", LON, {"units": "degreesE"})},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_axes_are_told(layout, tmp_path):
    beside = ["number", "step"]
    xr.testing.assert_equal(as_cube(LAYOUTS[layout], "sm").drop_vars(beside, errors="ignore"), CUBE)
    path = tmp_path / "a.nc"
    LAYOUTS[layout].to_netcdf(path)
    found = open_cube(str(path), "sm").drop_vars(beside, errors="ignore")
    xr.testing.assert_equal(found.drop_attrs(), CUBE.drop_attrs())
    if layout not in ("standard names",):
        found = open_product("netcdf_grid", path, variables={"sm": "sm"})
        np.testing.assert_array_equal(found["sm"].values, VALUES)


@pytest.mark.parametrize("extra", ["band", "depth", "expver", "number", "level"])
def test_a_dimension_of_length_1_is_left_out(extra, caplog):
    caplog.set_level("INFO", "sgdsm")
    dataset = CUBE[["sm"]].expand_dims({extra: [1]}, axis=1).drop_attrs()
    xr.testing.assert_equal(as_cube(dataset, "sm"), CUBE)
    assert f"left out dimensions of length 1: {extra}" in caplog.text
    two = CUBE[["sm"]].expand_dims({extra: [1, 5]}, axis=1)
    with pytest.raises(CubeError, match=rf"dims \('time', '{extra}', 'lat', 'lon'\), expected time and lat, lon"):
        as_cube(two, "sm")


def test_a_single_map_takes_the_time_beside_it():
    one = CUBE[["sm"]].isel(time=2).assign(rain=CUBE["sm"].isel(time=2), clay=CUBE["sm"].isel(time=0, drop=True))
    cube = as_cube(one, "sm", ["rain"], ["clay"])
    assert cube["sm"].dims == cube["rain"].dims == ("time", "lat", "lon")
    assert cube["clay"].dims == ("lat", "lon")
    assert cube["time"].values[0] == TIME[2]
    with pytest.raises(CubeError, match=r"dims \('lat', 'lon'\), expected time and lat, lon"):
        as_cube(one.drop_vars("time"), "sm")


def test_axes_that_nothing_tells_are_named():
    with pytest.raises(
        CubeError, match=r"dims \('time', 'row', 'col'\), expected .* called by these names, or known by the attr"
    ):
        as_cube(like(("time", "row", "col"), {"time": TIME, "row": LAT, "col": LON}), "sm")


@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian"])
def test_cftime_dates_of_the_standard_calendar(calendar):
    dates = [cftime.datetime(2020, 1, day, 6, calendar=calendar) for day in range(1, 6)]
    xr.testing.assert_equal(as_cube(CUBE[["sm"]].assign_coords(time=dates), "sm"), CUBE)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian"])
def test_other_calendars_are_refused_with_the_cure(calendar):
    dates = [cftime.datetime(2020, 1, day, calendar=calendar) for day in range(1, 6)]
    with pytest.raises(CubeError, match=f"calendar '{calendar}'.*convert_calendar"):
        as_cube(CUBE[["sm"]].assign_coords(time=dates), "sm")
