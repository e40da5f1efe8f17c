"""The built-in world with other sources: gaps under cloud, models everywhere, and the same world underneath."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sgdsm.core.cube import by_role, check_cube
from sgdsm.core.errors import ConfigError
from sgdsm.models.window_forest.covariates import corrected
from sgdsm.models.window_forest.settings import own_presets, shapes_of
from sgdsm.sources import model_world, simulate

SIZE = {"rows": 6, "columns": 8, "days": 120, "seed": 3}


def test_sources_of_models_on_the_same_world():
    made, plain = model_world(**SIZE), simulate(**SIZE)
    check_cube(made)
    for name in plain.data_vars:
        np.testing.assert_array_equal(made[name].values, plain[name].values, err_msg=str(name))
    assert {"dtr", "dtr_noah", "dtr_era", "dtr_gldas", "sm_era", "sm_gleam", "sm_noah"} <= set(by_role(made, "dynamic"))
    land = made["land"].values
    cloudy = np.isnan(made["surface_temperature"].values[:, land])
    np.testing.assert_array_equal(np.isnan(made["dtr"].values[:, land]), cloudy)
    assert np.isfinite(made["dtr_era"].values[:, land]).all()
    assert np.unique(made["climate"].values[land]).tolist() == [1, 2, 3]
    # the better model is the better one, within cells
    truth = made["sm_true"].values[:, land]
    r = [np.mean([np.corrcoef(made[n].values[:, land][:, k], truth[:, k])[0, 1] for k in range(truth.shape[1])])
         for n in ("sm_era", "sm_gleam", "sm_noah")]  # fmt: skip
    assert r[0] > r[1] > r[2] > 0.3


def test_a_source_takes_mean_and_spread_of_another_one():
    made = model_world(**SIZE)
    land = made["land"].values
    arrays = [torch.tensor(made[n].values[:, land])[None, :, :, None].float() for n in ("dtr_era", "dtr")]
    there = [array.isfinite() for array in arrays]
    model, satellite = (array.nan_to_num() for array in arrays)
    values, known = corrected(model, there[0], satellite, there[1])
    both = there[0] & there[1]
    for k in range(values.shape[2]):
        mine, other = values[0, both[0, :, k, 0], k, 0], satellite[0, both[0, :, k, 0], k, 0]
        if known[0, 0, k, 0]:
            assert mine.mean().item() == pytest.approx(other.mean().item(), rel=1e-4)
            assert mine.std().item() == pytest.approx(other.std().item(), rel=1e-3)
    assert known.float().mean() > 0.9


def test_presets_of_ones_own():
    own = own_presets({"zone_1": [30, 7, 4, 0.5]})
    shapes = shapes_of("semi_arid", {1: "zone_1", 2: "wet"}, {"trees": None}, own)
    assert (shapes["zone_1"].trees, shapes["zone_1"].max_features) == (30, 0.5)
    assert shapes["wet"].trees == 52
    with pytest.raises(ConfigError, match=r"model.zones.1=zone_2: expected one of .*zone_1"):
        shapes_of("semi_arid", {1: "zone_2"}, {}, own)
    for wrong in ([30, 7, 4], [0, 7, 4, 0.5], [30, 7, 1, 0.5], [30, 7, 4, 1.5]):
        with pytest.raises(ConfigError, match=r"model\.presets\.zone_1="):
            own_presets({"zone_1": wrong})
