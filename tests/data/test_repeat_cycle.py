"""A composite's repeat cycle is found in its values, and none where there is none."""

import numpy as np
import pytest

from sgdsm.data.repeat_cycle import find_repeat_cycle
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.task import TrainingTask
from tests.conftest import composed


def composite(days, cycle, seed=0):
    """A random walk on 30 x 30 cells; the satellite passes each cell on three days of its cycle of its own."""
    rng = np.random.default_rng(seed)
    soil = np.cumsum(rng.standard_normal((days, 30, 30)), 0)
    passes = rng.random((cycle, 30, 30)).argsort(0) < 3
    latest = np.maximum.accumulate(np.where(passes[np.arange(days) % cycle], np.arange(days)[:, None, None], 0))
    return np.take_along_axis(soil, latest, 0)


@pytest.mark.parametrize("cycle", [8, 11])
@pytest.mark.parametrize("days", [90, 365])
def test_the_cycle_of_a_composite_is_found(cycle, days):
    values = composite(days, cycle)
    known = np.random.default_rng(1).random(values.shape) < 0.7
    assert find_repeat_cycle(values, known, 32) == cycle
    # only known values count
    assert find_repeat_cycle(np.where(known, values, np.nan), known, 32) == cycle


@pytest.mark.parametrize("days", [20, 60, 365])
def test_no_cycle_is_found_where_there_is_none(days):
    rng = np.random.default_rng(days)
    for values in (rng.standard_normal((days, 30, 30)), np.cumsum(rng.standard_normal((days, 30, 30)), 0)):
        assert find_repeat_cycle(values, rng.random(values.shape) < 0.5, 32) == 0
        # swaths that repeat are no cycle of the values
        assert find_repeat_cycle(values, (np.arange(days) % 8 < 3)[:, None, None] | (values < -9), 32) == 0
    world = simulate(rows=12, columns=16, days=days)["sm"].values
    assert find_repeat_cycle(world, np.isfinite(world), 32) == 0


@pytest.mark.parametrize("days", [46, 60, 120])
def test_rain_over_the_whole_area_is_no_orbit(days):
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rain, soil = rng.standard_normal(days) * (rng.random(days) < 0.3), np.zeros((days, 16, 16))
        for day in range(1, days):
            soil[day] = 0.9 * soil[day - 1] + rain[day] + 0.3 * rng.standard_normal((16, 16))
        found.append(find_repeat_cycle(soil, rng.random(soil.shape) < 0.9, 32))
    assert found == [0] * 20


def test_training_uses_the_cycle_that_it_finds(tmp_path, plain, caplog):
    mine = plain(days=96, rows=12, columns=12)
    values = composite(96, 8)[:, :12, :12] * 0.01 + 0.2
    mine["sm"] = (mine["sm"].dims, np.where(np.random.default_rng(2).random(values.shape) < 0.7, values, np.nan))
    mine.to_netcdf(tmp_path / "mine.nc")
    words = ["data=netcdf", f"data.path={tmp_path}/mine.nc", "data.target=sm"]
    caplog.set_level("INFO")
    cycles = {
        (model, *more): TrainingTask.from_config(composed("train", f"model={model}", *words, *more)).filler
        for model, more in [
            ("xgboost", []),
            ("pconv3d", []),
            ("xgboost", ["data.repeat_cycle_days=0"]),
            ("linear_time", []),
        ]
    }
    assert [filler.inputs.repeat_cycle for filler in cycles.values()] == [8, 8, 0, 0]
    assert caplog.text.count("change in a cycle of 8 days") == 2
    assert cycles["pconv3d",].gap_features
