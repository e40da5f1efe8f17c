from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.errors import ConfigError
from sgdsm.preprocessing.features import (
    antecedent_precipitation,
    composites,
    diurnal_temperature_range,
    mean_of_two,
    n_day_mean,
    terrain,
)

METRES = np.radians(1) * 6_371_007.2  # of a degree


def series(*values):
    return np.array(values, np.float32)[:, None, None]


def days(*numbers):
    return np.datetime64("2020-01-01") + np.array(numbers)


def test_antecedent_precipitation_includes_today():
    found = antecedent_precipitation(series(10, 0, 0, 0, 0, 5, 0), 5)
    assert found.dtype == np.float32
    # two days of five are less than half
    assert np.isnan(found[:2, 0, 0]).all()
    assert found[2:, 0, 0] == pytest.approx([10 / 3, 2.5, 2, 1, 1])


def test_antecedent_precipitation_without_some_days():
    nan = np.nan
    found = antecedent_precipitation(series(3, nan, 6, nan, nan, nan), 3)[:, 0, 0]
    assert found[2] == pytest.approx(4.5)
    assert np.isnan(found[[0, 1, 3, 4, 5]]).all()
    assert antecedent_precipitation(series(3, nan, 6, nan, nan), 3, least=0.3)[:, 0, 0][4] == 6
    with pytest.raises(ConfigError, match="days=0"):
        antecedent_precipitation(series(1, 2), 0)


def test_diurnal_temperature_range():
    found = diurnal_temperature_range(series(300, 290, np.nan), series(280, 291, 270))[:, 0, 0]
    assert found[:2].tolist() == [20, -1]
    assert np.isnan(found[2])
    assert found.dtype == np.float32


def test_the_mean_of_two_is_that_of_the_one_that_is_there():
    a, b = np.array([0.2, 0.4, np.nan, np.nan]), np.array([0.4, np.nan, 0.6, np.nan])
    np.testing.assert_allclose(mean_of_two(a, b), [0.3, 0.4, 0.6, np.nan], rtol=1e-6)


def test_n_day_mean():
    values = series(1, 2, 3, np.nan, 5, np.nan, np.nan, np.nan, np.nan)
    found = n_day_mean(values, 3)
    assert found.shape == (3, 1, 1)
    assert found[:2, 0, 0].tolist() == [2, 5]
    assert np.isnan(found[2])
    with pytest.raises(ConfigError, match="9 days: expected a multiple of n_day_mean's days=2"):
        n_day_mean(values, 2)


def plane(lat, lon, east=0.0, north=0.0):
    """A slope of so many m per m; exact along a parallel as cells get narrower."""
    y, x = np.meshgrid(lat, lon, indexing="ij")
    return (north * METRES * y + east * METRES * np.cos(np.radians(y)) * x).astype(np.float32)


@pytest.mark.parametrize(
    ("east", "north", "northness", "eastness"),
    [(0.1, 0, 0, -1), (-0.1, 0, 0, 1), (0, 0.1, -1, 0), (0, -0.1, 1, 0), (0.1, -0.1, 0.7071, -0.7071)],
)
def test_slope_and_aspect_of_planes(east, north, northness, eastness):
    lat, lon = 60.05 - 0.01 * np.arange(11), 0.01 * (np.arange(9) - 4)
    found = terrain(plane(lat, lon, east, north), lat, lon)
    inner = (slice(1, -1), slice(1, -1))
    assert found.slope[inner] == pytest.approx(np.degrees(np.arctan(np.hypot(east, north))), rel=2e-3)
    assert found.northness[inner] == pytest.approx(northness, abs=2e-3)
    assert found.eastness[inner] == pytest.approx(eastness, abs=2e-3)
    assert all(part.dtype == np.float32 for part in found)


def test_level_ground_and_sea():
    elevation = np.full((5, 6), 100, np.float32)
    elevation[2, 2] = np.nan
    found = terrain(elevation, 10.0 - np.arange(5), np.arange(6.0))
    land = np.isfinite(elevation)
    for part in found:
        assert (part[land] == 0).all()
        assert np.isnan(part[2, 2])


def test_longitude_is_a_circle_in_terrain():
    lat, lon = 20.0 - 10 * np.arange(5), -175.0 + 10 * np.arange(36)
    elevation = (1000 * np.cos(np.radians(lon)) + 100 * np.random.default_rng(0).random((5, 36))).astype(np.float32)
    found = terrain(elevation, lat, lon)
    turned = terrain(np.roll(elevation, 7, 1), lat, lon)
    for a, b in zip(found, turned, strict=True):
        np.testing.assert_allclose(np.roll(a, 7, 1), b, atol=1e-4)


