from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.evaluation.metrics import State, bin_statistics, bootstrap, error_statistics, metrics
from sgdsm.evaluation.reliability import Calibration


def state_of(filled, truth, **more) -> State:
    return bin_statistics(error_statistics(filled, truth, **more), np.zeros(len(truth), int), 1).total()


def test_metrics_by_hand():
    truth, filled = np.array([0.1, 0.2, 0.4]), np.array([0.2, 0.2, 0.3])
    mean = np.array([0.2, 0.1, 0.3])
    got = metrics(state_of(filled, truth, cell_mean=mean, lower=filled - 0.05, upper=filled + 0.15))
    assert got["n"] == 3
    np.testing.assert_allclose(got["rmse"], np.sqrt((0.01 + 0 + 0.01) / 3))
    np.testing.assert_allclose(got["mae"], 0.2 / 3)
    np.testing.assert_allclose(got["bias"], 0.0, atol=1e-15)
    np.testing.assert_allclose(got["ubrmse"], got["rmse"])
    np.testing.assert_allclose(got["r"], np.corrcoef(truth, filled)[0, 1])
    np.testing.assert_allclose(got["r_anomaly"], np.corrcoef(truth - mean, filled - mean)[0, 1])
    np.testing.assert_allclose(got["coverage"], 2 / 3)
    np.testing.assert_allclose(got["width"], 0.2)


def test_the_score_of_an_interval_and_the_crps_by_hand():
    truth, filled = np.array([0.1, 0.2, 0.4]), np.array([0.2, 0.2, 0.3])
    std = np.array([0.1, 0.05, 0.2])
    got = metrics(state_of(filled, truth, lower=filled - 0.05, upper=filled + 0.05, std=std, level=0.9))
    # Winkler: the width, and 2 / alpha times what lies beyond
    np.testing.assert_allclose(got["interval_score"], np.mean([0.1 + 20 * 0.05, 0.1, 0.1 + 20 * 0.05]))
    np.testing.assert_allclose(got["spread"], np.sqrt(np.mean(std**2)))
    # CRPS = E|X - y| - E|X - X'| / 2
    draws = filled[:, None] + std[:, None] * np.random.default_rng(0).standard_normal((3, 400_000))
    by_draws = abs(draws - truth[:, None]).mean(1) - abs(draws[:, ::2] - draws[:, 1::2]).mean(1) / 2
    np.testing.assert_allclose(got["crps"], by_draws.mean(), rtol=5e-3)
    assert np.isnan(metrics(state_of(filled, truth))["crps"])


def test_calibration_tells_honest_error_bars_from_others():
    rng = np.random.default_rng(2)
    std = rng.uniform(0.01, 0.1, 100_000)
    truth = std * rng.standard_normal(len(std))
    zero = np.zeros(len(std))
    honest = Calibration.of(zero[::2], truth[::2], std[::2]) + Calibration.of(zero[1::2], truth[1::2], std[1::2])
    whole = Calibration.of(zero, truth, std)
    np.testing.assert_array_equal(honest.pit, whole.pit)
    assert abs(honest.slope() - 1) < 0.02
    np.testing.assert_allclose(*honest.reliability(), atol=0.01)
    assert abs(Calibration.of(zero, truth, std / 2).slope() - 2) < 0.05
    narrow = Calibration.of(zero, truth, std / 2).pit
    assert narrow[0] > 2 * narrow[10]
    assert np.isnan(Calibration.of(zero, truth, zero + 0.05).slope())


def test_ubrmse_removes_the_bias():
    truth = np.random.default_rng(0).random(50)
    got = metrics(state_of(truth + 0.3, truth))
    np.testing.assert_allclose(got["bias"], 0.3)
    np.testing.assert_allclose(got["ubrmse"], 0, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_states_add_up_however_the_values_are_cut(seed, parts):
    rng = np.random.default_rng(seed)
    truth, filled = rng.random(200), rng.random(200)
    bins = rng.integers(0, 4, 200)
    whole = bin_statistics(error_statistics(filled, truth), bins, 4)
    total = State.zeros((4,))
    for part in np.array_split(rng.permutation(200), parts):
        total = total + bin_statistics(error_statistics(filled[part], truth[part]), bins[part], 4)
    for name in ("rmse", "mae", "bias", "r"):
        np.testing.assert_allclose(metrics(total)[name], metrics(whole)[name], rtol=1e-9)


def test_a_class_without_values_has_no_metrics():
    assert np.isnan(metrics(State.zeros((2,)))["rmse"]).all()


def test_paired_bootstrap_tells_a_real_difference_from_noise():
    rng = np.random.default_rng(1)
    truth, units = rng.random(4000), rng.integers(0, 40, 4000)
    error = 0.05 * rng.standard_normal(4000)
    ours = bin_statistics(error_statistics(truth + error, truth), units, 40)
    worse = bin_statistics(error_statistics(truth + 1.1 * error, truth), units, 40)
    other = bin_statistics(error_statistics(truth + 0.05 * rng.standard_normal(4000), truth), units, 40)
    value, low, high = bootstrap(worse, reference=ours)
    assert 0 < low < value < high
    _, low, high = bootstrap(other, reference=ours)
    assert low < 0 < high
    value, low, high = bootstrap(ours)
    assert low < value < high
    np.testing.assert_allclose(value, metrics(ours.total())["rmse"])


def test_bootstrap_of_too_few_units_gives_no_interval():
    state = bin_statistics(error_statistics(np.ones(5), np.zeros(5)), np.zeros(5, int), 1)
    value, low, high = bootstrap(state)
    assert value == 1
    assert np.isnan(low)
    assert np.isnan(high)
