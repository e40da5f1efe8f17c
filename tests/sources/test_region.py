"""The built-in region: days made when asked for, units, means at 1 km, speckle."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.bilinear import averaged
from sgdsm.core.cube import by_role
from sgdsm.core.errors import ConfigError
from sgdsm.sources import simulated_region
from sgdsm.sources.simulation.region import DECIBEL, LOOKS, PREDICTORS, Region, fine_day, lee


@pytest.fixture(scope="module")
def region() -> Region:
    return Region(2, 0, "lee", "2019-01-01", 400)


def test_a_day_is_a_function_of_seed_and_day(region):
    first = region.make(40)
    region.make(46)
    for other in (region.make(40), Region(2, 0, "lee", "2019-01-01", 400).make(40)):
        np.testing.assert_array_equal(first.truth, other.truth)
        np.testing.assert_array_equal(first.predictors["GRD"], other.predictors["GRD"])
    assert (Region(2, 1, "lee", "2019-01-01", 400).make(40).truth != first.truth).any()


def test_1_km_is_the_mean_of_10_m(region):
    day = region.make(40)
    np.testing.assert_allclose(day.coarse["SM"], averaged(day.truth, 100), rtol=1e-6)
    np.testing.assert_allclose(day.coarse["EVI"], averaged(day.predictors["EVI"], 100), rtol=1e-6)
    # of power: the mean of dB with speckle of 4.4 looks is .51 dB too low
    raw = region.power(40, day.truth)
    assert (day.coarse["GRD"] - averaged(10 * np.log10(raw), 100)).mean() == pytest.approx(0.51, abs=0.25)
    assert day.coarse["GRD"].mean() == pytest.approx(10 * np.log10(raw.mean()), abs=0.05)


def test_speckle_has_its_looks_and_lee_takes_most_of_it(region):
    flat = np.random.default_rng(0).gamma(LOOKS, 1 / LOOKS, (400, 400)).astype(np.float32)
    filtered = lee(flat)
    assert filtered.mean() == pytest.approx(1, abs=0.01)
    assert filtered.std() < 0.4 * flat.std()
    unfiltered = Region(2, 0, "none", "2019-01-01", 400).make(40)
    day = region.make(40)
    np.testing.assert_array_equal(day.truth, unfiltered.truth)
    assert unfiltered.predictors["GRD"].std() > 1.4 * day.predictors["GRD"].std()
    # a wetter soil is brighter
    slope = np.polyfit(day.truth.ravel(), day.predictors["GRD"].ravel(), 1)[0]
    assert 0.5 * DECIBEL < slope < 1.5 * DECIBEL


def test_the_cube_has_predictors_with_units_and_sources(region):
    cube = simulated_region(2, 24, step_days=6)
    assert cube["SM"].shape == (4, 2, 2)
    assert {*by_role(cube, "dynamic"), *by_role(cube, "static")} == {*PREDICTORS}
    for name, (units, _, source, _) in PREDICTORS.items():
        assert cube[name].attrs["units"] == units
        assert cube[name].attrs["source"] == source
    assert float(cube["SM"].min()) > 0.02
    assert float(cube["SM"].max()) < 0.56
    # north first, centres of cells
    assert cube["y"].values[0] > cube["y"].values[1]
    fine = fine_day(region, 6)
    assert float(fine["x"][:100].mean()) == float(cube["x"][0])
    assert float(fine["y"][:100].mean()) == float(cube["y"][0])
    np.testing.assert_allclose(cube["SM"].values[1], averaged(fine["SM"].values[0], 100), rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": 1}, "data.cells=1: expected 2 to 100"),
        ({"days": 5}, "data.step_days=6: expected 1 to the 5 days"),
        ({"start": "yesterday"}, "data.start=yesterday: expected a date"),
    ],
)
def test_sizes_that_cannot_work(given, said):
    with pytest.raises(ConfigError, match=said):
        simulated_region(**given)
