"""USCRN, SCAN and NetCDF files of stations, made by script in their layouts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import SgdsmError
from sgdsm.sources import open_product
from sgdsm.sources.readers.stations import Daily, daily_means


def daily01(path, year: int, sm: list[float], temperature: list[float], station: str = "AZ_Elgin_5_S") -> None:
    rows = []
    for k, (value, warmth) in enumerate(zip(sm, temperature, strict=True)):
        day = f"{np.datetime64(f'{year}-01-01') + k}".replace("-", "")
        weather = ["12.3", "-1.0", "5.6", "5.5", "0.0", "12.11", "C", "20.1", "-3.0", "6.1", "80.1", "20.0", "50.2"]
        moisture = [f"{value:.3f}", "0.222", "-99.000", "-99.000", "-99.000"]
        warm = [f"{warmth:.1f}", "5.0", "-9999.0", "-9999.0", "-9999.0"]
        rows.append(" ".join(["53132", day, "2.622", "-110.51", "31.59", *weather, *moisture, *warm]))
    (path / f"CRND0103-{year}-{station}.txt").write_text("\n".join(rows) + "\n")


def test_uscrn(tmp_path):
    daily01(tmp_path, 2015, [0.1, -99, 0.12, 0.13], [10, 10, 3.9, -9999])
    daily01(tmp_path, 2016, [0.2], [8])
    cube = open_product("uscrn", tmp_path)
    assert list(cube["station"].values) == ["USCRN/AZ_Elgin_5_S"]
    assert (float(cube["lat"][0]), float(cube["lon"][0]), float(cube["depth_m"][0])) == (31.59, -110.51, 0.05)
    # missing, frozen; a missing temperature does not leave a value out
    np.testing.assert_allclose(cube["sm"].values[:4, 0], [0.1, np.nan, np.nan, 0.13], rtol=1e-6)
    assert float(cube["sm"].sel(time="2016-01-01")[0]) == pytest.approx(0.2)
    assert float(cube["soil_temperature"][0, 0]) == 10
    assert np.isfinite(open_product("uscrn", tmp_path, frozen_below=None)["sm"].values[2, 0])
    assert float(open_product("uscrn", tmp_path, depth_m=[0.08, 0.2])["sm"][0, 0]) == pytest.approx(0.222)
    with pytest.raises(SgdsmError, match=r"uscrn: depth_m=.*expected a range with one of"):
        open_product("uscrn", tmp_path, depth_m=[0.06, 0.09])
    daily01(tmp_path, 2017, [12.0], [8])
    with pytest.raises(SgdsmError, match="soil moisture 12, expected m3 m-3"):
        open_product("uscrn", tmp_path)
    (tmp_path / "CRND0103-2017-AZ_Elgin_5_S.txt").write_text("53132 20170101 2.622 -110.51\n")
    with pytest.raises(SgdsmError, match="4 columns, expected the 28 of daily01"):
        open_product("uscrn", tmp_path)
    assert open_product("uscrn", tmp_path, on_bad_file="skip").sizes["time"] == 366


SCAN = """# comments of the report
# more
Date,Station Id,Station Name,Latitude,Longitude,Soil Moisture Percent -2in (pct) Start of Day Values,\
Soil Moisture Percent -8in (pct) Start of Day Values,Soil Temperature Observed -2in (degF) Start of Day Values
2016-01-01,2015,Adams Ranch #1,34.25,-105.42,12.5,20.0,50
2016-01-02,2015,Adams Ranch #1,34.25,-105.42,13.0,20.0,35
2016-01-03,2015,Adams Ranch #1,34.25,-105.42,,20.0,50
2016-01-04,2015,Adams Ranch #1,34.25,-105.42,-99.9,20.0,50
2016-01-01,2017,Nunn #1,40.87,-104.73,30.0,,
"""


def test_scan(tmp_path):
    path = tmp_path / "scan.csv"
    path.write_text(SCAN)
    cube = open_product("scan", path)
    assert list(cube["station"].values) == ["SCAN/Adams Ranch #1", "SCAN/Nunn #1"]
    assert float(cube["depth_m"][0]) == pytest.approx(0.0508)
    assert cube.sizes["time"] == 1  # 35 F is frozen soil
    np.testing.assert_allclose(cube["sm"].values[0], [0.125, 0.3], rtol=1e-6)
    assert float(open_product("scan", path, frozen_below=None)["sm"][1, 0]) == pytest.approx(0.13)
    assert float(open_product("scan", path, depth_m=[0.15, 0.3])["sm"][2, 0]) == pytest.approx(0.2)
    with pytest.raises(SgdsmError, match=r"no sensor there, the table has 0.051, 0.203 m"):
        open_product("scan", path, depth_m=[0.4, 0.6])
    path.write_text(SCAN.replace("Latitude", "North"))
    with pytest.raises(SgdsmError, match="no column 'Latitude': ask the report for it, or give lat="):
        open_product("scan", path)
    path.write_text(SCAN.replace("30.0", "130.0"))
    with pytest.raises(SgdsmError, match="holds 130, expected percent"):
        open_product("scan", path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SgdsmError, match="no column 'Date'"):
        open_product("scan", path)


def stacked() -> xr.Dataset:
    sm = np.full((3, 2, 2), 20.0)
    sm[1, 0, 0] = np.nan
    warm = np.array([[5.0, 5.0], [5.0, 5.0], [1.0, 5.0]])
    return xr.Dataset(
        {
            "sm": (("time", "station", "depth"), sm, {"units": "percent"}),
            "soil_temperature": (("time", "station", "depth"), np.stack([warm, warm], -1) + 273.15, {"units": "K"}),
            "lat": ("station", [40.0, 41.0]), "lon": ("station", [-100.0, -101.0]), "name": ("station", ["a", "b"]),
        },
        {"time": xr.date_range("2016-01-01", periods=3), "depth": ("depth", [5.0, 20.0], {"units": "cm"})},
    )  # fmt: skip


def test_netcdf_of_stations(tmp_path):
    path = tmp_path / "net.nc"
    stacked().to_netcdf(path)
    cube = open_product("station_netcdf", path)
    assert list(cube["station"].values) == ["net/a", "net/b"]
    np.testing.assert_allclose(cube["sm"].values, [[0.2, 0.2], [np.nan, 0.2], [0.2, 0.2]], rtol=1e-6)
    assert float(cube["depth_m"][0]) == pytest.approx(0.05)
    assert float(cube["soil_temperature"][2, 0]) == pytest.approx(1.0)
    assert np.isnan(open_product("station_netcdf", path, frozen_below=4.0)["sm"].values[2, 0])
    with pytest.raises(SgdsmError, match=r"net.nc: no variable 'theta' of stations; there are sm"):
        open_product("station_netcdf", path, sm="theta")
    with pytest.raises(SgdsmError, match=r"no sensor there, the file has 0.05, 0.2 m"):
        open_product("station_netcdf", path, depth_m=[0.5, 1.0])
    bare = stacked()
    del bare["sm"].attrs["units"]
    bare.to_netcdf(tmp_path / "bare.nc")
    with pytest.raises(SgdsmError, match=r"bare.nc: 'sm' has no units"):
        open_product("station_netcdf", tmp_path / "bare.nc")


def test_readings_around_an_overpass_and_the_least_of_them():
    times = np.datetime64("2016-01-01T00") + np.arange(72) * np.timedelta64(1, "h")
    values = np.arange(72.0)
    # 6 h local at 90 W is 12 UTC: readings of 9 to 15 UTC
    days, means = daily_means(times, values, -90.0, Daily(6.0, 6.0))
    assert [str(d) for d in days] == ["2016-01-01", "2016-01-02", "2016-01-03"]
    np.testing.assert_allclose(means, [12, 36, 60])
    kept = np.r_[0:24, 24:29, 48:72]
    days, _ = daily_means(times[kept], values[kept], daily=Daily(least_readings=6))
    assert [str(d) for d in days] == ["2016-01-01", "2016-01-03"]
    # a daily station has one reading a day
    assert len(daily_means(times[::24], values[::24], daily=Daily(least_readings=6))[0]) == 3


def test_days_in_any_order(tmp_path):
    dataset = stacked()
    dataset.to_netcdf(tmp_path / "rising.nc")
    dataset.isel(time=np.r_[2 : dataset.sizes["time"], 0, 1]).to_netcdf(tmp_path / "mixed.nc")
    rising, mixed = (open_product("station_netcdf", tmp_path / f"{n}.nc")["sm"].load() for n in ("rising", "mixed"))
    np.testing.assert_array_equal(rising.values, mixed.values)
    assert (rising["time"].values == mixed["time"].values).all()
