"""CF attributes read as they are meant, on small files made by script."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.days import whole_days
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import only_within
from sgdsm.core.io.stores import open_dataset
from sgdsm.sources.readers.files import open_product
from sgdsm.sources.readers.packed import unpacked

DAYS, ROWS, COLUMNS = 6, 3, 4


def write(
    path, values, attributes=None, fill=None, time=None, units="days since 2020-01-01", names=("time", "lat", "lon")
):
    """A NetCDF file with the variable `sm` as it lies on disk: packed numbers and their attributes."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(names, values.shape, strict=True):
            file.createDimension(name, size)
        axes = [np.arange(values.shape[0]) if time is None else time, 50.0 - np.arange(ROWS), 5.0 + np.arange(COLUMNS)]
        told = [{"units": units}, {"units": "degrees_north"}, {"units": "degrees_east"}]
        for name, axis, words in zip(names, axes, told, strict=True):
            variable = file.createVariable(name, np.asarray(axis).dtype.str, (name,))
            variable[:] = axis
            variable.setncatts(words)
        sm = file.createVariable("sm", values.dtype, names, fill_value=fill)
        sm.set_auto_maskandscale(False)
        sm.setncatts({"units": "m3 m-3", **(attributes or {})})
        sm[:] = values
    return path


def grid(values):
    """An array (days, rows, columns) that goes through some values in turn."""
    return np.resize(values, (DAYS, ROWS, COLUMNS))


def ways(path):
    """`sm` of a file by every way in, north up: a cube, a cube of an open Dataset, the product reader of any grid."""
    cubes = [open_cube(str(path), "sm")["sm"], as_cube(open_dataset(path), "sm")["sm"]]
    return [cube.values for cube in cubes] + [open_product("netcdf_grid", path, variables={"sm": "sm"})["sm"].values]


