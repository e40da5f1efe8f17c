"""The index beside those of two libraries, which fit gamma distributions day by day, without a window."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.evaluation.standardized_index import Standardization, days_of_year

YEARS = 12
DAYS = np.arange(np.datetime64("2001-01-01"), np.datetime64(f"{2001 + YEARS}-01-01"))
REFERENCE = np.ones(len(DAYS), bool)


def moisture() -> np.ndarray:
    season = 0.25 + 0.05 * np.cos(2 * np.pi * np.arange(len(DAYS)) / 365.25)
    return (season * np.random.default_rng(4).gamma(20, 1 / 20, len(DAYS))).astype(np.float32)


def ours(values: np.ndarray) -> np.ndarray:
    asked = Standardization(DAYS, REFERENCE, "gamma", scale_days=1, half_window_days=0, least_years=10)
    return asked.index(values[:, None])[0][:, 0]


def test_it_is_the_index_of_climate_indices():
    indices = pytest.importorskip("climate_indices.indices")
    compute = pytest.importorskip("climate_indices.compute")
    values = moisture()
    # there every year has 366 days
    leap = days_of_year(DAYS)[1]
    year = DAYS.astype("datetime64[Y]").astype(int) - 31
    table = np.full((YEARS, 366), np.nan)
    slot = days_of_year(DAYS)[0]
    slot = slot + (slot > 58) + leap
    table[year, slot] = values
    found = indices.spi(
        table.ravel(), 1, indices.Distribution.gamma, 2001, 2001, 2000 + YEARS, compute.Periodicity.daily
    ).reshape(YEARS, 366)[year, slot]
    # it stops at 3.09, and gives 29 February a fit of its own
    same = ~leap & (abs(found) < 3.08)
    assert same.mean() > 0.99
    np.testing.assert_allclose(ours(values)[same], found[same], rtol=0, atol=1e-9)


def test_it_is_the_index_of_xclim():
    peer = pytest.importorskip("xclim.indices.stats")
    values, leap = moisture(), days_of_year(DAYS)[1]
    time = xr.date_range("2001-01-01", periods=(~leap).sum(), calendar="noleap", use_cftime=True)
    series = xr.DataArray(values[~leap].astype(np.float64), {"time": time}, ("time",), attrs={"units": "mm"})
    found = peer.standardized_index(series, "D", 1, "gamma", "APP", False, {"floc": 0}, None, None).values
    np.testing.assert_allclose(ours(values)[~leap], found, rtol=0, atol=1e-9)
