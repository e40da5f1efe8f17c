from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import (
    as_cube,
    by_role,
    check_cube,
    checked_cube,
    is_circular,
    open_cube,
    open_dataset,
    precipitation_of,
    seen_only,
    step_days,
    target_of,
    uncertainty_of,
)
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import MASKED, only_valid
from sgdsm.core.region import box_of
from sgdsm.data.record import usable


def test_naming_variables_makes_a_cube(plain):
    dataset = plain()
    cube = as_cube(dataset, "sm", ["rain"], ["clay"], precipitation="rain")
    check_cube(cube)
    assert by_role(cube, "target") == ["sm"]
    assert by_role(cube, "dynamic") == ["rain"]
    assert by_role(cube, "static") == ["clay"]
    assert precipitation_of(cube) == "rain"
    assert cube["land"].values.all()
    assert "role" not in dataset["sm"].attrs, "the user's own Dataset must not change"


def test_land_defaults_to_cells_ever_observed(plain):
    dataset = plain()
    dataset["sm"][:, 1, 2] = np.nan
    cube = as_cube(dataset, "sm")
    assert not cube["land"].values[1, 2]
    assert cube["land"].values.sum() == 19


def test_a_short_record_says_which_cells_it_leaves_unfilled(plain, caplog):
    dataset = plain(days=3)
    dataset["sm"][:, 0, 0] = np.nan
    with caplog.at_level("INFO", "sgdsm"):
        as_cube(dataset, "sm")
    assert "in only 3 maps" in caplog.text
    assert "count as no land and stay unfilled: name a land mask (data.land=NAME; land= in Python)" in caplog.text


def test_longitudes_across_greenwich_go_on(plain, caplog):
    dataset = plain()
    count = dataset.sizes["lon"]
    dataset = dataset.assign_coords(lon=(np.arange(count) - 2.0) % 360)
    with caplog.at_level("INFO", "sgdsm"):
        cube = as_cube(dataset, "sm")
    np.testing.assert_array_equal(cube["lon"], np.arange(count) - 2.0)
    np.testing.assert_array_equal(cube["sm"], as_cube(plain(), "sm")["sm"])
    assert "counted from -180 to 180" in caplog.text
    assert "turned it" not in caplog.text


def test_other_names_of_dims_and_turned_axes(plain, caplog):
    dataset = plain().isel(lat=slice(None, None, -1)).rename(lat="latitude", lon="longitude")
    with caplog.at_level(logging.INFO, "sgdsm"):
        cube = as_cube(dataset.transpose("longitude", "time", "latitude"), "sm", ["rain"])
    assert target_of(cube).dims == ("time", "lat", "lon")
    assert (np.diff(cube["lat"]) < 0).all()
    assert "turned" in caplog.text
    np.testing.assert_array_equal(target_of(cube).values, plain()["sm"].values)


def test_projected_grid(plain):
    dataset = plain().rename(lat="y", lon="x")
    assert target_of(as_cube(dataset, "sm")).dims == ("time", "y", "x")


def test_unsorted_times_are_sorted_and_told(plain, caplog):
    order = np.random.default_rng(0).permutation(40)
    with caplog.at_level(logging.INFO, "sgdsm"):
        cube = as_cube(plain().isel(time=order), "sm")
    assert "sorted" in caplog.text
    np.testing.assert_array_equal(cube["sm"].values, plain()["sm"].values)


def test_missing_days_are_refused_by_default_and_inserted_on_demand(plain):
    holey = plain().isel(time=[*range(10), *range(13, 40)])
    with pytest.raises(CubeError, match=r"lacks 3 days, the first after 2020-01-10.*missing_days=insert"):
        as_cube(holey, "sm")
    cube = as_cube(holey, "sm", ["rain"], missing_days="insert")
    assert cube.sizes["time"] == 40
    assert np.isnan(cube["sm"].values[10:13]).all()
    assert np.isnan(cube["rain"].values[10:13]).all()


