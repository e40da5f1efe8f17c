"""Scores of single values: definitions, signs, seasons, classes, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.days import SEASONS
from sgdsm.evaluation.rows import row_scores, rows_text

DAYS = np.repeat(np.arange("2020-01-01", "2021-01-01", dtype="datetime64[D]"), 4)


@pytest.fixture
def series():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.4, DAYS.size).astype(np.float32)
    return (truth + 0.02 + rng.normal(0, 0.01, DAYS.size)).astype(np.float32), truth


def test_the_metrics_by_their_equations(series):
    estimate, truth = (values.astype(float) for values in series)
    row = row_scores(*series, DAYS)["all"]
    error = estimate - truth
    # estimate minus reference: an estimate that is too wet has a positive MD
    assert row["md"] == pytest.approx(error.mean(), rel=1e-9)
    assert row["md"] > 0
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-9)
    # without the bias: .01, where the RMSE has .022
    assert row["ubrmse"] == pytest.approx(np.sqrt(row["rmse"] ** 2 - row["md"] ** 2), rel=1e-6)
    assert row["ubrmse"] == pytest.approx(0.01, rel=0.1)
    assert row["r"] == pytest.approx(np.corrcoef(estimate, truth)[0, 1], rel=1e-9)
    assert row["r2"] == pytest.approx(1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum(), rel=1e-9)
    assert row["n"] == DAYS.size
    assert all(row[f"{name}_lower"] <= row[name] <= row[f"{name}_upper"] for name in ("rmse", "ubrmse", "md", "r"))


def test_seasons_and_classes(series):
    estimate, truth = series
    wet = truth > 0.3
    table = row_scores(estimate, truth, DAYS, {"wet": wet, "none": np.zeros_like(wet)}, draws=10)
    assert set(table) == {"all", *SEASONS, "wet"}
    assert sum(table[name]["n"] for name in SEASONS) == table["all"]["n"]
    assert table["wet"]["n"] == wet.sum()
    assert "wet" in rows_text(table)


def test_values_of_a_day_stay_together_in_the_intervals():
    # one error a day, the same in many cells: as uncertain as one cell
    rng = np.random.default_rng(1)
    days = np.arange("2020-01-01", "2020-05-01", dtype="datetime64[D]")
    truth, error = rng.uniform(0.1, 0.4, days.size), rng.normal(0, 0.02, days.size)
    one = row_scores(truth + error, truth, days)["all"]
    many = row_scores(np.repeat(truth + error, 50), np.repeat(truth, 50), np.repeat(days, 50))["all"]
    width = [row["md_upper"] - row["md_lower"] for row in (one, many)]
    assert width[1] == pytest.approx(width[0], rel=1e-6)


def test_few_days_have_no_intervals(series):
    estimate, truth = series
    assert "rmse_lower" not in row_scores(estimate[:8], truth[:8], DAYS[:8])["all"]
