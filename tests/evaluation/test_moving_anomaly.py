from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sgdsm.evaluation.moving_anomaly import moving_anomaly


@pytest.mark.parametrize("window", [1, 4, 35, 500])
def test_anomalies_are_those_of_a_rolling_mean_of_pandas(window):
    rng = np.random.default_rng(0)
    values = rng.normal(300, 1, (200, 3, 2))
    values[rng.random(values.shape) < 0.6] = np.nan
    values[:, 2, 1] = np.nan
    frame = pd.DataFrame(values.reshape(200, -1))
    # pandas puts the extra day of an even window behind as well
    mean = frame.rolling(window, center=True, min_periods=min(window, 5)).mean()
    expected = (frame - mean).to_numpy().reshape(values.shape)
    np.testing.assert_allclose(moving_anomaly(values, window, min(window, 5)), expected, rtol=0, atol=1e-11)


def test_a_cycle_slower_than_the_window_goes_and_a_day_stays():
    days = np.arange(730)
    values = 0.2 + 0.1 * np.sin(2 * np.pi * days / 365)
    values[400] += 0.05
    anomaly = moving_anomaly(values, 35, 5)
    assert abs(anomaly[400] - 0.05 * 34 / 35) < 3e-3
    assert abs(np.delete(anomaly, slice(380, 420))[20:-20]).max() < 3e-3


def test_too_few_values_in_the_window_give_none():
    values = np.full(100, np.nan)
    values[[10, 12, 14, 60]] = 1.0
    assert np.flatnonzero(np.isfinite(moving_anomaly(values, 35, 3))).tolist() == [10, 12, 14]
    assert np.flatnonzero(np.isfinite(moving_anomaly(values, 35, 1))).tolist() == [10, 12, 14, 60]
