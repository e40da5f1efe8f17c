from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.evaluation.compare import Entry, comparison, format_comparison
from sgdsm.evaluation.metrics import (
    METRICS,
    STATISTICS,
    Metric,
    State,
    Values,
    bin_statistics,
    bootstrap,
    error_statistics,
    metrics,
)
from sgdsm.evaluation.reliability import Calibration
from sgdsm.evaluation.score import Scores, format_table, score
from sgdsm.report.html import words
from sgdsm.report.page import glossary


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


@pytest.fixture
def own_metrics() -> Iterator[None]:
    """Metrics that a test adds are gone after it."""
    before = list(METRICS), dict(STATISTICS)
    yield
    METRICS[:] = before[0]
    STATISTICS.clear()
    STATISTICS.update(before[1])


def run_scores(seed: int = 0) -> tuple[Scores, float]:
    """Scores of a small file, and its mean absolute relative error by hand."""
    rng = np.random.default_rng(seed)
    dims, shape = ("time", "lat", "lon"), (90, 3, 4)
    coords = {"time": xr.date_range("2020-01-01", periods=90), "lat": [3.0, 2.0, 1.0], "lon": [5.0, 6.0, 7.0, 8.0]}
    truth, hidden = rng.uniform(0.1, 0.4, shape), rng.random(shape) < 0.3
    filled = truth + hidden * rng.normal(0, 0.03, shape)
    question = xr.Dataset({"swath": (dims, hidden), "truth": (dims, truth)}, coords, {"target": "sm"})
    shown = xr.Dataset({"sm": (dims, np.where(hidden, np.nan, truth))}, coords)
    found = score(xr.Dataset({"sm_filled": (dims, filled)}, coords), question, shown)
    return found, float(abs(filled / truth - 1)[hidden].mean())


def relative_error() -> None:
    """All that a stranger writes."""

    class MeanAbsoluteRelativeError(Metric):
        name, label = "mare", "MARE"
        explanation = "mean of |filled - truth| / |truth|"

        @staticmethod
        def absolute_relative_error(values: Values) -> np.ndarray:
            return abs(values.error / values.truth)

        statistics = (absolute_relative_error,)

        def value(self, mean):
            return mean["absolute_relative_error"]


@pytest.mark.usefixtures("own_metrics")
def test_a_metric_is_added_by_one_class(tmp_path):
    old, _ = run_scores()
    old.save(tmp_path / "old.nc")
    texts = format_table(old.table())
    relative_error()
    scores, by_hand = run_scores()
    table = scores.table()
    assert table["all"]["mare"] == pytest.approx(by_hand)
    assert f"MARE {by_hand:.6f}" in format_table(table).splitlines()[0]
    assert re.sub(r" MARE [0-9.]+", "", format_table(table)) == texts
    # what metrics.json and the stored States hold
    assert json.loads(json.dumps(table))["swath"]["mare"] == pytest.approx(by_hand)
    scores.save(tmp_path / "new.nc")
    assert Scores.load(tmp_path / "new.nc").table()["all"] == pytest.approx(table["all"], nan_ok=True)
    # an interval of it, and the columns and words of a comparison
    value, lower, upper = bootstrap(scores.units(), "mare")
    assert lower < value < upper
    entries = [Entry(name, Path(), {"fit_seconds": 1.0}, run_scores(k)[0]) for k, name in enumerate(("one", "two"))]
    rows = comparison(entries, "one")
    text = format_comparison(rows, "one", "m3 m-3", {"scored_split": "test", "hidden": {}})
    others = text.split("\n\n")[1].splitlines()
    assert re.search(r" MARE  +fit s$", others[0])
    assert f"{by_hand:.4f}" in next(line for line in others if line.startswith("one"))
    assert '<tr><th scope="row">MARE</th><td>mean of |filled - truth| / |truth|</td></tr>' in words(glossary())
    # a file from before the metric keeps its meaning
    again = Scores.load(tmp_path / "old.nc")
    assert np.isnan(again.table()["all"]["mare"])
    assert format_table(again.table()).replace(" MARE -", "") == texts


@pytest.mark.usefixtures("own_metrics")
def test_files_of_scores_are_read_by_the_names_of_the_statistics(tmp_path):
    relative_error()
    scores, by_hand = run_scores()
    scores.save(tmp_path / "scores.nc")
    # written with the statistics in another order, by a version that has others
    with xr.open_dataset(tmp_path / "scores.nc") as dataset:
        names = dataset["statistic"].values[::-1].tolist()
        other = dataset.load().sel(statistic=names)
    other = other.assign_coords(statistic=["of_another_version" if n == "truth" else n for n in names])
    other.to_netcdf(tmp_path / "other.nc")
    table = Scores.load(tmp_path / "other.nc").table()["all"]
    assert table["mare"] == pytest.approx(by_hand)
    assert table["rmse"] == scores.table()["all"]["rmse"]
    assert np.isnan(table["r"])


@pytest.mark.usefixtures("own_metrics")
def test_names_of_metrics_and_statistics_are_taken_once():
    relative_error()
    with pytest.raises(TypeError, match="there is a metric 'mare' already"):
        relative_error()
    with pytest.raises(TypeError, match="no statistic 'errors' in STATISTICS"):
        type("Other", (Metric,), {"name": "other", "statistics": ("errors",)})


def test_each_metric_has_what_tables_and_reports_need():
    for metric in METRICS:
        assert metric.label
        assert metric.explanation
        assert {statistic if isinstance(statistic, str) else statistic.__name__ for statistic in metric.statistics} <= {
            *STATISTICS
        }