def test_n_daily_cube(plain):
    cube = as_cube(plain().isel(time=slice(None, None, 3)), "sm")
    assert step_days(cube["time"]) == 3


def test_uneven_steps_are_refused(plain):
    uneven = plain().isel(time=[0, 2, 4, 7, 9, 11])
    for missing_days in ("refuse", "insert"):
        with pytest.raises(CubeError, match=r"steps of 2 days and one that is no multiple of that after 2020-01-05"):
            as_cube(uneven, "sm", missing_days=missing_days)


def test_kilometres_become_metres(plain):
    given = plain().rename(lat="y", lon="x")
    given["y"].attrs["units"] = given["x"].attrs["units"] = "km"
    cube = as_cube(given, "sm")
    assert cube["y"].values[0] == 50_000
    assert cube["x"].attrs["units"] == "m"


def test_time_of_day_is_dropped(plain, caplog):
    caplog.set_level("INFO", "sgdsm")
    dataset = plain()
    dataset = dataset.assign_coords(time=dataset["time"] + np.timedelta64(6, "h"))
    assert str(as_cube(dataset, "sm")["time"].values[0]) == "2020-01-01T00:00:00.000000000"
    assert "time of day was dropped: 2020-01-01T06:00 became 2020-01-01" in caplog.text


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda d: d, {"target": "smm"}, r"no variable 'smm' \(did you mean 'sm'\?\); there are sm, rain, clay"),
        (lambda d: d, {"dynamic": ["rian"]}, r"no variable 'rian' \(did you mean 'rain'\?\)"),
        (lambda d: d, {"dynamic": ["sm"]}, "'sm' is named twice"),
        (lambda d: d, {"precipitation": "clay"}, "must be one of the dynamic"),
        (lambda d: d, {"dynamic": ["clay"]}, r"dynamic variable 'clay' has dims \('lat', 'lon'\), expected"),
        (lambda d: d.rename(lat="row"), {}, r"dims \('time', 'row', 'lon'\), expected time and lat, lon"),
        (lambda d: d.isel(time=[0, 1, 1, 2]), {}, "1 duplicated days, the first is 2020-01-02"),
        (lambda d: d.isel(time=0, drop=True), {}, "expected time and lat, lon"),
        (lambda d: d.isel(time=slice(0, 0)), {}, "is empty"),
        (lambda d: d.drop_vars("lat"), {}, "'lat' of 'sm' has no coordinate values"),
        (lambda d: d.assign_coords(time=np.arange(40)), {}, "expected dates"),
        (lambda d: d.assign_coords(lat=[50.0, 49, 49, 48]), {}, "holds 49 more than once"),
        (lambda d: d.convert_calendar("360_day", align_on="date"), {}, "calendar '360_day', expected a standard"),
        (lambda d: d.assign(sm=d["sm"].astype(str)), {}, "expected numbers"),
        (lambda d: d.assign(land=("lat", np.ones(4))), {"land": "land"}, "land variable 'land' has dims"),
        (lambda d: d, {"uncertainty": "smu"}, r"no variable 'smu' \(did you mean 'sm'\?\)"),
        (lambda d: d, {"uncertainty": "sm"}, "'sm' is named twice"),
        (lambda d: d, {"uncertainty": "clay"}, r"uncertainty variable 'clay' has dims \('lat', 'lon'\), expected"),
        (lambda d: d, {"uncertainty": "rain"}, "uncertainty 'rain' is in 'mm d-1', expected 'm3 m-3', as 'sm' is"),
    ],
)
def test_what_is_wrong_is_named(plain, change, words, message):
    with pytest.raises(CubeError, match=message):
        as_cube(change(plain()), **{"target": "sm", **words})