def test_topographic_position_is_above_the_eight_neighbours():
    elevation = np.random.default_rng(1).random((7, 8)).astype(np.float32) * 100
    lat, lon = 10.0 - np.arange(7), np.arange(8.0)
    found = terrain(elevation, lat, lon).tpi
    around = elevation[2:5, 3:6].astype(float)
    assert found[3, 4] == pytest.approx(around[1, 1] - (around.sum() - around[1, 1]) / 8, rel=1e-5)
    corner = elevation[:2, :2].astype(float)
    assert found[0, 0] == pytest.approx(corner[0, 0] - (corner.sum() - corner[0, 0]) / 3, rel=1e-5)
    elevation[2, 3] = np.nan
    wide = terrain(elevation, lat, lon, window=5).tpi
    block = elevation[1:6, 2:7].astype(float)
    assert wide[3, 4] == pytest.approx(elevation[3, 4] - (np.nansum(block) - elevation[3, 4]) / 23, rel=1e-5)
    assert np.isnan(wide[2, 3])


def test_terrain_refuses():
    elevation, lat, lon = np.zeros((5, 6), np.float32), 10.0 - np.arange(5), np.arange(6.0)
    with pytest.raises(ConfigError, match="north to south"):
        terrain(elevation, lat[::-1], lon)
    with pytest.raises(ConfigError, match="odd number from 3 to 5"):
        terrain(elevation, lat, lon, window=4)
    with pytest.raises(ConfigError, match=r"expected \(6, 5\)"):
        terrain(elevation, lon[::-1], lat[::-1])


def test_terrain_by_rows_with_a_halo_is_that_of_the_whole():
    lat, lon = 50 - 0.1 * np.arange(40), 0.1 * np.arange(30)
    elevation = np.random.default_rng(2).random((40, 30)).astype(np.float32) * 500
    whole = terrain(elevation, lat, lon, window=5)
    part = terrain(elevation[8:24], lat[8:24], lon, window=5)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_allclose(a[10:22], b[2:-2], rtol=1e-4, atol=1e-4)


def test_composites_in_time():
    values, flags = composites(series(0.2, 0.4, 0.3), days(8, 24, 40), days(0, 8, 12, 24, 30, 40, 45, 80))
    assert values[:7, 0, 0] == pytest.approx([0.2, 0.2, 0.25, 0.4, 0.4 - 0.1 * 6 / 16, 0.3, 0.3])
    assert np.isnan(values[7, 0, 0])
    assert flags[:, 0, 0].tolist() == [2, 0, 1, 0, 1, 0, 2, 2]
    assert values.dtype == np.float32
    assert flags.dtype == np.uint8


def test_a_cloudy_composite_is_bridged_up_to_the_longest_gap():
    clouded = series(0.2, np.nan, 0.4)
    at, wanted = days(0, 16, 32), days(0, 8, 16, 17, 32)
    values, flags = composites(clouded, at, wanted)
    assert values[:, 0, 0] == pytest.approx([0.2, 0.25, 0.3, 0.30625, 0.4])
    assert flags[:, 0, 0].tolist() == [0, 1, 1, 1, 0]
    values, flags = composites(clouded, at, wanted, max_gap_days=10)
    assert values[[0, 1, 4], 0, 0] == pytest.approx([0.2, 0.2, 0.4])
    assert np.isnan(values[2:4]).all()
    assert flags[:, 0, 0].tolist() == [0, 2, 2, 2, 0]
    with pytest.raises(ConfigError, match="rising"):
        composites(clouded, at[::-1], wanted)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), gap=st.integers(1, 40))
def test_composites_are_those_of_a_plain_loop(seed, gap):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((8, 2, 3)) < 0.4, np.nan, rng.random((8, 2, 3))).astype(np.float32)
    at = np.cumsum(rng.integers(1, 20, 8))
    wanted = np.arange(-5, at[-1] + 10)
    found, flags = composites(values, days(*at), days(*wanted), max_gap_days=gap)
    for row, column in np.ndindex(2, 3):
        have = np.flatnonzero(np.isfinite(values[:, row, column]))
        for k, day in enumerate(wanted):
            before = [n for n in have if day - gap <= at[n] <= day][-1:]
            after = [n for n in have if day <= at[n] <= day + gap][:1]
            near = [*before, *after]
            if len(near) == 2:
                expected = np.interp(day, at[near], values[near, row, column])
            else:
                expected = values[near[0], row, column] if near else np.nan
            assert found[k, row, column] == pytest.approx(expected, rel=1e-5, nan_ok=True)
            assert flags[k, row, column] == (0 if day in at[have] else 1 if len(near) == 2 else 2)


def test_slabs_with_their_halo_are_as_the_whole():
    rng = np.random.default_rng(3)
    rain = np.where(rng.random((60, 2, 2)) < 0.2, np.nan, rng.exponential(2, (60, 2, 2))).astype(np.float32)
    whole = antecedent_precipitation(rain, 5, 0.9)
    np.testing.assert_array_equal(antecedent_precipitation(rain[16:40], 5, 0.9)[4:], whole[20:40])
    green = np.where(rng.random((12, 2, 2)) < 0.3, np.nan, rng.random((12, 2, 2))).astype(np.float32)
    at, wanted = days(*range(0, 192, 16)), days(*range(80, 100))
    near = (at >= wanted[0] - 32) & (at <= wanted[-1] + 32)
    assert near.sum() < 12
    for a, b in zip(composites(green, at, wanted), composites(green[near], at[near], wanted), strict=True):
        np.testing.assert_array_equal(a, b)