@pytest.mark.parametrize(
    "attributes",
    [
        {"valid_min": np.float32(0), "valid_max": np.float32(1)},
        {"valid_range": np.array([0, 1], np.float32)},
        {"valid_range": np.array([0, 1], np.int64)},
        {"valid_range": "0.0, 1.0"},
        {"valid_min": "0", "valid_max": "1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("fill", [-999.9, -99.0, -9999.9, 999.0, 9999.0, 99999.0, 65535.0, 1e15])
def test_what_lies_outside_the_valid_range_is_missing(tmp_path, attributes, fill):
    values = grid(np.array([0.1, fill, 0.3, 1.0, 0.0], np.float32))
    path = write(tmp_path / "a.nc", values, attributes)
    for found in ways(path):
        np.testing.assert_array_equal(found, np.where(values == np.float32(fill), np.nan, values))
    with xr.open_dataset(path) as dataset:  # as a user opens it
        if not isinstance(attributes.get("valid_min", attributes.get("valid_range")), str):
            found = as_cube(dataset, "sm")["sm"].values
            np.testing.assert_array_equal(found, np.where(values == np.float32(fill), np.nan, values))


@pytest.mark.parametrize(
    ("dtype", "packing", "limits", "codes", "expected"),
    [
        # unpacked units, as a float tells: ESA CCI v02.2
        ("i2", {"scale_factor": 1e-4}, np.array([0.0, 1.0]), [0, 2500, 10000, -32768, 12000], [0, 0.25, 1, None, None]),
        # packed numbers, as an integer tells
        ("i2", {"scale_factor": 1e-4}, np.array([0, 10000], "i2"), [0, 2500, 10000, -1, 10001],
         [0, 0.25, 1, None, None]),
        # a byte product with codes above 200
        ("u1", {"scale_factor": 0.005}, np.array([0, 200], "u1"), [0, 50, 200, 251, 254], [0, 0.25, 1, None, None]),
        ("i1", {"scale_factor": 0.005, "_Unsigned": "true"}, np.array([0, -56], "i1"), [0, 50, -56, -5, -2],
         [0, 0.25, 1, None, None]),
        # an offset, and a scale that turns the order round
        ("i2", {"scale_factor": -0.01, "add_offset": 1.0}, np.array([0, 100], "i2"), [0, 75, 100, 101, -1],
         [1, 0.25, 0, None, None]),
        # whole numbers without packing
        ("i4", {}, np.array([0, 1], "i4"), [0, 1, 2, -9999], [0, 1, None, None]),
    ],
)  # fmt: skip
def test_valid_ranges_of_packed_numbers(tmp_path, dtype, packing, limits, codes, expected):
    raw, wanted = grid(np.array(codes, dtype)), grid(np.array(expected, float))
    path = write(tmp_path / "a.nc", raw, {**packing, "valid_range": limits})
    for found in ways(path):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(unpacked(raw, {**packing, "valid_range": limits}), wanted, atol=1e-6)


def test_the_valid_range_of_the_settings_is_that_of_the_target(tmp_path, caplog):
    caplog.set_level("INFO", "sgdsm")
    values = grid(np.array([0.1, -5.0, 0.7, 0.3], np.float32))
    path = write(tmp_path / "a.nc", values, {"valid_range": np.array([0, 1], np.float32)})
    found = open_cube(str(path), "sm", valid_range=[0, 0.6])["sm"].values
    np.testing.assert_array_equal(found, np.where((values < 0) | (values > 0.6), np.nan, values))
    assert "'sm': 36 of 72 values lie outside valid_range=[0, 0.6]: gaps" in caplog.text
    for wrong in ([1, 0], [0.5], [0, 1, 2]):
        with pytest.raises(CubeError, match=r"valid_range=.*: expected \[smallest, largest\]"):
            open_cube(str(path), "sm", valid_range=wrong)


def test_a_share_outside_is_logged(tmp_path, caplog):
    caplog.set_level("INFO", "sgdsm")
    path = write(tmp_path / "a.nc", grid(np.array([0.1, -999.9], np.float32)), {"valid_min": 0.0, "valid_max": 1.0})
    open_cube(str(path), "sm")
    assert (
        "'sm': values outside 0 to 1, its valid range by the file, are missing (50.0 % of the first 72" in caplog.text
    )


def test_bounds_of_packed_numbers_are_left_alone_where_values_were_unpacked_elsewhere():
    values = grid(np.array([0.1, 0.3], np.float32))
    dataset = xr.Dataset(
        {"sm": (("time", "lat", "lon"), values, {"units": "1", "valid_range": np.array([1, 200], np.uint8)})},
        {"time": xr.date_range("2020-01-01", periods=DAYS), "lat": [2.0, 1, 0], "lon": [0.0, 1, 2, 3]},
    )
    np.testing.assert_array_equal(as_cube(dataset, "sm")["sm"].values, values)


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".zarr"])
def test_numbers_that_are_written_as_text(tmp_path, suffix):
    raw = grid(np.array([0, 2500, -32768, 5000], "i2"))
    words = {"scale_factor": "0.0001", "add_offset": "0.0", "missing_value": "-32768"}
    if suffix == ".zarr":
        root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
        axes = {"time": np.arange(DAYS), "lat": 50.0 - np.arange(ROWS), "lon": 5.0 + np.arange(COLUMNS)}
        for name, axis in axes.items():
            root.create_array(name, data=axis, dimension_names=(name,))
        root["time"].attrs["units"] = "days since 2020-01-01"
        root.create_array("sm", data=raw, dimension_names=tuple(axes), attributes={"units": "1", **words})
    else:
        write(tmp_path / f"a{suffix}", raw, words)
    found = open_cube(str(tmp_path / f"a{suffix}"), "sm")["sm"].values
    np.testing.assert_allclose(found, np.where(raw == -32768, np.nan, raw * 1e-4), atol=1e-6)


@pytest.mark.parametrize("key", ["scale_factor", "missing_value", "valid_min", "valid_range"])
def test_text_that_is_no_number_is_refused(tmp_path, key):
    path = write(tmp_path / "a.nc", grid(np.array([0, 2500], "i2")), {key: "about a tenth"})
    with pytest.raises(CubeError, match=rf"a\.nc: variable 'sm': {key}='about a tenth' is no number"):
        open_cube(str(path), "sm")
    with pytest.raises(Exception, match=rf"a\.nc.*{key}='about a tenth' is no number"):
        open_product("netcdf_grid", path, variables={"sm": "sm"})


def test_empty_text_is_no_attribute(tmp_path):
    path = write(tmp_path / "a.nc", grid(np.array([0.1, 0.2], "f4")), {"missing_value": "", "valid_range": " "})
    assert np.isfinite(open_cube(str(path), "sm")["sm"].values).all()


@pytest.mark.parametrize("names", [("time", "lat", "lon"), ("valid_time", "lat", "lon")])
@pytest.mark.parametrize("error", [-1e-9, 1e-9, -3e-10])
def test_times_just_beside_midnight_stay_on_their_day(tmp_path, error, names):
    time = np.arange(DAYS) + 18262.0 + error
    path = write(tmp_path / "a.nc", grid(np.array([0.1], "f4")), time=time, units="days since 1970-01-01", names=names)
    assert str(open_cube(str(path), "sm")["time"].values[0])[:10] == "2020-01-01"
    found = open_product("netcdf_grid", path, variables={"sm": "sm"})["time"].values
    assert str(found[0])[:10] == "2020-01-01"


def test_hours_that_were_added_up():
    hours = np.cumsum(np.full(240, 0.1)) * 10  # 239.99999999999878 at the end
    times = np.datetime64("2020-01-01", "ns") + (hours * 3.6e12).astype("timedelta64[ns]")
    assert whole_days(times)[23] == np.datetime64("2020-01-02")
    assert whole_days(times)[-1] == np.datetime64("2020-01-11")
    assert whole_days(np.array(["2020-01-01T23:59:58"], "datetime64[ns]"))[0] == np.datetime64("2020-01-01")


def zarr2(path, fill):
    """A Zarr v2 store with a third of dry days, and a longitude of 0."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    shape = (DAYS, ROWS, COLUMNS)
    axes = {"time": np.arange(DAYS), "lat": 2.0 - np.arange(ROWS), "lon": 0.0 + np.arange(COLUMNS)}
    for name, axis in axes.items():
        array = root.create_array(name, data=axis, fill_value=0)
        array.attrs["_ARRAY_DIMENSIONS"] = [name]
    root["time"].attrs["units"] = "days since 2020-01-01"
    for name, values in {"sm": grid([0.1, 0.2]), "rain": grid([0.0, 3.0, 5.0])}.items():
        array = root.create_array(name, shape=shape, chunks=shape, dtype="f4", fill_value=fill)
        array[:] = values
        array.attrs.update({"_ARRAY_DIMENSIONS": list(axes), "units": "mm d-1" if name == "rain" else "m3 m-3"})
    return str(path)


def test_a_zarr_store_whose_zeros_are_missing_says_so_and_can_be_told_otherwise(tmp_path, caplog):
    caplog.set_level("INFO", "sgdsm")
    path = zarr2(tmp_path / "a.zarr", 0)
    found = open_cube(path, "sm", ["rain"])
    assert np.isnan(found["rain"].values).mean() == pytest.approx(1 / 3)
    assert "zeros of rain, sm are read as missing" in caplog.text
    assert "data.zero_is_value=true" in caplog.text
    assert found["lon"].values[0] == 0.0
    caplog.clear()
    found = open_cube(path, "sm", ["rain"], zero_is_value=True)
    assert (found["rain"].values == 0).mean() == pytest.approx(1 / 3)
    assert "zeros of" not in caplog.text
    open_cube(zarr2(tmp_path / "b.zarr", np.nan), "sm", ["rain"])
    assert "zeros of" not in caplog.text


@pytest.mark.parametrize("words", [{"target": "Geophysical_Data/sm"}, {"target": "sm", "group": "Geophysical_Data"}])
@pytest.mark.parametrize("suffix", [".nc", ".h5"])
def test_variables_in_groups(tmp_path, words, suffix):
    path = tmp_path / f"a{suffix}"
    values = grid(np.array([0.1, 0.2], np.float32))
    with netCDF4.Dataset(path, "w") as file:
        axes = {"time": np.arange(DAYS), "lat": 50.0 - np.arange(ROWS), "lon": 5.0 + np.arange(COLUMNS)}
        for name, axis in axes.items():
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["time"].units = "days since 2020-01-01"
        for group, factor in (("Analysis", 2), ("Geophysical_Data", 1)):
            variable = file.createGroup(group).createVariable("sm", "f4", tuple(axes))
            variable.units = "m3 m-3"
            variable[:] = factor * values
    cube = open_cube(str(path), **words)
    (name,) = [n for n in cube.data_vars if n != "land"]
    np.testing.assert_array_equal(cube[name].values, values)
    with pytest.raises(CubeError, match=r"no group 'Data'; there are Analysis, Geophysical_Data"):
        open_cube(str(path), "sm", group="Data")


def test_each_bound_has_its_own_rounding():
    np.testing.assert_array_equal(only_within(np.array([-1, -0.5, 0, 5], np.float32), (0, 1e6)), [np.nan, np.nan, 0, 5])
    np.testing.assert_array_equal(only_within(np.array([0.6, 0.6001]), (0.0, float(np.float32(0.6)))), [0.6, np.nan])
    # what packing with an offset leaves of 0
    assert only_within(np.array([-1e-6]), (0, 1e6), offset=-20.0) == -1e-6


PACKED = {"scale_factor": 0.01, "missing_value": np.int16(-1), "valid_range": np.array([0, 60], np.int16)}


@pytest.mark.parametrize("options", [{}, {"mask_and_scale": False}])
def test_a_file_that_xarray_has_opened_is_decoded(tmp_path, options):
    codes = np.tile(np.array([20, -1, 70, 30], np.int16), (4, 1))
    write(tmp_path / "a.nc", grid(codes), PACKED)
    with xr.open_dataset(tmp_path / "a.nc", **options) as dataset:
        cube = as_cube(dataset, "sm")
    np.testing.assert_allclose(cube["sm"].values[0, 0], [0.2, np.nan, np.nan, 0.3], rtol=1e-6)


def test_text_that_xarray_leaves_is_applied_or_refused(tmp_path):
    codes = np.tile(np.array([20, -1, 70, 30], np.int16), (4, 1))
    write(tmp_path / "a.nc", grid(codes), {"scale_factor": 0.01, "missing_value": "-1"})
    with xr.open_dataset(tmp_path / "a.nc", mask_and_scale=False) as dataset:
        found = as_cube(dataset, "sm")["sm"].values
    np.testing.assert_allclose(found[0, 0], [0.2, np.nan, 0.7, 0.3], rtol=1e-6)
    with (
        xr.open_dataset(tmp_path / "a.nc") as dataset,
        pytest.raises(CubeError, match="'sm': missing_value='-1' is text, which xarray does not apply"),
    ):
        as_cube(dataset, "sm")


def test_bounds_whose_packing_is_lost_are_named(tmp_path, caplog):
    codes = np.tile(np.array([20, -1, 70, 30], np.int16), (4, 1))
    write(tmp_path / "a.nc", grid(codes), PACKED)
    with xr.open_dataset(tmp_path / "a.nc") as dataset, caplog.at_level("WARNING", "sgdsm"):
        as_cube(dataset.map(lambda v: v * 1.0, keep_attrs=True), "sm")
    assert "'sm': valid_range=[0, 60] is not applied: it counts in packed numbers" in caplog.text


def test_values_that_may_be_unpacked_already_are_refused(plain):
    dataset = plain()
    dataset["sm"].attrs["scale_factor"] = 0.01
    with pytest.raises(CubeError, match="'sm' holds float32 numbers and the attributes of packed ones"):
        as_cube(dataset, "sm")


def test_zeros_of_a_store_that_xarray_has_opened_are_told(plain, tmp_path, caplog):
    plain()[["sm"]].to_zarr(
        tmp_path / "a.zarr", zarr_format=2, encoding={"sm": {"_FillValue": 0.0}}, consolidated=False
    )
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as dataset, caplog.at_level("INFO", "sgdsm"):
        as_cube(dataset, "sm")
    assert caplog.text.count("zeros of sm are read as missing") == 1
