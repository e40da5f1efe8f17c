"""Coordinates that are no places, times that are no days, attributes that are no text."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.coordinates import check_axes, check_text, days_along
from sgdsm.core.cube import as_cube, check_cube
from sgdsm.core.days import whole_days
from sgdsm.core.errors import CubeError


@pytest.mark.parametrize("units", ["ns", "us"])
def test_times_are_rounded_to_the_second_before_their_day(units):
    midnight = np.datetime64("2020-03-01T00:00:00", "ns")
    near = midnight + np.array([-86, -1, 0, 1, 86]) * np.timedelta64(1, "us")
    late = midnight - np.timedelta64(2, "s")
    found = whole_days(np.append(near, late).astype(f"M8[{units}]"))
    np.testing.assert_array_equal(found, [*[midnight] * 5, midnight - np.timedelta64(1, "D")])


def test_a_cube_whose_times_fall_a_rounding_error_short_keeps_its_days(plain):
    dataset = plain()
    short = dataset.assign_coords(time=dataset["time"] - np.timedelta64(86, "us"))
    np.testing.assert_array_equal(as_cube(short, "sm")["time"], dataset["time"])


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ({"lat": list("abcd")}, "'lat' holds <U1 values, like a: expected numbers"),
        ({"lon": [5, 6, np.nan, 8, 9]}, "'lon' has 1 values that are missing or infinite"),
        ({"lat": [90.5, 90, 89, 88]}, "'lat' goes from 88 to 90.5: expected -90 to 90"),
        ({"lat": [5e6, 4e6, 3e6, 2e6]}, "those of a projection are called y and x"),
        ({"lon": [-400, -399, -398, -397, -396]}, "'lon' goes from -400 to -396: expected -360 to 720"),
        ({"lon": [0, 100, 200, 300, 361]}, "at most once round the globe"),
        ({"lat": [50, 49, 49, 48]}, "'lat' holds 49 more than once"),
    ],
)
def test_coordinates_that_are_no_places_are_named(plain, cube, coords, message):
    changed = plain().assign_coords(coords)
    with pytest.raises(CubeError, match=message):
        as_cube(changed, "sm")
    with pytest.raises(CubeError, match=message):
        check_cube(cube.assign_coords(coords))


@pytest.mark.parametrize("coords", [{"lat": [90.0, 30, -30, -90]}, {"lon": [0.0, 90, 180, 270, 360]}])
def test_the_whole_globe_is_no_mistake(plain, coords):
    check_axes(plain(**coords), ["lat", "lon"])


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), ["m3", "m-3"], {"a": 1}])
@pytest.mark.parametrize("key", ["units", "standard_name", "role"])
def test_an_attribute_that_must_be_text_is_named(plain, key, value):
    dataset = plain()
    dataset["sm"].attrs[key] = value
    with pytest.raises(CubeError, match=f"the attribute {key} of 'sm' is .*: expected text"):
        check_text(dataset)
    with pytest.raises(CubeError, match=f"the attribute {key} of 'sm' is"):
        as_cube(dataset, "sm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("time"), "dimension 'time' has no coordinate values"),
        (lambda d: d.convert_calendar("noleap"), "calendar 'noleap', expected a standard"),
        (lambda d: d.assign_coords(time=np.arange(40)), "time holds int64 values, expected dates"),
        (lambda d: d.assign_coords(time=d["time"].where(d["time"] != d["time"][3])), "time has 1 missing values"),
        (lambda d: d.isel(time=[0, 1, 1, 2]), "time has 1 duplicated days, the first is 2020-01-02"),
    ],
)
def test_times_that_are_no_days_are_named(plain, change, message):
    changed: xr.Dataset = change(plain())
    with pytest.raises(CubeError, match=message):
        days_along(changed)
