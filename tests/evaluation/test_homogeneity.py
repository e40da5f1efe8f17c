"""Tests of breaks against scipy, scores of cells against numpy, and planted steps found where they are."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sgdsm.evaluation.homogeneity import (
    BOTH,
    LEVEL,
    NOT_TESTED,
    Parts,
    breaks_of,
    fligner_killeen,
    homogeneity,
    interannual,
    rank_sum,
    season_basis,
)

DIMS = ("time", "lat", "lon")


def test_tests_of_breaks_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 20)), rng.standard_normal((25, 20)) * np.linspace(0.5, 2, 20) + 0.3
    a, b = np.round(a, 1), np.round(b, 1)  # ties
    a[rng.random(a.shape) < 0.2] = np.nan
    clean = [(x[np.isfinite(x)], y) for x, y in zip(a.T, b.T, strict=True)]
    np.testing.assert_allclose(rank_sum(a, b), [stats.ranksums(x, y).pvalue for x, y in clean], rtol=1e-9)
    np.testing.assert_allclose(fligner_killeen(a, b), [stats.fligner(x, y).pvalue for x, y in clean], rtol=1e-9)


def record(years: int = 8, cells: int = 40, seed: int = 1) -> tuple[xr.DataArray, xr.DataArray, Parts]:
    """A reference with years of its own, a product with noise, and parts that change in the middle."""
    rng = np.random.default_rng(seed)
    time = xr.date_range("2008-01-01", periods=122 * years, freq="3D")
    shape = (len(time), 4, cells // 4)
    season = season_basis(time.values, 1) @ [0.25, 0.05, 0.02]
    year = rng.standard_normal((years + 1, *shape[1:])) * 0.02
    truth = season[:, None, None] + year[time.year - 2008] + 0.03 * rng.standard_normal(shape)
    product = truth + 0.02 * rng.standard_normal(shape)
    codes = np.where(np.arange(len(time)) < len(time) // 2, 2, 3)[:, None, None] + np.zeros(shape, int)
    coords = {"time": time, "lat": np.arange(4.0)[::-1], "lon": np.arange(cells // 4) * 1.0}
    arrays = [xr.DataArray(v, coords, DIMS, attrs={"units": "m3 m-3"}) for v in (product, truth, codes)]
    return arrays[0], arrays[1], Parts(arrays[2], [2, 3], ["amsr", "smos"])


def test_scores_of_cells_are_those_of_numpy():
    product, truth, parts = record()
    product = product.where(np.random.default_rng(2).random(product.shape) < 0.7)
    found = homogeneity(product, truth, parts, [])
    x, y = product.values[:, 1, 2], truth.values[:, 1, 2]
    known = np.isfinite(x)
    first = known & (parts.codes.values[:, 1, 2] == 2)
    np.testing.assert_allclose(found["r"][0, 1, 2], np.corrcoef(x[known], y[known])[0, 1])
    np.testing.assert_allclose(found["r"].sel(subset="amsr")[1, 2], np.corrcoef(x[first], y[first])[0, 1])
    basis = season_basis(product["time"].values, 1)
    left = [v - basis @ np.linalg.lstsq(basis[known], v[known], rcond=None)[0] for v in (x, y)]
    np.testing.assert_allclose(found["r_residual"][0, 1, 2], np.corrcoef(left[0][known], left[1][known])[0, 1])
    np.testing.assert_allclose(found["bias"].sel(subset="amsr")[1, 2], (x - y)[first].mean())
    assert found["n"][0, 1, 2] == known.sum()


def test_a_record_without_a_break_has_none_and_its_years_are_right():
    product, truth, parts = record()
    breaks = breaks_of(parts)
    assert [str(day)[:7] for day in breaks] == [str(parts.codes["time"].values[parts.codes.shape[0] // 2])[:7]]
    found = homogeneity(product, truth, parts, breaks)
    for p in ("p_level", "p_spread"):
        assert (found[p].values < 0.05).mean() < 0.15, "5 % are expected"
    years = interannual(found)
    assert years["ratio"] == pytest.approx(1, abs=0.1)
    assert years["r"] > 0.95


def test_a_planted_step_and_a_planted_spread_are_found():
    product, truth, parts = record()
    late = parts.codes.values == 3
    rng = np.random.default_rng(5)
    month = product["time"].values.astype("datetime64[M]").astype(int)
    noise = rng.standard_normal((month.max() + 1, *product.shape[1:]))[month]
    stepped = product + 0.03 * late
    found = homogeneity(stepped, truth, parts, breaks_of(parts))
    np.testing.assert_allclose(found["shift"].median(), 0.03, atol=0.002)
    assert (found["break_kind"].values & LEVEL > 0).mean() > 0.95
    louder = homogeneity(stepped + 0.05 * noise * late, truth, parts, breaks_of(parts))
    assert (louder["break_kind"].values == BOTH).mean() > 0.5
    # too few months on a side: not tested, not called homogeneous
    short = homogeneity(stepped, truth, parts, [np.datetime64("2008-06-01")])
    assert (short["break_kind"].values == NOT_TESTED).all()
    assert np.isnan(short["shift"].values).all()


def test_years_that_a_product_flattens_show():
    product, truth, _ = record()
    year = product["time"].dt.year.values
    flat = product.copy()
    for one in np.unique(year):
        flat[year == one] -= 0.6 * (truth[year == one].mean("time") - truth.mean("time"))
    years = interannual(homogeneity(flat, truth, None, []))
    assert years["ratio"] == pytest.approx(0.4, abs=0.08)
