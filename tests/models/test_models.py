"""Contract tests: every model of configs/model must pass them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.cube import seen_only
from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.networks.base import Network
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.compose import config_folder
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed

pytestmark = pytest.mark.slow

# `auto` is one of the others
MODELS = sorted({path.stem for path in (config_folder() / "model").glob("*.yaml")} - {"auto"})
# further settings that keep the same contract
VARIANTS = [
    "pconv3d model.gap_features=true model.memory=0 model.loss=smooth_l1 model.muon_rate=null",
    "seamless trainer.precision=bf16-mixed model.muon_rate=null",
    "seamless model.observations=false",
    "seamless model.neighbours=false gaps.match=true",
    "dctpls model.s=gcv model.time_weight=1.0 model.robust=true model.window_cells=8",
    "xgboost model.quantiles=[0.05,0.95] model.early_stopping_rounds=5",
    "xgboost model.spill=true model.monotone={precipitation:1}",
]
SMALLER = {
    "pconv3d": ["model.channels=8", "model.width=8", "model.memory=1", "model.window_days=32", "model.epochs=2"],
    "sgd_sm": ["model.channels=4", "model.layers=1", "model.epochs=1"],
    "xgboost": ["model.gap_draws=2", "model.rounds=20"],
    "random_forest": ["model.gap_draws=2", "model.trees=5"],
    "seamless": ["model.width=16", "model.blocks=1", "model.window_days=60", "model.window_cells=6", "model.epochs=2"],
    "casm": ["model.layers=2", "model.width=16", "model.samples=3", "model.epochs=2"],
    "casm_paper": ["model.layers=2", "model.width=16", "model.samples=3", "model.epochs=2"],
    "gp": ["model.epochs=1"],
    "kriging": ["model.epochs=1"],
    "regression_kriging": ["model.epochs=2"],
    "casm_ensemble": [
        "model.members=2",
        *(f"model.filler.{word}" for word in ("layers=2", "width=16", "samples=3", "epochs=1")),
    ],
    "ensemble": [
        "model.members=2",
        *(f"model.filler.{word}" for word in ("width=16", "blocks=1", "window_days=60", "window_cells=6", "epochs=1")),
    ],
    "seamless_dense": ["model.width=16", "model.blocks=1", "model.window_cells=16", "model.epochs=2"],
    "window_forest": ["model.trees=5", "model.min_samples_split=12"],
    "stack": [
        "model.members.xgboost.gap_draws=1",
        "model.members.xgboost.rounds=5",
        *(f"model.members.pconv3d.{word}" for word in ("channels=8", "width=8", "memory=1", "window_days=32")),
        *(f"model.members.seamless.{word}" for word in ("width=8", "blocks=1", "window_days=60", "window_cells=6")),
        *(f"model.members.{name}.epochs=1" for name in ("pconv3d", "seamless")),
    ],
}
NEEDS_COVARIATES = ("casm", "casm_ensemble", "casm_paper", "regression_kriging")
QUIET = {"enable_progress_bar": False}


def settings_of(model: str, *more: str) -> dict:
    model, *variant = model.split()
    # float32: what is saved, cut into slabs or wrapped gives the same to the last digits
    words = [f"model={model}", "trainer.progress=false", "trainer.precision=32-true"]
    words += ["data.rows=10", "data.columns=14", "data.days=150"]
    return composed("train", *[*words, *SMALLER.get(model, []), *variant, *more])


@pytest.fixture(scope="module", params=[*MODELS, *VARIANTS])
def task(request, tmp_path_factory) -> TrainingTask:
    """A fitted model of each kind, and other settings of some."""
    made = TrainingTask.from_config(settings_of(request.param))
    fit(made, tmp_path_factory.mktemp("run"))
    return made


def filled(cube: xr.Dataset, filler: GapFiller, **more: object) -> xr.Dataset:
    output = MemoryOutput()
    fill_cube(cube, filler, output, trainer=QUIET, **more)
    return output.dataset


@pytest.fixture(scope="module")
def whole(task) -> xr.Dataset:
    """What the model makes of its cube."""
    return filled(task.cube, task.filler)


def test_every_gap_on_land_is_filled_and_observations_come_through(task, whole):
    got = whole
    land = task.cube["land"].values
    assert np.isfinite(got["sm_filled"].values[:, land]).all()
    assert np.isnan(got["sm_filled"].values[:, ~land]).all()
    observed = np.isfinite(task.cube["sm"].values)
    np.testing.assert_array_equal(got["sm_filled"].values[observed], task.cube["sm"].values[observed])
    assert (got["sm_source"].values[observed] == 1).all()
    assert (got["sm_source"].values[~observed & land] == 2).all()
    assert (got["sm_source"].values[:, ~land] == 0).all()


def test_hidden_truth_never_leaks(task):
    scenario = task.split.scenarios["validation"]
    hidden = scenario.all_hidden
    changed = task.cube.copy()
    values = changed["sm"].values.copy()
    values[hidden] = np.random.default_rng(0).random(hidden.sum())
    changed["sm"] = changed["sm"].copy(data=values)
    a, b = (filled(seen_only(c, scenario.seen), task.filler) for c in (task.cube, changed))
    np.testing.assert_array_equal(a["sm_filled"].values, b["sm_filled"].values)


def test_output_ignores_the_field_truth(task):
    scene = task.data.scene_of(task.split.scenarios["validation"])
    axes = task.filler.window.tile(scene.seen.shape, False)
    window = tuple(axis.starts()[0] for axis in axes)
    batch = scene.batch([window], axes)
    with torch.no_grad():
        a = task.filler.fill(batch).mean
        b = task.filler.fill(batch._replace(truth=torch.randn_like(batch.truth))).mean
    assert torch.equal(a[batch.wanted], b[batch.wanted])
    assert isinstance(batch, Batch)


def test_a_reloaded_filler_fills_the_same(task, whole, tmp_path):
    save_filler(task.filler, tmp_path / "model.ckpt")
    again = load_filler(tmp_path / "model.ckpt")
    assert again.inputs == task.filler.inputs
    np.testing.assert_array_equal(filled(task.cube, again)["sm_filled"].values, whole["sm_filled"].values)


def test_slabs_do_not_show(task, whole):
    parts = filled(task.cube, task.filler, memory_gib=1e-6)
    # overlapping windows are added in another order, and a convolution rounds by how many go through it at once
    np.testing.assert_allclose(whole["sm_filled"].values, parts["sm_filled"].values, rtol=0, atol=2e-7)
    for name in ("gap_age", "sm_source"):
        np.testing.assert_array_equal(whole[name].values, parts[name].values)


def test_a_day_without_covariates_is_filled(task):
    cube = task.cube.copy(deep=True)
    for name in task.filler.inputs.dynamic:
        cube[name].values[40] = np.nan
    got = filled(cube, task.filler)["sm_filled"].values
    assert np.isfinite(got[:, cube["land"].values]).all()


def test_one_day_is_filled(task):
    got = filled(task.cube.isel(time=slice(20, 21)), task.filler)["sm_filled"].values
    assert np.isfinite(got[:, task.cube["land"].values]).all()


def test_what_lies_off_land_changes_nothing(task, whole):
    changed = task.cube.copy()
    values = changed["sm"].values.copy()
    values[:, ~task.cube["land"].values] = 1.0
    changed["sm"] = changed["sm"].copy(data=values)
    got, land = filled(changed, task.filler), task.cube["land"].values
    np.testing.assert_array_equal(whole["sm_filled"].values[:, land], got["sm_filled"].values[:, land])
    assert (got["sm_filled"].values[:, ~land] == 1).all()


@pytest.mark.parametrize("model", [*MODELS, *VARIANTS])
def test_a_map_every_third_day(model, tmp_path):
    every_third = settings_of(model, "data.days=360")
    cube = build(every_third["data"], xr.Dataset).isel(time=slice(None, None, 3))
    cube.to_netcdf(tmp_path / "third.nc")
    own = {"_target_": "sgdsm.open_cube", "path": str(tmp_path / "third.nc"), "target": "sm", "land": "land"}
    made = TrainingTask.from_config(
        {**every_third, "data": {**own, "dynamic": ["precipitation"], "precipitation": "precipitation"}}
    )
    fit(made, tmp_path)
    assert made.filler.inputs.step_days == 3
    got = filled(made.cube, made.filler)
    assert np.isfinite(got["sm_filled"].values[:, made.cube["land"].values]).all()
    assert set(np.unique(got["gap_age"].values[:, made.cube["land"].values] % 3)) == {0}


def test_an_uncertainty_can_wrap_it(task, whole, tmp_path):
    wrapper = add_uncertainty(task, {"_target_": "sgdsm.models.Conformal", "level": 0.8})
    save_filler(wrapper, tmp_path / "model.ckpt")
    got = filled(task.cube, load_filler(tmp_path / "model.ckpt"))
    gap = got["sm_source"].values == 2
    if isinstance(task.filler, Network):
        # Lightning itself, which loads plain data alone, finds the network inside
        network = type(task.filler).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
        plain = filled(task.cube, network)["sm_filled"].values
        np.testing.assert_array_equal(plain, filled(task.cube, task.filler)["sm_filled"].values)
    width = (got["sm_upper"] - got["sm_lower"]).values[gap]
    assert np.isfinite(width).all()
    assert 0.01 < np.median(width) < 0.3
    assert np.isnan(got["sm_std"].values[~gap]).all()
    assert (got["sm_std"].values[gap] > 0).all()
    np.testing.assert_array_equal(got["sm_filled"].values, whole["sm_filled"].values)


@pytest.mark.parametrize("model", [m for m in MODELS if m not in ("climatology", "persistence", "linear_time")])
def test_models_learn_and_work_without_covariates(model, tmp_path, plain):
    plain(days=90, rows=6, columns=6).to_netcdf(tmp_path / "mine.nc")
    settings = settings_of_user(model, ["data=netcdf", f"data.path={tmp_path}/mine.nc", "data.target=sm"])
    if model in NEEDS_COVARIATES:
        with pytest.raises(ConfigError, match="learns from dynamic covariates, and the cube has none"):
            TrainingTask.from_config(settings)
        return
    task = TrainingTask.from_config(settings)
    fit(task, tmp_path)
    got = filled(task.cube, task.filler)["sm_filled"].values
    assert np.isfinite(got[:, task.cube["land"].values]).all()


@pytest.mark.parametrize("model", ["xgboost", "seamless_dense", "linear_time"])
def test_the_repeat_cycle_is_used_and_travels_with_the_model(model, tmp_path, plain, caplog):
    plain(days=90, rows=6, columns=6).to_netcdf(tmp_path / "mine.nc")
    words = ["data=netcdf", f"data.path={tmp_path}/mine.nc", "data.target=sm"]
    caplog.set_level("INFO")
    made = []
    for more in ([], ["data.repeat_cycle_days=8"]):
        task = TrainingTask.from_config(settings_of_user(model, [*words, *more]))
        folder = tmp_path / f"run{len(made)}"
        folder.mkdir()
        fit(task, folder)
        save_filler(task.filler, tmp_path / "model.ckpt")
        made.append(filled(task.cube, task.filler)["sm_filled"].values)
    np.testing.assert_array_equal(made[1], filled(task.cube, load_filler(tmp_path / "model.ckpt"))["sm_filled"].values)
    used = model != "linear_time"
    assert (made[0] != made[1]).any() == used
    assert ("makes no use of data.repeat_cycle_days" in caplog.text) != used
    with pytest.raises(ConfigError, match="expected at most 32 maps, found 35"):
        TrainingTask.from_config(settings_of_user(model, [*words, "data.repeat_cycle_days=35"]))


def settings_of_user(model: str, words: list[str]) -> dict:
    quiet = ["trainer.progress=false", "trainer.precision=32-true"]
    return composed("train", *[f"model={model}", *quiet, *words, *SMALLER.get(model, [])])


@pytest.mark.parametrize("with_numba", [True, False])
def test_linear_time_is_linear_in_the_values(with_numba, monkeypatch):
    if not with_numba:
        monkeypatch.setattr("sgdsm.models.classical.simple.compiled_module", lambda name: None)
    task = prepare_simple("linear_time")
    values = task.cube["sm"].values
    got = filled(task.cube, task.filler)["sm_filled"].values
    days = np.arange(len(values))
    for row, column in np.argwhere(task.cube["land"].values)[:20]:
        seen = np.isfinite(values[:, row, column])
        if seen.any():
            expected = np.interp(days, days[seen], values[seen, row, column])
            np.testing.assert_allclose(got[:, row, column], expected, atol=1e-6)


def test_persistence_carries_the_last_value_on():
    task = prepare_simple("persistence")
    values = task.cube["sm"].values
    got = filled(task.cube, task.filler)["sm_filled"].values
    row, column = np.argwhere(np.isfinite(values).sum(0) > 20)[0]
    last = np.nan
    for day in range(len(values)):
        if np.isfinite(values[day, row, column]):
            last = values[day, row, column]
        if np.isfinite(last):
            assert got[day, row, column] == pytest.approx(last, abs=1e-6)


def prepare_simple(model: str) -> TrainingTask:
    return TrainingTask.from_config(settings_of(model))


def test_a_window_longer_than_the_record_is_padded(tmp_path):
    task = TrainingTask.from_config(settings_of("pconv3d", "model.window_days=400", "model.epochs=1"))
    fit(task, tmp_path)
    assert np.isfinite(filled(task.cube, task.filler)["sm_filled"].values[:, task.cube["land"].values]).all()


def test_tiles_do_not_show_in_space(tmp_path):
    """The reach of the network in space is finite and declared."""
    task = TrainingTask.from_config(settings_of("pconv3d", "model.core_cells=4"))
    fit(task, tmp_path)
    a = filled(task.cube, task.filler)["sm_filled"].values
    task.filler.window = replace(task.filler.window, cells=12)
    b = filled(task.cube, task.filler)["sm_filled"].values
    np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.layers=-1"], "layers=-1: expected at least 0"),
        (["model.kernel=[2,3,3]"], "odd"),
        (["model.middle_day=true", "model.window_days=8"], "window_days=8: expected an odd number"),
        (["model.global_weight=-0.5"], "global_weight=-0.5: expected at least 0"),
        (["model.loss=l1"], "loss='l1': expected one of nll, smooth_l1, mse"),
        (["model.core_cells=0"], "core_cells=0: expected at least 1"),
        (["model.global_weight=0.1"], "expected 0 with model.loss=nll"),
        (["model.learning_rate=0"], "more than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        build(settings_of("pconv3d", *words)["model"], GapFiller)


def test_every_model_has_a_settings_file():
    assert {"climatology", "persistence", "linear_time", "pconv3d", "xgboost", "random_forest"} <= set(MODELS)
    assert Path(config_folder() / "model").is_dir()
