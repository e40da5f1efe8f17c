"""ERA5 as cfgrib and earthkit write it, and the daily statistics of the Climate Data Store."""

from __future__ import annotations

import logging

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.products import era5, era5_land
from sgdsm.sources.readers.files import SourceError, find_files, open_product
from tests.sources import make_cov, make_layouts

HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
START = np.datetime64("2020-06-01T00", "ns")
DAYS = START + DAY * np.arange(3)
EAST = [2, 3, 4, 0, 1]  # columns of the files from -180 on
ALL = list(range(1, 25))


def rain(hours):
    """m of each hour that ends at a stamp; hours: after 00 UTC of the first day."""
    values = np.random.default_rng(3).exponential(1e-3, (200, 4, 5)).astype(np.float32)
    return values[np.asarray(hours) + 50]


def warmth(hours):
    return (280 + 10 * np.random.default_rng(4).random((200, 4, 5))).astype(np.float32)[np.asarray(hours) + 50]


def since_midnight(first, last):
    """Of ERA5-Land: (days, 24 steps, 4, 5), days `first` to `last` after the start; each counts from its 00 UTC."""
    return np.stack([np.cumsum(rain(24 * day + np.arange(1, 25)), 0) for day in range(first, last + 1)])


def rain_of(day):
    return 1000 * rain(24 * day + np.arange(1, 25)).sum(0)[:, EAST]


def warmth_of(day):
    return warmth(24 * day + np.arange(24)).mean(0)[:, EAST]


def land(tmp_path, name, first, last, **more):
    """The hours 00 to 23 of the days after `first`, as one request gives them: of the first forecast step 24 alone, of
    the last one all but 24."""
    maps = since_midnight(first, last)
    maps[0, :23] = np.nan
    maps[-1, 23] = np.nan
    start = START + DAY * np.arange(first, last + 1)
    return make_layouts.cfgrib(tmp_path / name, start, {"tp": maps}, ALL, **more)


@pytest.mark.parametrize("valid_time", [True, False])
@pytest.mark.parametrize("chunk", [None, (1, 1, 4, 5), (2, 24, 3, 2), (2, 1, 4, 5)])
def test_land_of_time_and_step(tmp_path, valid_time, chunk):
    land(tmp_path, "a.nc", -1, 1, valid_time=valid_time, chunk=chunk)
    files = find_files("era5_land", tmp_path)
    hourly = files.open()["precipitation"]
    assert hourly["time"].values.tolist() == (START + HOUR * np.arange(48)).tolist()
    assert np.isnan(hourly.values[0]).all()  # the stamp before is in no file
    np.testing.assert_allclose(hourly.values[1:], 1000 * rain(np.arange(1, 48))[..., EAST], atol=2e-3)
    daily = era5_land.daily(files, DAYS[:1])
    np.testing.assert_allclose(daily["precipitation"][0], rain_of(0), rtol=1e-5)
    # the stamp of 00 UTC that ends the second day is in no file, although its place in time x step is
    with pytest.raises(SourceError, match="2020-06-02 lacks 1 of 1 stamps of tp, the first of them 2020-06-03T00:00"):
        era5_land.daily(files, DAYS[:2])


def test_land_over_two_files_that_share_an_empty_place(tmp_path):
    land(tmp_path, "a.nc", -1, 1)
    land(tmp_path, "b.nc", 1, 3)
    daily = era5_land.daily(find_files("era5_land", tmp_path), DAYS)
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)


def test_land_states_of_time_and_step(tmp_path):
    temperature = np.stack([warmth(24 * day + np.arange(1, 25)) for day in (-1, 0)])
    start = START + DAY * np.arange(-1, 1)
    make_layouts.cfgrib(tmp_path / "a.nc", start, {"t2m": temperature}, ALL, level="heightAboveGround")
    daily = era5_land.daily(find_files("era5_land", tmp_path), DAYS[:1])
    np.testing.assert_allclose(daily["air_temperature"][0], warmth_of(0), rtol=1e-6)