def test_check_cube_asks_for_roles(plain):
    with pytest.raises(CubeError, match="role='target', found none"):
        check_cube(plain())


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".h5"])
def test_the_users_file_of_each_format(plain, tmp_path, suffix):
    dataset, path = plain(), tmp_path / f"mine{suffix}"
    if suffix == ".zarr":
        dataset.to_zarr(path, consolidated=False)
    else:
        dataset.to_netcdf(path, engine="netcdf4")
    cube = open_cube(str(path), "sm", ["rain"], ["clay"])
    for name in ("sm", "rain", "clay"):
        np.testing.assert_array_equal(cube[name].values, dataset[name].values)
    np.testing.assert_array_equal(cube["time"].values, dataset["time"].values)


def test_file_errors_name_the_file(tmp_path, plain):
    with pytest.raises(CubeError, match=r"absent.nc: no such file"):
        open_dataset(tmp_path / "absent.nc")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(CubeError, match=r"expected a file ending in"):
        open_dataset(tmp_path / "x.txt")
    whole = tmp_path / "whole.nc"
    plain().to_netcdf(whole)
    for suffix in (".nc", ".h5"):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(CubeError, match=rf"cut{suffix}: cannot be read"):
            open_dataset(cut)
    with pytest.raises(CubeError, match=r"whole.nc: no variable 'x'"):
        open_cube(str(whole), "x")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(CubeError, match=r"empty.zarr: cannot be read"):
        open_dataset(tmp_path / "empty.zarr")


def test_circular_longitude_is_judged_from_the_grid(plain):
    assert not is_circular(plain())
    assert is_circular(plain(columns=8, lon=np.arange(-180, 180, 45.0)))
    assert is_circular(plain(columns=8, lon=np.arange(0, 360, 45.0)))
    assert not is_circular(plain(columns=8, lon=np.arange(0, 320, 40.0)))


def test_box_of_time_and_bbox(cube):
    box = box_of(cube, ("2020-01-05", ""), [6, 47.5, 8, 49.5])
    assert box == (slice(4, 40), slice(1, 3), slice(1, 4))
    assert box_of(cube, ("2020-01", "2020-01")).days == slice(0, 31)
    with pytest.raises(CubeError, match=r"holds no day: the cube has 2020-01-01 to 2020-02-09"):
        box_of(cube, ("2021-01-01", "2021-02-01"))
    with pytest.raises(CubeError, match="expected dates"):
        box_of(cube, ("yesterday", ""))
    with pytest.raises(CubeError, match="holds no cell"):
        box_of(cube, bbox=[100, 0, 110, 10])


def test_bbox_with_longitudes_from_0_to_360(plain):
    cube = as_cube(plain(columns=8, lon=np.arange(0, 360, 45.0)), "sm")
    assert box_of(cube, bbox=[-100, 40, -40, 60]).columns == slice(6, 8)
    with pytest.raises(CubeError, match="crosses the edge"):
        box_of(cube, bbox=[-60, 40, 60, 60])
    assert box_of(cube, bbox=[-180, 40, 180, 60]).columns == slice(0, 8)


def test_seen_only_hides_values_and_keeps_roles(cube):
    seen = np.isfinite(cube["sm"].values)
    seen[5:] = False
    visible = seen_only(cube, seen)
    assert np.isnan(visible["sm"].values[5:]).all()
    np.testing.assert_array_equal(visible["sm"].values[:5], cube["sm"].values[:5])
    check_cube(visible)
    assert isinstance(visible, xr.Dataset)


def error_of(dataset: xr.Dataset, **attrs: str) -> xr.DataArray:
    return (0.1 * dataset["sm"]).assign_attrs(units="m3 m-3", **attrs)


