"""`sgdsm.train` and `sgdsm.fill`: the same as the commands, from Python."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hydra.core.global_hydra import GlobalHydra

import sgdsm
from sgdsm.core.errors import ConfigError
from sgdsm.models.classical.simple import LinearTime
from tests.conftest import run_folder

pytestmark = pytest.mark.slow

TREES = ["model.gap_draws=1", "model.rounds=20", "trainer.progress=false"]
NAMES = {"target": "sm", "dynamic": ["rain"], "static": ["clay"], "precipitation": "rain"}
WORDS = ["data=netcdf", "data.target=sm", "data.dynamic=[rain]", "data.static=[clay]", "data.precipitation=rain"]


@pytest.fixture
def mine(plain) -> xr.Dataset:
    return plain(days=90)


def same(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name].values, theirs[name].values, err_msg=str(name))


def test_python_and_the_command_line_give_the_same_file(mine, run_command, tmp_path):
    mine.to_netcdf(tmp_path / "mine.nc")
    code, out, err = run_command("train", "model=xgboost", *WORDS, "data.path=mine.nc", *TREES)
    assert code == 0, err
    folder = tmp_path / run_folder(out)
    code, _, err = run_command("predict", f"run={folder}", "output=filled.nc", "trainer.progress=false")
    assert code == 0, err
    with xr.open_dataset(tmp_path / "filled.nc") as file:
        theirs = file.load()
    of_dataset = sgdsm.train(mine, "xgboost", **NAMES, overrides=TREES)
    of_file = sgdsm.train(tmp_path / "mine.nc", "xgboost", **NAMES, overrides=TREES)
    rmse = sgdsm.training.Run(folder).scores["all"]["rmse"]
    assert of_dataset.scores["all"]["rmse"] == of_file.scores["all"]["rmse"] == rmse
    same(sgdsm.fill(mine, of_dataset), theirs)
    same(sgdsm.fill(mine, of_file.folder), theirs)
    same(sgdsm.fill(mine, model="xgboost", **NAMES, overrides=TREES), theirs)


def test_a_training_is_kept_and_goes_on_in_its_folder(mine, tmp_path):
    first = sgdsm.train(mine, LinearTime(), target="sm", folder=tmp_path / "run", overrides=["trainer.progress=false"])
    assert first.finished()
    before = first.model.stat().st_mtime_ns
    again = sgdsm.train(mine, LinearTime(), target="sm", folder=tmp_path / "run", overrides=["trainer.progress=false"])
    assert again.model.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        sgdsm.train(mine, "climatology", target="sm", folder=tmp_path / "run")


def test_nothing_global_is_touched(mine):
    assert not GlobalHydra.instance().is_initialized()
    sgdsm.train(mine, "climatology", target="sm", overrides=["trainer.progress=false"])
    assert not GlobalHydra.instance().is_initialized()


def test_a_cube_needs_no_names(mine):
    cube = sgdsm.as_cube(mine, "sm", ["rain"], precipitation="rain")
    filled = sgdsm.fill(cube, model="linear_time", overrides=["trainer.progress=false"])
    assert not filled["sm_filled"].where(filled["land"]).isnull().any()


def test_the_model_is_chosen_by_the_cube(mine, caplog):
    many = [f"model.many.{word}" for word in ("channels=4", "width=4", "memory=1", "window_days=32", "epochs=1")]
    words = [*many, "model.few.rounds=5", "model.few.gap_draws=1", "trainer.progress=false"]
    caplog.set_level("INFO", logger="sgdsm")
    one_row = mine.isel(lat=slice(0, 1), lon=slice(0, 3))
    filled = [sgdsm.fill(cube, target="sm", overrides=words) for cube in (mine, one_row)]
    for cube, kind in zip(filled, ("PartialConvNetwork", "XGBoost"), strict=True):
        assert f"model=auto: {kind}, as there are {int(cube['land'].sum())} land cells" in caplog.text
        assert not cube["sm_filled"].where(cube["land"]).isnull().any()
    run = sgdsm.train(one_row, target="sm", overrides=words)
    assert run.metrics()["model"] == "XGBoost"
    with pytest.raises(sgdsm.SgdsmError, match=r"model.cells=0: expected at least 1"):
        sgdsm.train(mine, target="sm", overrides=[*words, "model.cells=0"])


def test_a_run_of_a_dataset_says_that_predict_needs_a_file(mine, run_command, tmp_path):
    sgdsm.train(mine, "climatology", target="sm", folder=tmp_path / "run", overrides=["trainer.progress=false"])
    code, _, err = run_command("predict", "run=run", "output=filled.nc")
    assert code == 1
    assert "the run was trained on a Dataset in Python: name a file with data=netcdf data.path=FILE" in err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: sgdsm.train(d, "climatology"), "target= is not given"),
        (lambda d: sgdsm.train("nowhere.nc", "climatology"), "target= is not given"),
        (lambda d: sgdsm.train(d, "climatology", target="sm", targt="x"), "unknown argument 'targt'"),
        (lambda d: sgdsm.train(d, "climatology", target="sm", overrides=["splits.fraction=2"]), "splits.fraction=2"),
        (lambda d: sgdsm.train(d, 3, target="sm"), "train: model=3: expected str"),
        (lambda d: sgdsm.fill(d, "run", model="xgboost"), "give run=, a run or its folder, or model="),
        (lambda d: sgdsm.fill(d, "run", overrides=["a=b"]), "folder= and overrides= are for training"),
    ],
)
def test_what_cannot_work_is_named(mine, call, message):
    with pytest.raises(sgdsm.SgdsmError, match=message):
        call(mine)


def test_an_unknown_model_or_setting_is_named(mine):
    with pytest.raises(sgdsm.SgdsmError, match="xgbost"):
        sgdsm.train(mine, "xgbost", target="sm")
    with pytest.raises(sgdsm.SgdsmError, match=r"model\.roundz"):
        sgdsm.train(mine, "xgboost", target="sm", overrides=["model.roundz=3"])