@pytest.mark.parametrize("single", [True, False])
def test_era5_forecasts_beside_analyses(tmp_path, single):
    starts = START + 12 * HOUR * np.arange(-1, 5) + 6 * HOUR  # 06 and 18 UTC
    steps = list(range(1, 13))
    fallen = np.stack([rain((start - START) // HOUR + np.array(steps)) for start in starts])
    make_layouts.cfgrib(tmp_path / "rain.nc", starts, {"tp": fallen}, steps, single=single)
    hours = START + HOUR * np.arange(48)
    state = make_layouts.cfgrib(
        tmp_path / "state.nc", hours, {"swvl1": warmth(np.arange(48)) / 1000}, level="depthBelowLandLayer"
    )
    with netCDF4.Dataset(state, "a") as file:
        file.createVariable("lat", "f8", ("latitude",))[:] = make_cov.LAT
    daily = era5.daily(find_files("era5", tmp_path), DAYS[:2])
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(2)], rtol=1e-5)
    np.testing.assert_allclose(daily["soil_water_layer_1"] * 1000, [warmth_of(0), warmth_of(1)], rtol=1e-5)


def test_the_valid_time_counts_and_not_that_of_the_forecast(tmp_path):
    """One step of 6 hours, and `time` alone as dimension."""
    start = START + 24 * HOUR * np.arange(2) - 6 * HOUR
    path = make_layouts.cfgrib(tmp_path / "a.nc", start, {"t2m": warmth([0, 24])})
    with netCDF4.Dataset(path, "a") as file:
        file["step"][...] = 6
        file["valid_time"][:] += 6 * 3600
    found = open_product("era5", tmp_path)
    assert found["time"].values.tolist() == np.array([START, START + DAY]).tolist()
    maps = open_product("netcdf_grid", tmp_path, variables={"t": "t2m"})
    assert maps["time"].values.tolist() == np.array([START, START + DAY]).tolist()
    np.testing.assert_array_equal(maps["t"], warmth([0, 24])[..., EAST])


@pytest.mark.parametrize("beside", ["scalar", "along"])
def test_valid_time_as_dimension_with_a_time_beside(tmp_path, beside):
    """As earthkit writes it: `time` is that of the forecast, and `lat` stands beside `latitude`."""
    path = make_cov.era5(tmp_path / "a.nc", START + HOUR * np.arange(24), {"t2m": warmth(np.arange(24))})
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("time", "other")
        file.renameDimension("time", "other")
        dims = () if beside == "scalar" else ("valid_time",)
        make_layouts.times(file, "time", dims, np.datetime64("2020-05-31T18"), "forecast_reference_time")
        file.createVariable("lat", "f8", ("latitude",))[:] = make_cov.LAT
        file["t2m"].coordinates = "time lat"
    daily = era5.daily(find_files("era5", tmp_path), DAYS[:1])
    np.testing.assert_allclose(daily["air_temperature"][0], warmth_of(0), rtol=1e-6)
    maps = open_product("netcdf_grid", tmp_path, variables={"t": "t2m"})
    assert maps["time"].values.tolist() == (START + HOUR * np.arange(24)).tolist()
    np.testing.assert_array_equal(maps["lat"], make_cov.LAT)


def test_a_single_message(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        make_layouts.grid(file)
        make_layouts.times(file, "time", (), START - 6 * HOUR)
        make_layouts.times(file, "valid_time", (), START)
        file.createVariable("t2m", "f4", ("latitude", "longitude"))[:] = warmth(0)
    found = open_product("era5", tmp_path)
    assert found["time"].values.tolist() == START[None].tolist()
    np.testing.assert_array_equal(found["air_temperature"][0], warmth(0)[:, EAST])


def test_what_is_no_map_of_times_is_refused(tmp_path):
    path = make_layouts.cfgrib(tmp_path / "a.nc", START + HOUR * np.arange(2), {"t2m": warmth([0, 1])})
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("member", 3)
        file.createVariable("tp", "f4", ("time", "member", "latitude", "longitude"))[:] = 0
    with pytest.raises(SourceError, match=r"a\.nc: .*tp has dimensions .*'member': 3"):
        open_product("era5", tmp_path, variables=["tp"]).load()


STATISTICS = ("mean", "min", "max")


def statistics(tmp_path, told=True):
    """Three days of the daily statistics of temperature, rain and radiation."""
    days = [warmth(24 * day + np.arange(24)) for day in range(3)]
    for how in STATISTICS if told else ("mean",):
        maps = np.stack([getattr(np, how)(day, 0) for day in days])
        make_layouts.daily_statistic(tmp_path, "2m_temperature", how, DAYS, {"t2m": maps}, told)
    total = np.stack([rain(24 * day + np.arange(1, 25)).sum(0) for day in range(3)])
    make_layouts.daily_statistic(tmp_path, "total_precipitation", "sum", DAYS, {"tp": total}, told)
    return days


@pytest.mark.parametrize("product", ["era5", "era5_land"])
def test_daily_statistics_are_taken_as_they_are(tmp_path, product):
    days = statistics(tmp_path)
    files = find_files(product, tmp_path, variables=["t2m", "tp"], extremes=True)
    for found in ((era5 if product == "era5" else era5_land).daily(files, DAYS), files.open()):
        assert found["time"].values.tolist() == DAYS.tolist()
        for name, how in zip(("", "_min", "_max"), STATISTICS, strict=True):
            expected = [getattr(np, how)(day, 0)[:, EAST] for day in days]
            np.testing.assert_allclose(found[f"air_temperature{name}"], expected, rtol=1e-6)
        np.testing.assert_allclose(found["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)
    assert found["air_temperature_min"].attrs["cell_methods"] == "time: minimum"


def test_means_of_amounts_are_of_an_hour(tmp_path):
    mean = np.stack([rain(24 * day + np.arange(1, 25)).mean(0) for day in range(3)])
    make_layouts.daily_statistic(tmp_path, "total_precipitation", "mean", DAYS, {"tp": mean, "ssrd": 0 * mean + 3.6e5})
    daily = era5.daily(find_files("era5", tmp_path), DAYS)
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)
    np.testing.assert_allclose(daily["shortwave_down"], 100.0, rtol=1e-6)
    # of ERA5-Land, which counts since 00 UTC, such a mean is no amount
    with pytest.raises(SourceError, match=r"a variable of \['tp'\], there are ssrd_mean, tp_mean"):
        find_files("era5_land", tmp_path, variables=["tp"])
    total = make_layouts.daily_statistic(tmp_path, "radiation", "sum", DAYS, {"ssr": 0 * mean + 8.64e6})
    np.testing.assert_allclose(open_product("era5", total)["shortwave_net"], 100.0, rtol=1e-6)


def test_files_of_days_that_do_not_say_so(tmp_path):
    statistics(tmp_path, told=False)
    files = find_files("era5", tmp_path)
    with pytest.raises(SourceError, match=r"2020-06-01 lacks 23 of 24 stamps of t2m.*option daily_statistics=true"):
        era5.daily(files, DAYS)
    daily = era5.daily(find_files("era5", tmp_path, daily_statistics=True), DAYS)
    np.testing.assert_allclose(daily["air_temperature"], [warmth_of(day) for day in range(3)], rtol=1e-6)
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)


def test_midnights_of_land_are_not_taken_for_days(tmp_path):
    """The one stamp a day of 00 UTC holds the day before, unless the file says that it is a statistic."""
    total = np.stack([rain(24 * day + np.arange(1, 25)).sum(0) for day in range(3)])
    make_layouts.daily_statistic(tmp_path, "total_precipitation", "sum", DAYS + DAY, {"tp": total}, told=False)
    daily = era5_land.daily(find_files("era5_land", tmp_path), DAYS)
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)


def test_what_is_wrong_with_statistics_is_said(tmp_path, caplog):
    path = make_layouts.daily_statistic(tmp_path, "2m_temperature", "mean", DAYS, {"t2m": warmth([0, 1, 2])})
    files = find_files("era5", path)
    with pytest.raises(SourceError, match="era5: no daily t2m of 2020-06-04"):
        era5.daily(files, DAYS + DAY)
    bad = []
    daily = era5.daily(files, DAYS + DAY, "skip", bad)
    assert np.isfinite(daily["air_temperature"].values).all((1, 2)).tolist() == [True, True, False]
    assert bad == ["era5: no daily t2m of 2020-06-04"]
    with pytest.raises(SourceError, match="has the variable t2m_min, there are t2m"):
        find_files("era5", path, extremes=True)
    hours = make_cov.era5(tmp_path / "hours.nc", START + HOUR * np.arange(24), {"t2m": warmth(np.arange(24))})
    with pytest.raises(SourceError, match=r"t2m is of whole days there, and of hours in .*hours\.nc"):
        find_files("era5", tmp_path)
    with pytest.raises(SourceError, match=r"hours\.nc: t2m has 24 maps on 1 days, expected one a day"):
        find_files("era5", hours, daily_statistics=True)
    with netCDF4.Dataset(path, "a") as file:
        file.history = file.history.replace("'hours': 0", "'hours': 7")
    with caplog.at_level(logging.INFO, "sgdsm"):
        find_files("era5", path)
    assert "its days begin 7 hours off 00 UTC" in caplog.text


def test_hours_beside_statistics(tmp_path):
    make_layouts.daily_statistic(tmp_path, "2m_temperature", "mean", DAYS, {"t2m": warmth([0, 1, 2])})
    make_cov.era5(tmp_path / "rain.nc", START + HOUR * np.arange(1, 73), {"tp": rain(np.arange(1, 73))})
    files = find_files("era5", tmp_path)
    daily = era5.daily(files, DAYS)
    np.testing.assert_allclose(daily["precipitation"], [rain_of(day) for day in range(3)], rtol=1e-5)
    np.testing.assert_array_equal(daily["air_temperature"], warmth([0, 1, 2])[..., EAST])
    np.testing.assert_array_equal(files.example()["air_temperature"][0], warmth(0)[:, EAST])
