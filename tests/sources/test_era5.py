from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.products import era5, era5_land
from sgdsm.sources.readers.files import SourceError, find_files, open_product
from tests.conftest import shared_data
from tests.sources import make_cov

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2020-06-01T00", "ns")
DAYS = np.array(["2020-06-01", "2020-06-02"], "datetime64[ns]")
# the columns 0, 90, 180, 270, 359 of the files in the order -180, -90, -1, 0, 90
EAST = [2, 3, 4, 0, 1]


def hours(count, first=START):
    return first + HOUR * np.arange(count)


def states(count, seed=0):
    return (280 + 10 * np.random.default_rng(seed).random((count, 4, 5))).astype(np.float32)


def amounts(count, seed=1):
    """Of the hour before each stamp, m."""
    rain = np.random.default_rng(seed).exponential(1e-3, (count, 4, 5))
    return np.where(rain < 5e-4, 0, rain).astype(np.float32)


def since_midnight(hourly):
    """As ERA5-Land counts: the stamp of 00 UTC holds the 24 hours before it."""
    total = np.zeros_like(hourly)
    for k in range(len(hourly)):
        total[k] = hourly[k] + (0 if k % 24 == 1 or k == 0 else total[k - 1])
    return total


@pytest.mark.parametrize(("old", "expver"), [(True, False), (True, True), (False, False)])
def test_hourly_values_in_both_layouts(tmp_path, old, expver):
    temperature, rain = states(48), amounts(48)
    temperature[:, 0, 0] = np.nan
    make_cov.era5(tmp_path / "a.nc", hours(48), {"t2m": temperature, "tp": rain}, old=old, expver=expver)
    cube = open_product("era5", tmp_path)
    assert cube["time"].values.tolist() == hours(48).tolist()
    assert cube["lon"].values.tolist() == [-180, -90, -1, 0, 90]
    assert cube["lat"].values.tolist() == [2, 1, 0, -1]
    np.testing.assert_allclose(cube["air_temperature"], temperature[..., EAST], atol=2e-4)
    np.testing.assert_allclose(cube["precipitation"], 1000 * rain[..., EAST], atol=2e-4)
    assert cube["precipitation"].attrs["kind"] == "amount"
    assert [cube[n].attrs["units"] for n in ("air_temperature", "precipitation")] == ["K", "mm"]
    assert float(cube["precipitation"].min()) == 0


def test_units_and_signs(tmp_path):
    values = np.full((2, 4, 5), -0.002, np.float32)
    make_cov.era5(tmp_path / "a.nc", hours(2), {"pev": values, "ssrd": values * -9e8, "str": values * 9e8})
    cube = open_product("era5", tmp_path)
    np.testing.assert_allclose(cube["potential_evaporation"], 2.0, rtol=1e-6)  # mm, upward
    np.testing.assert_allclose(cube["shortwave_down"], 500.0, rtol=1e-6)  # 1.8 MJ m-2 in an hour
    np.testing.assert_allclose(cube["longwave_net"], -500.0, rtol=1e-6)
    assert cube["shortwave_down"].attrs["units"] == "W m-2"


def test_land_hours_are_differences_also_across_files(tmp_path):
    rain = amounts(73)
    total = since_midnight(rain)
    for name, part in (("a", slice(0, 30)), ("b", slice(30, 73))):
        make_cov.era5(tmp_path / f"{name}.nc", hours(73)[part], {"tp": total[part]})
    found = open_product("era5_land", tmp_path)["precipitation"].values
    assert np.isnan(found[0]).all()  # the stamp before is in no file
    np.testing.assert_allclose(found[1:], 1000 * rain[1:][..., EAST], atol=2e-3)


@pytest.mark.parametrize("chunk", [None, (1, 4, 5), (20, 3, 2)])
@pytest.mark.parametrize("old", [True, False])
def test_daily_of_era5(tmp_path, chunk, old):
    temperature, rain = states(49), amounts(49)
    for name, part in (("a", slice(0, 24)), ("b", slice(24, 49))):
        maps = {"t2m": temperature[part], "tp": rain[part]}
        depth = None if chunk is None or old else (min(chunk[0], 24), *chunk[1:])
        make_cov.era5(tmp_path / f"{name}.nc", hours(49)[part], maps, old=old, chunk=depth)
    daily = era5.daily(find_files("era5", tmp_path, extremes=True), DAYS)
    by_day = temperature[:48].reshape(2, 24, 4, 5)[..., EAST]
    np.testing.assert_allclose(daily["air_temperature"], by_day.mean(1), atol=1e-3)
    np.testing.assert_allclose(daily["air_temperature_min"], by_day.min(1), atol=1e-3)
    np.testing.assert_allclose(daily["air_temperature_max"], by_day.max(1), atol=1e-3)
    # stamps 01 to 24
    np.testing.assert_allclose(
        daily["precipitation"], 1000 * rain[1:].reshape(2, 24, 4, 5).sum(1)[..., EAST], atol=2e-3
    )
    assert daily["time"].values.tolist() == DAYS.tolist()
    assert daily["lon"].values.tolist() == [-180, -90, -1, 0, 90]


