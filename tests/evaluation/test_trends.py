from __future__ import annotations

import numpy as np
import pymannkendall
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.evaluation.scored_files import ScoredFile
from sgdsm.evaluation.trend_files import Calendar, TrendFiles, robust_of, slope_scores, trend_maps, zones_of
from sgdsm.evaluation.trends import Trend, false_discovery_rate, monthly_means, trends, yearly_means

MONTHS, YEAR = np.arange(480), np.arange(40)


def series(cells: int, most_missing: float = 0.0) -> np.ndarray:
    """Months with ties and up to a share of gaps, (480, cells)."""
    rng = np.random.default_rng(3)
    values = np.round(0.25 + 0.03 * rng.standard_normal((480, cells)) + 1e-4 * np.arange(480)[:, None], 2)
    values[rng.random(values.shape) < rng.uniform(0, most_missing, cells)] = np.nan
    return values


def assert_same(ours: Trend, cell: int, theirs) -> None:
    pairs = {
        "slope": theirs.slope, "intercept": theirs.intercept, "s": theirs.s, "variance": theirs.var_s,
        "z": theirs.z, "p": theirs.p,
    }  # fmt: skip
    for name, value in pairs.items():
        assert getattr(ours, name)[cell] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_slope_and_test_are_those_of_pymannkendall_with_ties_and_gaps():
    values = series(20, 0.6)
    found = trends(values, MONTHS)
    for cell in range(20):
        assert_same(found, cell, pymannkendall.original_test(values[:, cell]))
    # means of years, whose medians are found in another way
    short = values[:40]
    found = trends(short, YEAR)
    for cell in range(20):
        assert_same(found, cell, pymannkendall.original_test(short[:, cell]))


def test_seasonal_tests_are_those_of_pymannkendall():
    values = series(12, 0.6)
    found = trends(values.reshape(40, 12, -1), YEAR)
    for cell in range(12):
        assert_same(found, cell, pymannkendall.seasonal_test(values[:, cell]))
    full = series(3)
    found = trends(full.reshape(40, 12, -1), YEAR, "covariance")
    for cell in range(3):
        assert_same(found, cell, pymannkendall.correlated_seasonal_test(full[:, cell]))


def test_the_test_of_hamed_and_rao_is_that_of_pymannkendall_without_gaps():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((200, 20))
    for step in range(1, 200):
        values[step] += 0.5 * values[step - 1]
    found = trends(values, np.arange(1, 201), "hamed_rao")
    plain = trends(values, np.arange(1, 201))
    # theirs is at time 0 though it detrends from time 1
    shifted = found._replace(intercept=found.intercept + found.slope)
    for cell in range(20):
        assert_same(shifted, cell, pymannkendall.hamed_rao_modification_test(values[:, cell], lag=3))
    assert (found.variance > 1.5 * plain.variance).all()
    # with gaps, lags are still of the time axis: the memory is found all the same
    values[rng.random(values.shape) < 0.5] = np.nan
    gappy, plain = trends(values, np.arange(1, 201), "hamed_rao"), trends(values, np.arange(1, 201))
    assert np.median(gappy.variance / plain.variance) > 1.2


def test_the_covariance_between_months_allows_for_missing_values():
    """By the sums of Hirsch and Slack (1984), one pair of seasons after the other."""
    values = series(1, 0.6)[:120].reshape(10, 12)
    n, known = 10, np.isfinite(values)
    sign = np.nan_to_num(np.sign(values[:, None] - values[None]))  # (year, year, season)
    ranks = np.where(known, (known.sum(0) + 1 + sign.sum(1)) / 2, (known.sum(0) + 1) / 2)
    total = 0.0
    for g in range(12):
        for h in range(12):
            k = (sign[..., g] * sign[..., h]).sum() / 2
            counts = (known[:, g].sum() + 1) * (known[:, h].sum() + 1)
            total += (k + 4 * (ranks[:, g] * ranks[:, h]).sum() - n * counts) / 3
    assert trends(values[..., None], np.arange(10), "covariance").variance[0] == pytest.approx(total, rel=1e-12)


