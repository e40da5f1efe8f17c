"""Sentinel-2: the numbers of the indices, clouds, offsets; Sentinel-1: speckle is averaged as power."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.speckle import gaussian, lee
from sgdsm.downscaling.optical import (
    check_reflectance,
    clear_of_bits,
    clear_of_classes,
    evi,
    lai,
    ndvi,
    offset_of,
    reflectance,
)


def one(value):
    return np.array([[value]], np.float32)


def test_numbers_of_evi_and_lai():
    index = evi(one(0.3), one(0.05), one(0.03))
    assert index == pytest.approx(0.4545, abs=5e-5)
    assert lai(index) == pytest.approx(1.5265, abs=5e-5)
    assert ndvi(one(0.3), one(0.05)) == pytest.approx(0.7143, abs=5e-5)
    # raw numbers are outside the range of the index
    raw = 2.5 * (3000 - 500) / (3000 + 6 * 500 - 7.5 * 300 + 1)
    assert raw == pytest.approx(1.67, abs=5e-3)
    assert np.isnan(evi(one(3000), one(500), one(300)))
    # a forgotten offset
    bands = [reflectance(one(stored), 0) for stored in (4000, 1500, 1300)]
    assert evi(*bands) == pytest.approx(0.4717, abs=5e-5)
    right = [reflectance(one(stored), offset_of("04.00")) for stored in (4000, 1500, 1300)]
    assert evi(*right) == pytest.approx(0.4545, abs=5e-5)
    assert lai(one(-0.5)) == 0
    assert np.isnan(lai(one(np.nan)))


def test_offset_of_the_baseline():
    assert [offset_of(text) for text in ("02.14", "0301", "04.00", "N0509")] == [0, 0, -1000, -1000]
    with pytest.raises(ConfigError, match="baseline=5"):
        offset_of("5")


def test_clouds_shadow_cirrus_and_snow_are_not_clear():
    classes = np.arange(12.0)
    assert np.flatnonzero(clear_of_classes(classes)).tolist() == [4, 5, 6, 7]
    assert not clear_of_classes(np.array([np.nan]))[0]
    flags = np.array([0, 1 << 10, 1 << 11, 3 << 10, 1 << 3, np.nan])
    assert clear_of_bits(flags).tolist() == [True, False, False, False, True, False]


def test_stored_zeros_are_missing_and_unscaled_numbers_are_refused():
    stored = np.array([[0, 1000, np.nan, 3000]], np.float32)
    np.testing.assert_allclose(reflectance(stored, -1000), [[np.nan, 0, np.nan, 0.2]])
    check_reflectance("B8.tif", np.full((20, 20), 0.3))
    with pytest.raises(CubeError, match="are the stored numbers scaled"):
        check_reflectance("B8.tif", np.full((20, 20), 3000.0))


@pytest.mark.parametrize("filtered", [lee, gaussian])
def test_filters_keep_the_mean_power_and_pass_over_gaps(filtered):
    power = np.random.default_rng(0).gamma(4.4, 1 / 4.4, (300, 300))
    # the mean of dB is 0.51 dB too low
    assert (10 * np.log10(power)).mean() == pytest.approx(-0.51, abs=0.02)
    smooth = filtered(power)
    assert 10 * np.log10(smooth.mean()) == pytest.approx(0, abs=0.02)
    assert smooth.std() < 0.4 * power.std()
    power[100:110, 100:110] = np.nan
    holed = filtered(power)
    np.testing.assert_array_equal(np.isnan(holed), np.isnan(power))
    # nothing is drawn to zero at the edges of a gap
    edge = holed[99, 98:112]
    assert 0.5 < edge.min() < edge.max() < 1.6
    far = np.s_[150:]
    np.testing.assert_allclose(holed[far], smooth[far], rtol=1e-9)
