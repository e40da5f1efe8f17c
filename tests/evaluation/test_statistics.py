from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from sgdsm.evaluation.statistics import (
    block_copies,
    climatology_anomalies,
    fisher_mean,
    interval,
    p_value,
    pair_metrics,
)


def pairs(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = 0.2 + 0.05 * rng.standard_normal(n)
    # ties, as in files of two decimals
    return np.round(0.03 + 0.7 * reference + 0.03 * rng.standard_normal(n), 2), np.round(reference, 2)


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_metrics_are_those_of_pytesmo(factor: float):
    from pytesmo import metrics as peer

    estimate, reference = (factor * series for series in pairs())
    ours = pair_metrics(estimate, reference)
    theirs = {
        "r": peer.pearson_r(estimate, reference),
        "spearman": peer.spearman_r(estimate, reference),
        "rmsd": peer.rmsd(estimate, reference),
        "ubrmsd": peer.ubrmsd(estimate, reference),
        "bias": peer.bias(estimate, reference),
        "nse": peer.nash_sutcliffe(reference, estimate),
        "mse": peer.msd(estimate, reference),
        "mse_corr": peer.mse_corr(estimate, reference),
        "mse_bias": peer.mse_bias(estimate, reference),
        "mse_var": peer.mse_var(estimate, reference),
        "mae": abs(estimate - reference).mean(),
        "n": 400,
    }
    for name, value in theirs.items():
        assert float(ours[name]) == pytest.approx(float(value), abs=1e-9), name


def test_the_r2_of_a_case_by_hand():
    # errors 1, -1, 1; reference 1, 2, 3 about its mean 2: 1 - 3 / 2
    assert float(pair_metrics(np.array([2.0, 1.0, 4.0]), np.array([1.0, 2.0, 3.0]))["nse"]) == pytest.approx(-0.5)


def test_a_weight_is_a_number_of_copies():
    estimate, reference = pairs(40)
    copies = np.random.default_rng(1).integers(0, 4, (3, 40))
    weighed = pair_metrics(estimate, reference, copies, lower=estimate - 0.02, upper=estimate + 0.02)
    for draw in range(3):
        e, r = np.repeat(estimate, copies[draw]), np.repeat(reference, copies[draw])
        plain = pair_metrics(e, r, lower=e - 0.02, upper=e + 0.02)
        assert plain["spearman"] == pytest.approx(spearmanr(e, r).statistic, abs=1e-12)
        for name, value in plain.items():
            assert weighed[name][draw] == pytest.approx(float(value), abs=1e-12), name


def test_series_that_tell_nothing_are_nan():
    flat = pair_metrics(np.full(5, 0.2), np.arange(5.0))
    assert np.isnan(flat["r"])
    assert np.isnan(flat["spearman"])
    assert flat["mse"] == pytest.approx(flat["mse_corr"] + flat["mse_bias"] + flat["mse_var"])
    assert np.isnan(pair_metrics(np.arange(5.0), np.full(5, 0.2))["nse"])
    none = pair_metrics(np.zeros(0), np.zeros(0))
    assert none["n"] == 0
    assert np.isnan([none[name] for name in ("r", "spearman", "rmsd", "nse", "bias")]).all()


def test_significance_and_mean_of_correlations():
    from scipy.stats import pearsonr

    estimate, reference = pairs(30)
    r, p = pearsonr(estimate, reference)
    assert p_value(np.array(r), np.array(30)) == pytest.approx(p, rel=1e-9)
    assert fisher_mean(np.array([0.5, 0.9, np.nan]), np.array([13, 23, 100])) == pytest.approx(
        np.tanh((10 * np.arctanh(0.5) + 20 * np.arctanh(0.9)) / 30)
    )
    assert np.isnan(fisher_mean(np.array([0.5]), np.array([3])))


def test_anomalies_of_a_climatology():
    days = np.arange("2015-01-01", "2018-01-01", dtype="datetime64[D]")
    cycle = np.sin(2 * np.pi * np.arange(len(days)) / 365.25)
    year = (days >= np.datetime64("2016-01-01")) & (days < np.datetime64("2017-01-01"))
    left = climatology_anomalies(cycle + 0.3 * year, days, 31)
    assert abs(left[year].mean() - 0.2) < 0.01
    assert abs(left[~year].mean() + 0.1) < 0.01
    assert np.isnan(climatology_anomalies(cycle[:400], days[:400], 31)).all()


def ar1(n: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    from scipy.signal import lfilter

    noise = rng.standard_normal(n + 200)
    return lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise)[200:]


def test_block_intervals_cover_where_analytic_ones_do_not():
    """Series with the memory of soil moisture: AR .95, 500 days; the true R is .8."""
    rng = np.random.default_rng(3)
    copies = block_copies(500, 60, 300, 0)
    inside = analytic = 0
    for _ in range(200):
        reference = ar1(500, 0.95, rng)
        estimate = 0.8 * reference + 0.6 * ar1(500, 0.95, rng)
        r = np.corrcoef(estimate, reference)[0, 1]
        low, high = interval(pair_metrics(estimate, reference, copies)["r"], value=r, blocks=500 / 60)
        inside += bool(low <= 0.8 <= high)
        analytic += bool(abs(np.arctanh(r) - np.arctanh(0.8)) < 1.96 / np.sqrt(497))
    assert inside / 200 >= 0.8
    assert analytic / 200 < 0.55


def test_intervals_need_half_of_the_draws():
    low, high = interval(np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 1.0]]), 0.5)
    assert (low[0], high[0]) == (1.5, 2.5)
    assert np.isnan([low[1], high[1]]).all()