def test_cells_without_a_trend_to_tell():
    values = np.full((12, 4), np.nan)
    values[3, 1] = 0.2
    values[:, 2] = 0.3
    values[[2, 5], 3] = 0.1, 0.4
    found = trends(values, np.arange(12))
    assert np.isnan([found.slope[:2], found.p[:2], found.s[:2], found.variance[:2], found.z[:2]]).all()
    assert (found.slope[2], found.p[2], found.z[2], found.variance[2]) == (0, 1, 0, 0)
    assert found.slope[3] == pytest.approx(0.1)
    assert found.n.tolist() == [0, 1, 12, 2]
    assert trends(np.empty((12, 0)), np.arange(12)).slope.size == 0


def test_slopes_are_of_the_true_times():
    at = np.array([0.0, 1.0, 5.0, 6.5, 7.0, 20.0])
    found = trends((0.1 + 0.02 * at)[:, None], at)
    assert (found.slope[0], found.intercept[0]) == pytest.approx((0.02, 0.1))


def test_annual_means_and_correlated_seasons_hold_their_level_where_plain_months_do_not():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((480, 400))
    for step in range(1, 480):
        values[step] = 0.6 * values[step - 1] + 0.8 * values[step]
    by_month = values.reshape(40, 12, -1)

    def found(*what):
        return (trends(*what).p < 0.05).mean()

    assert 0.02 < found(by_month.mean(1), YEAR) < 0.1
    assert 0.02 < found(by_month, YEAR, "covariance") < 0.1
    assert found(by_month, YEAR) > 0.2


def test_the_false_discovery_rate_is_held():
    p = np.array([[0.001, 0.008, np.nan], [0.039, 0.041, 0.042], [0.06, 0.5, 0.9]])
    # of eight tests, the k-th smallest p is compared with k/8 of 5 %
    assert false_discovery_rate(p).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert not false_discovery_rate(np.full(3, np.nan)).any()


def test_means_need_enough_days():
    days = np.arange("2015-01-01", "2017-01-01", dtype="datetime64[D]")
    values = np.where(np.arange(731)[:, None] % 2 == 0, 0.2, np.nan).repeat(2, 1)
    values[31:, 1] = np.nan
    months = monthly_means(values, days, 2015, 2, 15, 1)
    assert months.shape == (2, 12, 2)
    assert np.isnan(months[..., 1]).sum() == 23
    # February has 14 such days
    assert np.isnan(months[0, :, 0]).tolist() == [m == 1 for m in range(12)]
    assert np.isnan(yearly_means(values, days, 2015, 2, 30, 1)).tolist() == [[False, True], [False, True]]
    # values of maps of three days count for three
    assert np.isfinite(yearly_means(values[:31], days[:31], 2015, 1, 45, 3)).all()


def filled_file(years: int = 5) -> xr.Dataset:
    """Filled maps with a slope of .01 a year, observed more in summer, which is drier."""
    time = np.arange("2015-01-01", f"{2015 + years}-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    days = np.arange(len(time))
    day = days[:, None, None]
    values = np.broadcast_to(0.2 + 0.01 * day / 365.2425 - 0.05 * np.cos(2 * np.pi * day / 365.2425), (len(days), 3, 4))
    source = np.where((day + np.arange(12).reshape(3, 4)) % 3 == 0, 1, 2).astype(np.int8)
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "sm_filled": (dims, values.astype(np.float32), {"units": "m3 m-3"}),
            "sm_source": (dims, source),
            "truth": (dims, values.astype(np.float32), {"units": "1"}),
        },
        {"time": time, "lat": [50.0, 49.0, 48.0], "lon": [5.0, 6.0, 7.0, 8.0]},
    )


def found_of(dataset: xr.Dataset, step: str = "year", **more) -> xr.Dataset:
    file = ScoredFile.of(dataset)
    files = TrendFiles.of(file, truth=(file, "truth"))
    return trend_maps(files, Calendar.of(files.estimate["time"], step), robust_of(step, None), **more)


