"""Near real time: what comes after a day changes nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.region import Box
from sgdsm.core.specification import build
from sgdsm.data.batch import Scene
from sgdsm.data.features import to_rows
from sgdsm.data.normalization import CellStatistics, Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.inference.causal import look_back_only
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.networks.base import Network
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.models.test_models import MODELS, QUIET, settings_of

DAY = 60
SMALL = ["data.rows=6", "data.columns=7", "data.days=80"]
CANNOT = ("casm", "casm_ensemble", "casm_paper", "dineof", "window_forest")
CAN = [name for name in MODELS if name not in CANNOT]
VARIANTS = [
    "pconv3d model.gap_features=true model.muon_rate=null",
    "seamless_dense trainer.precision=bf16-mixed",
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


@pytest.mark.parametrize("model", [*CAN, *VARIANTS])
def test_later_days_change_nothing(model, tmp_path):
    task = TrainingTask.from_config({**settings_of(model, *SMALL), "causal": True})
    filler, cube = task.filler, task.cube
    if isinstance(filler, Network) and filler.learns_causal:
        # what holds for any weights needs no training
        for weights in filler.parameters():
            torch.nn.init.normal_(weights, std=0.3)
    else:
        fit(task, tmp_path)
    if model == "persistence":
        filler = add_uncertainty(task, {"_target_": "sgdsm.models.Conformal"})
    whole = filled(cube, filler.eval(), cube)
    land = cube["land"].values
    assert np.isfinite(whole["sm_filled"].values[:, land]).all()
    other = filled(other_future(cube).isel(time=slice(0, DAY + 9)), filler, cube)
    # the last days alone, as when a file is filled again
    box = Box(slice(DAY - 9, DAY + 1), *(slice(0, length) for length in cube["sm"].shape[1:]))
    last = filled(cube.isel(time=slice(0, DAY + 1)), filler, cube, box=box)
    for name in whole.data_vars:
        if "time" in whole[name].dims:
            np.testing.assert_array_equal(other[name].values[: DAY + 1], whole[name].values[: DAY + 1], err_msg=name)
            np.testing.assert_array_equal(last[name].values, whole[name].values[box.days], err_msg=name)
    assert not np.array_equal(other["sm_filled"].values[DAY + 1 :], whole["sm_filled"].values[DAY + 1 : DAY + 9])


@pytest.mark.parametrize("model", CANNOT)
def test_others_refuse(model):
    with pytest.raises(ConfigError, match="needs later days too"):
        build(settings_of(model)["model"], GapFiller).check_causal()


def test_a_run_of_both_sides_is_refused_or_looks_back(tmp_path):
    made = {}
    for model in ("seamless", "xgboost"):
        made[model] = TrainingTask.from_config(settings_of(model))
    with pytest.raises(ConfigError, match="was trained to look at both sides"):
        look_back_only(made["seamless"].filler)
    fit(made["xgboost"], tmp_path)
    filler, cube = made["xgboost"].filler, made["xgboost"].cube
    both = filled(cube, filler, cube)["sm_filled"].values
    look_back_only(filler)
    got = filled(cube, filler, cube)["sm_filled"].values
    assert not np.array_equal(both, got)
    np.testing.assert_array_equal(
        filled(other_future(cube), filler, cube)["sm_filled"].values[: DAY + 1], got[: DAY + 1]
    )


def test_what_is_filled_of_a_day_is_what_a_cube_that_ends_there_gives(world):
    """Of trees: without later days a feature is what it is in a cube that was cut after the day."""
    cube = world.isel(time=slice(0, 60))
    record = read_record(cube)
    inputs = Inputs.fit(record, Names.of(cube), record.observed & record.land, "m3 m-3", 1, "train", 8)
    gaps = ~record.observed & record.land
    climatology = CellStatistics.of(record.values, record.observed, record.days).solve()
    day = 41

    def rows(upto: int, causal: bool) -> np.ndarray:
        part = read_record(cube.isel(time=slice(0, upto)))
        scene = Scene.of(part, replace(inputs, causal=causal), part.observed & part.land, gaps[:upto], climatology)
        axes = Window(None, None, None, None).tile(part.values.shape, False)
        batch = scene.batch([(0, 0, 0)], axes)
        wanted = torch.zeros_like(batch.wanted)
        wanted[:, :, day] = batch.wanted[:, :, day]
        values, _, names = to_rows(batch, wanted, scene.inputs)
        # yesterday's line of a neighbour may end today, in a cube that was cut
        return values[:, [k for k, name in enumerate(names) if "yesterday" not in name]].numpy()

    np.testing.assert_array_equal(rows(60, causal=True), rows(day + 1, causal=True))
    np.testing.assert_array_equal(rows(60, causal=True), rows(day + 1, causal=False))
    assert not np.array_equal(rows(60, causal=False), rows(60, causal=True), equal_nan=True)


def test_a_filled_file_is_kept_up_to_date(run_command, tmp_path, plain):
    whole = plain(days=80)
    late = whole.copy(deep=True)
    late["sm"].values[62, 1, 1] = 0.33  # observed, but the value comes late
    first = late.isel(time=slice(0, 70)).copy(deep=True)
    first["sm"].values[62, 1, 1] = np.nan
    first.to_netcdf(tmp_path / "cube.nc")
    words = ["data=netcdf", "data.path=cube.nc", "data.target=sm", "model=linear_time", "causal=true"]
    code, out, err = run_command("train", *words, "trainer.progress=false", "hydra.run.dir=run")
    assert code == 0, err
    fill = ["run=run", "output=filled.nc", "trainer.progress=false"]
    assert run_command("predict", *fill)[0] == 0
    with xr.open_dataset(tmp_path / "filled.nc") as old:
        old = old.load()
    assert "near_real_time" in old.attrs
    late.to_netcdf(tmp_path / "grown.nc")
    (tmp_path / "grown.nc").replace(tmp_path / "cube.nc")
    code, out, err = run_command("predict", *fill, "refill_days=10")
    assert code == 0, err
    assert "version 2: 10 days from 2020-03-01 filled again, 10 added, to 2020-03-20" in out
    assert "1 are observed now" in out
    with xr.open_dataset(tmp_path / "filled.nc") as new:
        new = new.load()
    assert new.attrs["version"] == 2
    assert new.sizes["time"] == 80
    # only what follows the late value in its cell is another one
    changed = np.argwhere(new["sm_filled"].values[:70] != old["sm_filled"].values)
    assert set(map(tuple, changed[:, 1:])) == {(1, 1)}
    assert changed[:, 0].min() == 62
    for name in old.data_vars:
        assert new[name].dtype == old[name].dtype
        if "time" in old[name].dims:
            np.testing.assert_array_equal(new[name].values[:60], old[name].values[:60])
    # as if all had been filled at once
    assert run_command("predict", *fill[:1], "output=whole.nc", "trainer.progress=false")[0] == 0
    with xr.open_dataset(tmp_path / "whole.nc") as at_once:
        np.testing.assert_array_equal(new["sm_filled"].values, at_once["sm_filled"].values)
    # the same words again change nothing
    code, out, err = run_command("predict", *fill, "refill_days=10")
    assert code == 0
    assert "already" in out
    code, out, err = run_command("describe", "filled.nc")
    assert code == 0, err
    assert "version: 2" in out
    assert "1 are observed now" in out
    assert sorted(path.name for path in tmp_path.glob("filled*") if path.suffix != ".lock") == ["filled.nc"]


def test_a_run_that_looks_back_keeps_the_climatology_of_the_days_it_learned_from(run_command, tmp_path, plain):
    plain(days=80).isel(time=slice(0, 60)).to_netcdf(tmp_path / "cube.nc")
    words = ["data=netcdf", "data.path=cube.nc", "data.target=sm", "model=climatology", "uncertainty=none"]
    code, _, err = run_command("train", *words, "trainer.progress=false", "hydra.run.dir=run")
    assert code == 0, err
    # another file of the name: the old one may be open still
    (tmp_path / "cube.nc").unlink()
    plain(days=80).to_netcdf(tmp_path / "cube.nc")
    fill = ["predict", "run=run", "output=filled.nc", "causal=true", "trainer.progress=false"]
    path = tmp_path / "run" / "provenance.json"
    known = path.read_text()
    path.write_text(known.replace('"last_day"', '"last"'))
    code, _, err = run_command(*fill)
    assert code == 1
    assert err.strip().splitlines()[-1].endswith("does not say up to which day the run has learned: train it again")
    path.write_text(known)
    code, _, err = run_command(*fill)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "run" / "climatology.nc") as kept:
        assert kept.attrs["fitted_on"] == "all values of the training data"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refill_days=0"], "refill_days=0: expected at least 1"),
        (["refill_days=5", "time=2020:2021"], "leave out time= and bbox="),
        (["refill_days=5"], "expected a file.nc that predict has written"),
        (["refill_days=5", "output=cube.nc"], "no sm_filled and sm_source"),
        (["refill_days=5", "output=cube.zarr"], "expected a file.nc that predict has written"),
        (["refill_days=5", "inference.cluster=true"], "on one machine"),
        (["causal=true"], "was trained to look at both sides|error bars of the run"),
    ],
)
def test_bad_words_end_in_one_line(words, message, run_command, tmp_path, plain):
    plain().to_netcdf(tmp_path / "cube.nc")
    data = ["data=netcdf", "data.path=cube.nc", "data.target=sm", "model=linear_time", "trainer.progress=false"]
    assert run_command("train", *data, "hydra.run.dir=run")[0] == 0
    code, _, err = run_command("predict", "run=run", "output=filled.nc", *words)
    assert code != 0
    assert re.search(message, err.strip().splitlines()[-1])