def test_daily_of_era5_land_needs_only_the_stamp_of_midnight(tmp_path):
    rain = amounts(49)
    midnights = hours(49)[::24]
    make_cov.era5(tmp_path / "rain.nc", midnights, {"tp": since_midnight(rain)[::24], "ssrd": 0 * rain[::24] + 8.64e6})
    make_cov.era5(tmp_path / "state.nc", hours(48), {"stl1": states(48)})
    daily = era5_land.daily(find_files("era5_land", tmp_path), DAYS)
    np.testing.assert_allclose(
        daily["precipitation"], 1000 * rain[1:].reshape(2, 24, 4, 5).sum(1)[..., EAST], rtol=1e-4
    )
    np.testing.assert_allclose(daily["shortwave_down"], 100.0)
    np.testing.assert_allclose(
        daily["soil_temperature_layer_1"], states(48).reshape(2, 24, 4, 5).mean(1)[..., EAST], rtol=1e-5
    )


def test_a_cell_without_a_value_at_one_hour_has_none_that_day(tmp_path):
    temperature = states(48)
    temperature[5, 1, 1] = np.nan
    make_cov.era5(tmp_path / "a.nc", hours(48), {"t2m": temperature})
    daily = era5.daily(find_files("era5", tmp_path, extremes=True), DAYS)
    for name in daily:
        assert np.isnan(daily[name].values[0]).sum() == 1
        assert np.isnan(daily[name].sel(lat=1, lon=90).values[0])
        assert np.isfinite(daily[name].values[1]).all()


def test_incomplete_day_is_named(tmp_path):
    make_cov.era5(tmp_path / "a.nc", hours(48), {"t2m": states(48), "tp": amounts(48)})
    files = find_files("era5", tmp_path)
    with pytest.raises(SourceError, match="2020-06-02 lacks 1 of 24 stamps of tp, the first of them 2020-06-03T00:00"):
        era5.daily(files, DAYS)
    bad = []
    daily = era5.daily(files, DAYS, on_bad_file="skip", bad=bad)
    assert len(bad) == 1
    assert "2020-06-02" in bad[0]
    assert np.isfinite(daily["precipitation"].values).all((1, 2)).tolist() == [True, False]
    assert np.isfinite(daily["air_temperature"].values).all()


def test_unreadable_file_spoils_its_days_only(tmp_path):
    for day in range(3):
        maps = {"t2m": states(24, day)}
        path = make_cov.era5(tmp_path / f"{day}.nc", hours(24, START + 24 * day * HOUR), maps, old=True)
    files = find_files("era5", tmp_path)
    path = tmp_path / "1.nc"
    path.write_bytes(path.read_bytes()[:600])
    days = START + 24 * HOUR * np.arange(3)
    with pytest.raises(SourceError, match=r"1\.nc: cannot be read"):
        era5.daily(files, days)
    bad = []
    daily = era5.daily(files, days, on_bad_file="skip", bad=bad)
    assert "1.nc" in bad[0]
    assert np.isfinite(daily["air_temperature"].values).all((1, 2)).tolist() == [True, False, True]


def test_what_is_wrong_is_said(tmp_path):
    make_cov.era5(tmp_path / "a.nc", hours(24), {"t2m": states(24)})
    with pytest.raises(ConfigError, match="did you mean 't2m'"):
        find_files("era5", tmp_path, variables=["t2n"])
    with pytest.raises(SourceError, match="no file of 1 has the variable tp"):
        find_files("era5", tmp_path, variables=["t2m", "tp"])
    with pytest.raises(SourceError, match="none of 1 files has a variable of"):
        find_files("era5", tmp_path, variables=["tp"])
    make_cov.era5(tmp_path / "b.nc", hours(24, START + 23 * HOUR), {"t2m": states(24)})
    with pytest.raises(SourceError, match=r"a\.nc and .*b\.nc: both hold t2m at 2020-06-01T23:00"):
        find_files("era5", tmp_path)


def test_another_region_of_the_same_size_is_refused(tmp_path):
    make_cov.era5(tmp_path / "a.nc", hours(24), {"t2m": states(24)})
    make_cov.era5(tmp_path / "b.nc", hours(24, START + 24 * HOUR), {"t2m": states(24)})
    with netCDF4.Dataset(tmp_path / "b.nc", "a") as file:
        file["latitude"][:] = make_cov.LAT + 10
    with pytest.raises(SourceError, match=r"b\.nc: another grid than that of .*a\.nc"):
        find_files("era5", tmp_path)


@pytest.mark.shared_data
def test_real_file():
    folder = shared_data() / "products" / "era5land_cds_nc"
    files = find_files("era5_land", folder)
    days = np.arange("2020-06-01", "2020-06-08", dtype="datetime64[D]")
    daily = era5_land.daily(files, days)["soil_water_layer_1"]
    hourly = files.open()["soil_water_layer_1"]
    with netCDF4.Dataset(next(folder.glob("*.nc"))) as file:
        raw = np.ma.filled(file["swvl1"][:], np.nan)
        lat, lon = file["latitude"][:].data, file["longitude"][:].data
    np.testing.assert_array_equal(hourly, raw)
    np.testing.assert_allclose(daily, raw.reshape(7, 24, 51, 61).mean(1), rtol=1e-5)
    np.testing.assert_array_equal(daily["lat"], lat)
    np.testing.assert_array_equal(daily["lon"], lon)
    assert hourly.attrs["units"] == "m3 m-3"