@pytest.mark.parametrize("step", ["year", "month", "raw"])
def test_maps_of_trends(step):
    found = found_of(filled_file(), step)
    slopes = [found[f"slope_{kind}"].values for kind in ("filled", "observed", "truth")]
    tolerance = 3e-3 if step == "raw" else 1e-4
    assert np.allclose(slopes, 0.01, atol=tolerance)
    assert np.allclose(found["slope_difference"], 0, atol=1e-4)
    assert found["slope_filled"].attrs["units"] == "m3 m-3 year-1"
    assert found.attrs["period"] == "2015-01-01 to 2019-12-31"
    assert found["n_filled"].values[0, 0] == {"year": 5, "month": 60, "raw": 1826}[step]
    assert (found["significant_filled"].values == 1).all()
    # the plain test of daily values is none to believe
    assert ("warning" in found.attrs) == (step == "raw")


def test_series_of_zones_are_means_of_their_cells():
    dataset = filled_file()
    dataset["sm_filled"] = dataset["sm_filled"] + xr.DataArray([0.0, 0.1, 0.2], dims="lat")
    attrs = {"flag_values": [1, 2], "flag_meanings": "dry wet"}
    classes = xr.DataArray(
        np.array([[1.0] * 4, [2] * 4, [np.nan] * 4]), dims=("lat", "lon"), attrs=attrs, name="climate"
    )
    found = found_of(dataset, zones=zones_of(classes, "a.nc:climate"))
    assert found["zone"].values.tolist() == ["dry", "wet"]
    means = dataset["sm_filled"].groupby("time.year").mean()
    for k in (0, 1):
        assert np.allclose(found["series_filled"][k], means[:, k].mean("lon"), atol=1e-6)
    spread = found["series_error_observed"].values
    assert ((spread > 0) & (spread < 0.01)).all()


def test_a_turned_file_of_others_gives_the_same():
    dataset = filled_file().rename({"sm_filled": "swi"})
    file = ScoredFile.of(dataset.transpose("lon", "time", "lat").rename(lat="latitude"))
    files = TrendFiles.of(file, estimate="swi")
    found = trend_maps(files, Calendar.of(files.estimate["time"], "year"), "none")
    assert found["slope_filled"].dims == ("lat", "lon")
    assert np.array_equal(found["slope_filled"], found_of(filled_file())["slope_filled"])


def test_parts_of_years_do_not_count():
    dataset = filled_file(6).isel(time=slice(60, -60))
    assert found_of(dataset).attrs["period"] == "2016-01-01 to 2019-12-31"
    with pytest.raises(CubeError, match="holds 0 whole years, expected at least 3"):
        found_of(dataset.isel(time=slice(300)))


def test_what_cannot_have_trends_is_refused():
    dataset = filled_file()
    with pytest.raises(CubeError, match="nothing says which values were observed"):
        found_of(dataset.drop_vars("sm_source"))
    dataset["truth"].attrs["units"] = "K"
    with pytest.raises(CubeError, match="'truth' is in 'K', 'sm_filled' in 'm3 m-3': expected the same units"):
        found_of(dataset)
    with pytest.raises(ConfigError, match="robust=hamed_rao: not for step=month; expected none or covariance"):
        robust_of("month", "hamed_rao")
    with pytest.raises(ConfigError, match="too many pairs"):
        trends(np.empty((20000, 1)), np.arange(20000))
    with pytest.raises(CubeError, match=r"classes=a.nc:x: 600 different values, expected 1 to 30"):
        zones_of(xr.DataArray(np.arange(600.0).reshape(20, 30)), "a.nc:x")


def test_scores_of_slopes_by_hand():
    truth, estimate = np.array([1.0, 2.0, 3.0, -2.0]), np.array([2.0, 2.0, 4.0, 0.0])
    found = slope_scores(estimate, truth)
    # squared errors 1, 0, 1, 4; deviations of the truth from 1: 0, 1, 4, 9
    assert found == pytest.approx(
        {"n": 4, "r2": 1 - 6 / 14, "r_squared": np.corrcoef(estimate, truth)[0, 1] ** 2, "rmse": 1.5**0.5, "bias": 1.0,
         "same_sign": 0.75}
    )  # fmt: skip
