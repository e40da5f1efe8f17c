"""Near real time: what comes after a day changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.inference.causal import look_back_only
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.models.test_models import MODELS, QUIET, settings_of

DAY = 100
CANNOT = ("casm", "casm_ensemble", "casm_paper", "dineof", "window_forest")
CAN = [name for name in MODELS if name not in CANNOT]
VARIANTS = [
    "pconv3d model.gap_features=true model.muon_rate=null",
    "seamless_dense trainer.precision=bf16-mixed",
    "dctpls model.window_cells=8 model.time_weight=1.0 model.s=gcv",
]


def filled(cube: xr.Dataset, filler: GapFiller, own: xr.Dataset, **more: object) -> xr.Dataset:
    output = MemoryOutput()
    fill_cube(cube, filler, output, trainer=QUIET, climatology_from=own, **more)
    return output.dataset


def other_future(cube: xr.Dataset) -> xr.Dataset:
    """Every value after a day is another one, and other values are missing."""
    rng = np.random.default_rng(1)
    changed = cube.copy(deep=True)
    for name in cube.data_vars:
        if "time" in cube[name].dims:
            later = changed[name].values[DAY + 1 :]
            later[:] = rng.permutation(later.ravel()).reshape(later.shape)
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("model", [*CAN, *VARIANTS])
def test_later_days_change_nothing(model, tmp_path):
    task = TrainingTask.from_config({**settings_of(model), "causal": True})
    fit(task, tmp_path)
    filler = add_uncertainty(task, {"_target_": "sgdsm.models.Conformal"})
    past, cube = slice(0, DAY + 1), task.cube
    whole = filled(cube, filler, cube)
    assert np.isfinite(whole["sm_filled"].values[:, cube["land"].values]).all()
    last = cube.isel(time=past)
    for other in (other_future(cube), last, cube.isel(time=slice(0, 2 * DAY))):
        got = filled(other, filler, cube)
        for name in whole.data_vars:
            if "time" in whole[name].dims:
                np.testing.assert_array_equal(got[name].values[past], whole[name].values[past], err_msg=name)
    # the day before is another day: the test can fail
    assert not np.array_equal(
        filled(cube.isel(time=slice(0, DAY)), filler, cube)["gap_age"].values, whole["gap_age"].values[1 : DAY + 1]
    )
