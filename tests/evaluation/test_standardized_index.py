from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.evaluation.standardized_index import (
    CELLS,
    Standardization,
    days_of_year,
    lowest_empirical,
    trailing_mean,
)


def calendar(years: int) -> np.ndarray:
    return np.arange(np.datetime64("1981-01-01"), np.datetime64(f"{1981 + years}-01-01"))


def asked(days: np.ndarray, fit: str = "gamma", half: int = 15, scale: int = 1, **more: object) -> Standardization:
    return Standardization(days, np.ones(len(days), bool), fit, scale, half, **more)  # type: ignore[arg-type]


def simulated(kind: str, days: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Soil moisture with a season in mean and spread, and its true index: first-order autoregressive, .95 a day."""
    shocks = np.random.default_rng(1).standard_normal((len(days) + 300, cells))
    index = lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], shocks, axis=0)[300:]
    angle = 2 * np.pi * days_of_year(days)[0][:, None] / 365
    mean, spread = 0.22 + 0.08 * np.cos(angle), 0.25 + 0.08 * np.sin(angle)
    if kind == "gamma":
        return stats.gamma.ppf(stats.norm.cdf(index), spread**-2, scale=mean * spread**2).astype(np.float32), index
    common = mean * (1 - mean) / (spread * mean) ** 2 - 1
    return stats.beta.ppf(stats.norm.cdf(index), mean * common, (1 - mean) * common).astype(np.float32), index


@pytest.mark.parametrize("kind", ["gamma", "beta"])
def test_it_finds_the_index_of_simulated_soil_moisture(kind):
    days = calendar(40)
    values, true = simulated(kind, days, 16)
    for half, largest_error in ((0, 0.21), (15, 0.16)):
        one = asked(days, kind, half)
        found = one.index(values)[0]
        assert np.sqrt(np.mean((found - true) ** 2)) <= largest_error
        assert 0.018 < (found <= -2).mean() < 0.027
        # how far the distribution of the index is from the normal one
        assert stats.ks_1samp(found.ravel(), stats.norm.cdf).statistic <= 0.015


def test_the_value_of_a_bound_parts_the_values_as_the_index_does():
    days = calendar(12)
    for fit in ("gamma", "beta", "empirical"):
        values = simulated("beta" if fit == "beta" else "gamma", days, 6)[0]
        values[7::13, 4] = np.nan
        values[: 365 * 4, 5] = np.nan
        if fit == "empirical":
            # many equal ones, and as many as the rank of the bound
            values[values < np.quantile(values[:, 1], 0.3)] = 0
        for scale, half in ((1, 15), (1, 0), (3, 15)):
            one = asked(days, fit, half, scale)
            index, limits = one.index(values, -0.8)
            dry = one.at_or_below(values, limits)
            np.testing.assert_array_equal(np.isnan(dry), np.isnan(index))
            known = np.isfinite(index) & (abs(index + 0.8) > 1e-9)
            np.testing.assert_array_equal(dry[known] == 1, index[known] <= -0.8)
            assert 0.1 < np.nanmean(dry) < 0.35


def test_cells_do_not_depend_on_those_beside_them():
    days = calendar(10)
    values = simulated("gamma", days, 7)[0]
    values[::50, 3] = np.nan
    for fit in ("gamma", "beta", "empirical"):
        one = asked(days, fit, scale=5)
        whole = one.index(values)[0]
        for part in (slice(0, 1), slice(3, 6)):
            alone = one.index(values[:, part])[0]
            np.testing.assert_array_equal(alone, whole[:, part])
    assert whole.shape[1] < CELLS


def test_the_season_inside_the_window_is_no_spread():
    """A steep season: pooled as they are, the values of a month would look alike."""
    days = calendar(20)
    season = 0.25 + 0.15 * np.cos(2 * np.pi * days_of_year(days)[0] / 365)
    values = (season + 0.005 * np.random.default_rng(0).standard_normal(len(days)))[:, None]
    found = asked(days).index(values)[0]
    assert 0.95 < found.std() < 1.05


def test_the_29_february_takes_the_fit_of_the_28():
    days = calendar(13)
    slots, leap = days_of_year(days)
    assert leap.sum() == 3
    assert (slots[leap] == 58).all()
    assert {str(d)[5:] for d in days[slots == 59]} == {"03-01"}
    assert slots.max() == 364
    values = simulated("gamma", days, 1)[0]
    at = np.flatnonzero(leap)
    values[at] = values[at - 1]
    for fit in ("gamma", "beta", "empirical"):
        found = asked(days, fit).index(values)[0]
        np.testing.assert_array_equal(found[at], found[at - 1])


def test_ranks_stop_at_what_their_number_allows():
    assert lowest_empirical(40) == pytest.approx(-2.20, abs=0.005)
    assert lowest_empirical(10) == pytest.approx(-1.60, abs=0.005)
    days = calendar(12)
    values = simulated("gamma", days, 1)[0]
    reference = days < np.datetime64("1991-01-01")
    one = Standardization(days, reference, "empirical", 1, 0, 10)
    values[days == np.datetime64("1992-07-01")] = 1e-4
    found = one.index(values)[0]
    assert found.min() == pytest.approx(lowest_empirical(10))
    # equal values have their mean rank
    zeros = np.where(np.arange(len(days))[:, None] % 2 == 0, 0.0, values)
    low = one.index(zeros)[0][zeros == 0]
    assert np.isfinite(low).all()
    assert low.max() < 0.7


def test_ranks_do_not_depend_on_a_shift():
    days = calendar(12)
    values = simulated("gamma", days, 2)[0].astype(np.float64)
    anomalies = values - values.mean(0)
    zeros = np.where(values < np.quantile(values, 0.2), 0, values)
    one = asked(days, "empirical")
    for series in (anomalies, zeros):
        np.testing.assert_allclose(one.index(series)[0], one.index(series + 100)[0], atol=1e-6)


def test_a_mean_of_days_needs_all_of_them():
    values = np.random.default_rng(0).random((60, 2))
    values[30, 1] = np.nan
    expected = pd.DataFrame(values).rolling(7).mean().to_numpy()
    np.testing.assert_allclose(trailing_mean(values, 7), expected, atol=1e-12)
    assert np.isnan(trailing_mean(values[:3], 7)).all()
    np.testing.assert_array_equal(trailing_mean(values, 1), values)


def test_cells_of_few_years_and_of_one_value_have_no_index():
    days = calendar(12)
    values = simulated("gamma", days, 3)[0]
    values[: 365 * 3, 0] = np.nan
    values[:, 1] = 0.25
    for fit in ("gamma", "beta"):
        found = asked(days, fit).index(values)[0]
        assert np.isnan(found[:, :2]).all()
        assert np.isfinite(found[:, 2]).all()
    with pytest.raises(ConfigError, match=r"^9 years .* least_years=10"):
        asked(calendar(9))


@pytest.mark.parametrize(
    ("fit", "value", "upper", "said"),
    [
        ("gamma", 0.0, 1, "1 values like 0 where fit=gamma takes values above 0 only: use fit=empirical"),
        ("beta", 1.0, 1, "takes values between 0 and 1 only"),
        ("beta", 120.0, 100, "takes values between 0 and 100 only"),
    ],
)
def test_values_that_a_distribution_does_not_take_are_refused(fit, value, upper, said):
    days = calendar(10)
    values = simulated("gamma", days, 1)[0] * upper
    values[40] = value
    with pytest.raises(CubeError, match=said):
        asked(days, fit, upper=upper).index(values)
    assert np.isfinite(asked(days, "empirical").index(values)[0]).all()