def test_the_uncertainty_is_named_or_found(plain, caplog):
    dataset = plain()
    assert uncertainty_of(as_cube(dataset, "sm")) is None
    assert uncertainty_of(as_cube(dataset.assign(e=error_of(dataset)), "sm", uncertainty="e")) == "e"
    by_name = dataset.assign(sm_uncertainty=error_of(dataset))
    with caplog.at_level("INFO", "sgdsm"):
        assert uncertainty_of(as_cube(by_name, "sm")) == "sm_uncertainty"
    assert "uncertainty of 'sm': 'sm_uncertainty'" in caplog.text
    assert uncertainty_of(as_cube(by_name, "sm", ["sm_uncertainty"])) is None, "a covariate is one"
    assert uncertainty_of(as_cube(by_name, "sm", uncertainty="none")) is None
    # by CF: a standard name with the modifier, or one among the target's ancillary variables
    dataset["sm"].attrs["standard_name"] = "water"
    own = dataset.assign(e=error_of(dataset, standard_name="water standard_error"))
    other = dataset.assign(e=error_of(dataset, standard_name="rainfall standard_error"))
    assert uncertainty_of(as_cube(own, "sm")) == "e"
    assert uncertainty_of(as_cube(other, "sm")) is None
    other["sm"].attrs["ancillary_variables"] = "flag e"
    assert uncertainty_of(as_cube(other, "sm")) == "e"


def test_what_cannot_be_the_uncertainty_is_not_found(plain, caplog):
    dataset = plain()
    flat = dataset.assign(sm_uncertainty=error_of(dataset).isel(time=0))
    with caplog.at_level("INFO", "sgdsm"):
        for given in (flat, dataset.assign(sm_uncertainty=error_of(dataset).assign_attrs(units="%"))):
            assert uncertainty_of(as_cube(given, "sm")) is None
    assert caplog.text.count("'sm_uncertainty' is not taken for the uncertainty of 'sm'") == 2


def test_seen_only_hides_uncertainties(unsure_world):
    seen = np.isfinite(unsure_world["sm"].values)
    seen[70:] = False
    visible = seen_only(unsure_world, seen)
    check_cube(visible)
    assert np.isnan(visible["sm_uncertainty"].values[70:]).all()
    np.testing.assert_array_equal(visible["sm_uncertainty"].values[:70], unsure_world["sm_uncertainty"].values[:70])


def test_precipitation_needs_units(plain):
    dataset = plain()
    del dataset["rain"].attrs["units"]
    with pytest.raises(CubeError, match="precipitation 'rain' is in '1': give it the attribute units, one of mm h-1"):
        as_cube(dataset, "sm", ["rain"], precipitation="rain")


def test_a_cube_with_roles_keeps_what_it_declares(plain):
    cube = as_cube(plain(), "sm", ["rain"], ["clay"])
    sm = cube["sm"].fillna(0.99).assign_attrs(cube["sm"].attrs | {"valid_min": 0.0, "valid_max": 0.6})
    early = cube.assign(sm=sm).assign_coords(time=cube["time"] - np.timedelta64(1, "ns"))
    found = checked_cube(early)
    np.testing.assert_array_equal(found["time"].values, cube["time"].values)
    np.testing.assert_array_equal(found["sm"].values, cube["sm"].values)
    # once is enough
    part = found.isel(time=slice(3, 9))
    assert only_valid(part["sm"]).encoding[MASKED] == (0.0, 0.6)
    assert only_valid(found["sm"]).variable is found["sm"].variable
    assert found["sm"].attrs["role"] == "target"
    # as training does
    np.testing.assert_array_equal(usable(early)["sm"].values, cube["sm"].values)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_masked_cube_is_written_as_it_is(plain, tmp_path, suffix):
    dataset = plain()
    dataset["sm"] = dataset["sm"].fillna(-1.0).assign_attrs(units="m3 m-3", valid_min=0.0)
    cube = as_cube(dataset, "sm")
    path = str(tmp_path / f"a{suffix}")
    cube.to_netcdf(path) if suffix == ".nc" else cube.to_zarr(path, consolidated=False)
    np.testing.assert_array_equal(checked_cube(open_dataset(path))["sm"].values, plain()["sm"].values)
