from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.cube import check_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.sources.simulation.world import simulate, simulate_store


@pytest.fixture(scope="module")
def year():
    return simulate(days=365)


def test_it_is_a_cube_and_the_seed_decides_it(year):
    check_cube(year)
    a, b, c = (simulate(rows=6, columns=8, days=20, seed=s) for s in (1, 1, 2))
    assert a.identical(b)
    assert not a.equals(c)


def test_it_looks_like_the_real_data(year):
    """The ranges hold the values of SMAP over the United States: gaps .58, lag-1 .040, lag-8 .061, cells' means .11."""
    land = year["land"].values
    sm = year["sm"].values[:, land]
    gaps = 1 - np.isfinite(sm).mean()
    assert 0.5 < gaps < 0.7

    def difference(days: int) -> float:
        return float(np.sqrt(np.nanmean((sm[days:] - sm[:-days]) ** 2)))

    assert 0.03 < difference(1) < 0.05
    assert difference(1) < difference(3) < difference(8) < difference(32)
    assert 0.07 < np.nanstd(np.nanmean(sm, 0)) < 0.14
    assert np.nanmin(sm) > 0.0
    assert np.nanmax(sm) < 0.75
    rain = year["precipitation"].values[:, land]
    assert 1 < rain.mean() < 3.5
    assert 0.1 < (rain >= 2.4).mean() < 0.3
    winter = np.isin(year["time"].dt.month.values, (12, 1, 2))
    assert np.isnan(sm[winter]).mean() > np.isnan(sm[~winter]).mean() + 0.1
    cloud = np.isnan(year["surface_temperature"].values[:, land]).mean()
    assert 0.2 < cloud < 0.6


def test_rain_wets_and_sun_dries(year):
    land = year["land"].values
    truth, rain = year["sm_true"].values[:, land], year["precipitation"].values[1:, land]
    change = np.diff(truth, axis=0)
    assert change[rain > 10].mean() > 0.03
    warm = year["air_temperature"].values[1:, land] > 290
    assert change[(rain == 0) & warm].mean() < -0.002


def test_noise_is_what_it_says(year):
    error = (year["sm"] - year["sm_true"]).values
    noise = year["sm_noise"].values
    scaled = (error / noise)[np.isfinite(error) & (year["sm_true"].values > 0.1)]
    assert scaled.std() == pytest.approx(1, abs=0.02)
    assert scaled.mean() == pytest.approx(0, abs=0.02)
    ndvi = year["ndvi_mean"].values
    land = year["land"].values
    assert np.corrcoef(ndvi[land], noise[land])[0, 1] > 0.9


def test_every_missing_value_has_a_reason(year):
    land, reason = year["land"].values, year["sm_reason"].values
    observed = np.isfinite(year["sm"].values)
    assert (observed == ((reason == 0) & land)).all()
    assert all((reason == code).any() for code in range(5))


def test_store_holds_what_memory_holds(tmp_path):
    arguments = {"rows": 6, "columns": 8, "days": 40, "resolution": 2.0, "north": 60.0, "west": 0.0, "seed": 2}
    stored = simulate_store(str(tmp_path / "w.zarr"), **arguments, land_fraction=0.5)
    made = simulate(**arguments, land_fraction=0.5)
    for name in ("sm", "precipitation", "elevation", "land", "sm_reason"):
        np.testing.assert_array_equal(stored[name].values, made[name].values)
    check_cube(stored)
    again = simulate_store(str(tmp_path / "w.zarr"), **arguments, land_fraction=0.5)
    np.testing.assert_array_equal(again["sm"].values, made["sm"].values)
    with pytest.raises(ConfigError, match=r"w.zarr: made with land_fraction=0.5, expected 0.3: remove it"):
        simulate_store(str(tmp_path / "w.zarr"), **arguments)
    with pytest.raises(ConfigError, match=r"w.nc: expected a name that ends in .zarr"):
        simulate_store(str(tmp_path / "w.nc"), **arguments)
    assert not (tmp_path / "w.nc").exists()


