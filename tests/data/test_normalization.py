from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.data.normalization import CellStatistics, Inputs, Scaler, season_basis
from sgdsm.data.record import Names, read_record

DAYS = np.arange(16526, 16526 + 1096)


def seasonal(mean: float, a: float, b: float) -> np.ndarray:
    basis = season_basis(DAYS)
    return mean + a * basis[:, 1] + b * basis[:, 2]


def test_climatology_finds_the_cycle_that_is_there():
    values = seasonal(0.25, 0.08, -0.05)[:, None, None] + np.zeros((1, 2, 3), np.float32)
    known = np.random.default_rng(0).random(values.shape) < 0.4
    climatology = CellStatistics.of(values, known, DAYS).solve()
    np.testing.assert_allclose(climatology.at(DAYS), values, atol=2e-3)
    assert (climatology.spread < 0.01).all()


def test_climatology_does_not_look_at_unknown_values():
    rng = np.random.default_rng(0)
    values = rng.random((1096, 2, 3)).astype(np.float32)
    known = rng.random(values.shape) < 0.5
    changed = np.where(known, values, 99.0)
    a, b = (CellStatistics.of(v, known, DAYS).solve() for v in (values, changed))
    np.testing.assert_array_equal(a.coefficients, b.coefficients)
    np.testing.assert_array_equal(a.spread, b.spread)


def test_statistics_of_chunks_add_up():
    rng = np.random.default_rng(0)
    values, known = rng.random((1096, 2, 3)), rng.random((1096, 2, 3)) < 0.5
    whole = CellStatistics.of(values, known, DAYS)
    parts = [CellStatistics.of(values[s], known[s], DAYS[s]) for s in (slice(0, 300), slice(300, 1096))]
    total = parts[0] + parts[1]
    for name in ("gram", "moment", "square"):
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-6, atol=1e-6)


def test_a_cell_without_values_gets_the_climatology_of_the_domain():
    values = seasonal(0.25, 0.08, 0.0)[:, None, None] + np.zeros((1, 1, 4))
    known = np.ones(values.shape, bool)
    known[:, 0, 3] = False
    climatology = CellStatistics.of(values, known, DAYS).solve().at(DAYS)
    np.testing.assert_allclose(climatology[:, 0, 3], climatology[:, 0, 0], atol=5e-3)


def test_a_cell_without_winter_has_no_extremes_in_winter():
    rng = np.random.default_rng(0)
    values = 0.25 + 0.02 * rng.standard_normal((1096, 1, 5))
    known = np.ones(values.shape, bool)
    known[season_basis(DAYS)[:, 1] > -0.3, 0, 0] = False
    climatology = CellStatistics.of(values, known, DAYS).solve().at(DAYS)
    assert abs(climatology[:, 0, 0] - 0.25).max() < 0.05


def test_one_day_and_no_value_at_all():
    values = np.full((1, 2, 2), 0.3)
    climatology = CellStatistics.of(values, np.ones(values.shape, bool), DAYS[:1]).solve()
    np.testing.assert_allclose(climatology.at(DAYS[:1]), 0.3, atol=1e-3)
    with pytest.raises(ConfigError, match="no observed value"):
        CellStatistics.of(values, np.zeros(values.shape, bool), DAYS[:1]).solve()


def test_scalers():
    values = np.array([1.0, 3.0, np.nan, 5.0])
    z = Scaler.of(values)(values)
    np.testing.assert_allclose(np.nanmean(z), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(z), 1, atol=1e-6)
    assert np.isnan(z[2])
    rain = np.random.default_rng(0).exponential(3, 1000) * (np.random.default_rng(1).random(1000) < 0.3)
    scaler = Scaler.of(rain, logarithmic=True)
    # the unit of precipitation does not matter
    np.testing.assert_allclose(scaler(rain), Scaler.of(rain / 24, logarithmic=True)(rain / 24), atol=1e-5)
    assert scaler(rain).max() < (rain.max() - rain.mean()) / rain.std()
    assert Scaler.of(np.full(3, 7.0)) == Scaler(7.0, 1.0)
    assert Scaler.of(np.array([np.nan])) == Scaler(0.0, 1.0)


def test_inputs_survive_a_checkpoint(world):
    record = read_record(world)
    inputs = Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train")
    assert inputs.gappy == ("surface_temperature",)
    assert inputs.precipitation == "precipitation"
    plain = inputs.to_dict()
    assert Inputs.from_dict(plain) == inputs
    assert all(type(v).__module__ == "builtins" for v in plain.values())


def test_scalers_are_fitted_on_the_days_that_may_be_used(world):
    record = read_record(world)
    known = record.observed.copy()
    known[75:] = False
    before = Inputs.fit(record, Names.of(world), known, "m3 m-3", 1, "train")
    record.dynamic[:, 75:] += 1000
    record.values[75:] = 5
    after = Inputs.fit(record, Names.of(world), known, "m3 m-3", 1, "train")
    assert before.scalers == after.scalers
    assert before.anomaly_scale == after.anomaly_scale
    assert before.highest == after.highest
