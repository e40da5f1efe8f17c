from __future__ import annotations

import numpy as np
import pytest

from sgdsm.evaluation.exponential_filter import CANDIDATES, ExponentialFilter, fitted_days

DAYS = np.arange(np.datetime64("2015-01-01"), np.datetime64("2016-07-01"))


def surface() -> np.ndarray:
    """Soil moisture of a cell that dries and is wetted, with gaps, another never seen, and one seen late."""
    rng = np.random.default_rng(0)
    values = 0.2 + 0.1 * rng.standard_normal((len(DAYS), 2, 2)).cumsum(0) / np.sqrt(len(DAYS))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, 0, 1] = np.nan
    values[:30, 1, 0] = np.nan
    values[100:160, 1, 1] = np.nan
    return values


def filtered(values: np.ndarray, one: ExponentialFilter, days: np.ndarray = DAYS) -> tuple[np.ndarray, np.ndarray]:
    found = [(one.step(day, maps), one.share) for day, maps in zip(days, values, strict=True)]
    return tuple(np.stack(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def test_the_recursion_is_the_convolution_also_across_gaps():
    values, constant = surface(), np.array([[5.0, 10.0], [20.0, 60.0]])
    found, share = filtered(values, ExponentialFilter.new(constant, (2, 2)))
    age = (DAYS[:, None] - DAYS).astype(float)[..., None, None]
    weights = np.where(age >= 0, np.exp(-age / constant), 0) * np.isfinite(values)
    with np.errstate(invalid="ignore"):
        expected = (weights * np.nan_to_num(values)).sum(1) / weights.sum(1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(share, weights.sum(1) * (1 - np.exp(-1 / constant)), rtol=1e-12)
    assert np.isnan(found[:, 0, 1]).all()
    assert np.isnan(found[:30, 1, 0]).all()
    # a value on every day comes to the whole weight
    assert filtered(np.ones((len(DAYS), 1, 1)), ExponentialFilter.new(10, (1, 1)))[1][-1] == pytest.approx(1)


def test_it_is_the_filter_of_pytesmo():
    filters = pytest.importorskip("pytesmo.time_series.filters")
    values = surface()[:, :1, :1]
    found, _ = filtered(values, ExponentialFilter.new(12, (1, 1)))
    theirs = filters.exp_filter(values.ravel(), np.arange(float(len(DAYS))), ctime=12)
    known = np.isfinite(values.ravel())
    np.testing.assert_allclose(found.ravel()[known], theirs[known], rtol=0, atol=1e-8)


def test_it_goes_on_from_its_state():
    values = surface()
    whole, _ = filtered(values, ExponentialFilter.new(15, (2, 2)))
    first = ExponentialFilter.new(15, (2, 2))
    filtered(values[:200], first, DAYS[:200])
    # days without maps count as missing
    second = ExponentialFilter(15, first.value, first.weight, first.day)
    values[200:205] = np.nan
    skipped, _ = filtered(values[205:], second, DAYS[205:])
    expected, _ = filtered(values, ExponentialFilter.new(15, (2, 2)))
    np.testing.assert_allclose(skipped, expected[205:], rtol=0, atol=1e-14)
    again = ExponentialFilter(15, first.value, first.weight, DAYS[199])
    np.testing.assert_array_equal(filtered(surface()[200:], again, DAYS[200:])[0], whole[200:])


def test_the_time_constant_of_a_deeper_layer_is_found():
    values, constant = surface(), np.array([[6.0, 10.0], [25.0, 57.0]])
    deeper, _ = filtered(values, ExponentialFilter.new(constant, (2, 2)))
    deeper = 0.1 + 0.5 * deeper + 1e-4 * np.random.default_rng(1).standard_normal(deeper.shape)
    deeper[::3] = np.nan
    found, correlation = fitted_days(zip(DAYS, values, deeper, strict=True))
    assert np.isnan(found[0, 1])
    known = np.isfinite(found)
    assert known.sum() == 3
    nearest = CANDIDATES[abs(CANDIDATES[:, None] - constant[known]).argmin(0)]
    np.testing.assert_allclose(found[known], nearest, rtol=0.1)
    assert (correlation[known] > 0.99).all()
    # of fewer days than asked for: none
    assert np.isnan(fitted_days(zip(DAYS[:80], values[:80], deeper[:80], strict=True))[0]).all()
