"""The memory of rain: the planted number of days is found, within cells and not from the map of the climate."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from sgdsm.evaluation.antecedent import antecedent, format_antecedent
from sgdsm.preprocessing.features import antecedent_precipitation
from tests.conftest import SMALL_WORLD


def planted(days: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rain of cells with different means, and a target that is the mean of its last days, with noise."""
    rng = np.random.default_rng(seed)
    rain = rng.exponential(1.0, (600, 4, 5)) * rng.uniform(0.5, 3, (4, 5)) * (rng.random((600, 4, 5)) < 0.4)
    target = antecedent_precipitation(rain, days, least=0) * 0.05 + 0.02 * rng.standard_normal(rain.shape)
    return rain, target, rng.random(rain.shape) < 0.5


@pytest.mark.parametrize("days", [1, 3, 8])
def test_the_planted_number_of_days_is_found(days):
    rain, target, training = planted(days)
    found = antecedent(rain, target, training, 15)[0]
    assert found.best == days
    # of one number of days, by hand
    use = training & (np.arange(600) >= 7)[:, None, None]
    mean = antecedent_precipitation(rain, days)
    a, b = ((v - np.where(use, v, 0).sum(0) / use.sum(0))[use] for v in (np.nan_to_num(mean), target))
    np.testing.assert_allclose(found.within[days - 1], np.corrcoef(a, b)[0, 1], rtol=1e-5)
    np.testing.assert_allclose(found.overall[days - 1], np.corrcoef(mean[use], target[use])[0, 1], rtol=1e-5)


def test_the_map_of_the_climate_does_not_count():
    rain, _, training = planted(1)
    wet_places = np.broadcast_to(rain.mean(0), rain.shape) + antecedent_precipitation(rain, 2, least=0) * 0.1
    found = antecedent(rain, wet_places, training, 30)[0]
    assert found.best == 2
    assert np.argmax(found.overall) > 20, "over all values the longest mean is best: it is the map"


def test_strata_missing_rain_and_values_that_may_not_be_used():
    rain, target, training = planted(4)
    strata = (np.repeat([[0], [0], [1], [-1]], 5, 1), ["dry", "wet"])
    changed = np.where(training, target, 99.0)  # hidden from the choice
    found = antecedent(rain, changed, training, 10, strata)
    assert [one.name for one in found] == ["all", "dry", "wet"]
    assert [one.best for one in found] == [4, 4, 4]
    rain[100:200, 0] = np.nan
    holes = antecedent(rain, target, training, 10)[0]
    assert holes.best == 4
    assert holes.rows < found[0].rows
    nothing = antecedent(np.zeros_like(rain), target, training, 10)
    assert nothing[0].best == 0
    assert "says nothing" in format_antecedent(nothing, "rain")


def test_select_names_the_number_of_days(run_command, tmp_path):
    code, out, err = run_command("select", *SMALL_WORLD, "splits=all", "output=x", "antecedent_days=12")
    assert code == 0, err
    assert "highest |r| with the target within cells for m = " in out
    with (tmp_path / "x" / "antecedent.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["days"]) for row in rows] == list(range(1, 13))
    assert sum(row["highest"] == "yes" for row in rows) == 1
    assert (tmp_path / "x" / "antecedent.png").stat().st_size > 5_000