def test_lost_passes_and_a_trend_of_the_rain(tmp_path):
    size = {"rows": 10, "columns": 60, "days": 40, "chunk": 8}
    whole = simulate_store(str(tmp_path / "whole.zarr"), **size).load()
    lossy = simulate_store(
        str(tmp_path / "lossy.zarr"), **size, lost_passes=0.5, lost_until="2015-05-01", rain_trend=0.5
    ).load()
    seen = (lossy["sm_reason"].values != 1)[:, lossy["land"].values.astype(bool)].any(1)
    # thirty days of April: about half of them without a pass, and the same passes as in the other world afterwards
    assert 8 <= seen[:30].sum() <= 22
    assert np.isnan(lossy["sm"].values[~seen]).all()
    assert np.array_equal(lossy["sm_reason"].values[30:], whole["sm_reason"].values[30:])
    # the rain of the first day is the same, then it changes in proportion to the time, more or less from cell to cell
    change = np.divide(lossy["precipitation"], whole["precipitation"].where(whole["precipitation"] > 0)).values - 1
    assert np.nanmax(abs(change[0])) == 0
    rates = change / (np.arange(40)[:, None, None] / 365.2425 + 1e-12)
    assert np.nanmax(np.nanstd(rates[10:], 0)) < 1e-3
    assert np.nanstd(np.nanmean(rates[10:], 0)) > 0.1
    with pytest.raises(ConfigError, match=r"data.lost_passes=0.5 data.lost_until=None: expected"):
        simulate_store(str(tmp_path / "no.zarr"), **size, lost_passes=0.5)


def test_global_world_is_circular():
    world = simulate(rows=18, columns=36, days=3, resolution=10.0, north=90.0, west=-180.0, land_fraction=0.3)
    assert world.attrs["circular_longitude"] == 1
    assert world["land"].values.mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("bad", [{"rows": 0}, {"days": 0}, {"land_fraction": 0.0}, {"columns": 400}, {"north": 100.0}])
def test_sizes_that_are_not_possible(bad):
    with pytest.raises(ConfigError, match=r"data|simulate"):
        simulate(**{"rows": 4, "columns": 4, "days": 2, **bad})


def test_orbit_sees_about_half_the_globe_a_day_and_all_of_it_in_three():
    lat, lon = np.arange(59.5, -60, -1.0), np.arange(-179.5, 180, 1.0)
    masks = Orbit(lat, lon).cycle()
    assert masks.shape == (16, 120, 360)
    share = masks.mean((1, 2))
    assert (share > 0.4).all()
    assert (share < 0.7).all()
    assert np.logical_or.reduce(masks[:3]).mean() > 0.97


def test_orbit_agrees_with_a_track_of_points():
    """The swath by distance to a densely sampled ground track, the slow way."""
    lat, lon = np.arange(50, 20, -2.5), np.arange(0, 40, 2.5)
    la, lo = np.meshgrid(np.deg2rad(lat), np.deg2rad(lon), indexing="ij")
    cells = np.stack([np.cos(la) * np.cos(lo), np.cos(la) * np.sin(lo), np.sin(la)], -1).reshape(-1, 3)
    tilt, turn = np.deg2rad(98.2), 16 / 233
    u = np.deg2rad(np.arange(90, 270, 0.05))
    expected = np.zeros((16, la.size), bool)
    for number in range(233):
        node = 0.7 - 2 * np.pi * number * turn - u * turn
        x, y, z = np.cos(u), np.sin(u) * np.cos(tilt), np.sin(u) * np.sin(tilt)
        track = np.stack([x * np.cos(node) - y * np.sin(node), x * np.sin(node) + y * np.cos(node), z], -1)
        expected[number * 16 // 233] |= (cells @ track.T).max(1) > np.cos(725 / 6371)
    got = Orbit(lat, lon).cycle(phase=0.7).reshape(16, -1)
    assert (got == expected).mean() > 0.995
