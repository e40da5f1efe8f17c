"""The commands as a user types them, on small worlds."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import sgdsm
from sgdsm.core.cube import by_role, open_dataset
from sgdsm.core.specification import build
from sgdsm.evaluation.score import score
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.run import Run
from tests.conftest import (
    BLOCKS,
    SMALL_WORLD,
    TINY_FOREST,
    TINY_PCONV,
    TINY_TREES,
    composed,
    run_folder,
    shared_data,
)
from tests.forked import Forked

pytestmark = pytest.mark.slow

QUIET = "trainer.progress=false"


@pytest.mark.figures
@pytest.mark.parametrize("model", [TINY_PCONV, TINY_TREES, TINY_FOREST, ["model=linear_time"]], ids=lambda m: m[0])
def test_train_and_predict(run_command, tmp_path, model):
    code, out, err = run_command("train", *model, *SMALL_WORLD, QUIET)
    assert code == 0, err
    run = tmp_path / run_folder(out)
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "model.ckpt", "metrics.json", "provenance.json", "figures"} <= names
    assert not {"last.ckpt", "best.pt"} & names
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["split"] == "validation"
    assert 0 < metrics["classes"]["all"]["rmse"] < 0.2
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0] or provenance["versions"]["torch"]
    pictures = {path.name for path in (run / "figures").iterdir()}
    assert {"maps.png", "skill.png", "series.png", "gap_length.png"} <= pictures
    assert ("training.png" in pictures) == (model is TINY_PCONV)
    code, out, err = run_command("predict", f"run={run}", "output=filled.nc", QUIET)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "filled.nc") as filled:
        land = filled["land"].values.astype(bool)
        assert np.isfinite(filled["sm_filled"].values[:, land]).all()
        gaps = filled["sm_source"].values == 2
        for bound in ("sm_std", "sm_lower", "sm_upper"):
            assert np.isfinite(filled[bound].values[gaps]).all()
        assert (filled["sm_lower"].values[gaps] <= filled["sm_filled"].values[gaps]).all()
        again = sgdsm.fill(_world_of(run), run)
        np.testing.assert_array_equal(again["sm_filled"].values, filled["sm_filled"].values)
        near = sgdsm.fill(_world_of(run), run, max_gap_days=1)
    code, out, err = run_command("predict", f"run={run}", "output=near.nc", "max_gap_days=1", QUIET)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "near.nc") as capped:
        np.testing.assert_array_equal(near["sm_filled"].values, capped["sm_filled"].values)
        assert np.isfinite(capped["sm_filled"].values[capped["gap_age"].values == 1]).all()
        assert np.isnan(capped["sm_filled"].values[capped["gap_age"].values > 1]).all()


def _world_of(run: Path) -> xr.Dataset:
    return build(Run(run).config()["data"], xr.Dataset)


def test_predict_a_part_and_again(run_command, tmp_path):
    _, out, _ = run_command("train", "model=climatology", *SMALL_WORLD, QUIET)
    run = run_folder(out)
    words = [f"run={run}", "time=2015-05-01:2015-05-20", "bbox=[-122,42,-115,48]", "output=part.zarr", QUIET]
    code, out, err = run_command("predict", *words)
    assert code == 0, err
    with xr.open_zarr(tmp_path / "part.zarr") as part:
        assert part.sizes == {"time": 20, "lat": 6, "lon": 7}
    code, out, err = run_command("predict", *words)
    assert code == 0, err
    longer = [w.replace("2015-05-20", "2015-05-21") for w in words]
    code, out, err = run_command("predict", *longer)
    assert code == 1
    assert "part.zarr exists and is of another run" in err
    code, out, err = run_command("predict", f"run={run}", "time=2015-08-20:", "output=end.nc", QUIET)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "end.nc") as part:
        assert part.sizes["time"] == 9


@pytest.mark.parametrize("model", [TINY_PCONV, TINY_TREES], ids=lambda m: m[0])
def test_the_uncertainty_of_a_file_weighs_its_values_and_is_in_the_product(run_command, tmp_path, plain, model):
    dataset = plain(days=80)
    observed = np.isfinite(dataset["sm"].values)
    for name, factor in (("sm_uncertainty", 0.02), ("doubtful", 0.9)):
        dataset[name] = (factor * dataset["sm"]).assign_attrs(units="m3 m-3")
    dataset.to_netcdf(tmp_path / "a.nc")
    words = [*model, "data=netcdf", "data.path=a.nc", "data.target=sm", QUIET]
    for folder, more in {"found": [], "named": ["data.uncertainty=doubtful"]}.items():
        code, _, err = run_command("train", *words, *more, f"hydra.run.dir={folder}")
        assert code == 0, err
        code, _, err = run_command("predict", f"run={folder}", f"output={folder}.nc", QUIET)
        assert code == 0, err
    filled = {name: xr.open_dataset(tmp_path / f"{name}.nc") for name in ("found", "named")}
    for name, factor in {"found": 0.02, "named": 0.9}.items():
        std = filled[name]["sm_std"].values
        np.testing.assert_allclose(std[observed], factor * dataset["sm"].values[observed], rtol=1e-5)
        assert np.isfinite(std).all()
    estimates = [f["sm_filled"].values[~observed] for f in filled.values()]
    assert not np.allclose(*estimates), "other weights teach other things"
    # from Python, by the name that the run has
    got = sgdsm.fill(xr.open_dataset(tmp_path / "a.nc"), tmp_path / "named")
    np.testing.assert_array_equal(got["sm_std"].values, filled["named"]["sm_std"].values)
    words = ["predict", "run=found", "data=netcdf", "data.path=a.nc", "data.uncertainty=doubtful", "output=found.nc"]
    code, _, err = run_command(*words, QUIET)
    assert (code, "found.nc exists and is of another run or of other data" in err) == (1, True), err


def test_the_uncertainty_of_a_file_may_be_left_out(run_command, tmp_path, plain):
    dataset = plain(days=80)
    dataset.to_netcdf(tmp_path / "without.nc")
    dataset["sm_uncertainty"] = (0.02 * dataset["sm"]).assign_attrs(units="m3 m-3")
    dataset.to_netcdf(tmp_path / "with.nc")
    words = [*TINY_TREES, "data=netcdf", "data.target=sm", QUIET]
    for name, more in {"without": [], "with": ["data.uncertainty=none"]}.items():
        code, _, err = run_command("train", *words, f"data.path={name}.nc", *more, f"hydra.run.dir={name}")
        assert code == 0, err
        code, _, err = run_command("predict", f"run={name}", f"output={name}_filled.nc", QUIET)
        assert code == 0, err
    with xr.open_dataset(tmp_path / "with_filled.nc") as left, xr.open_dataset(tmp_path / "without_filled.nc") as never:
        xr.testing.assert_equal(left.load(), never.load())
        got = sgdsm.fill(xr.open_dataset(tmp_path / "with.nc"), tmp_path / "with")
        np.testing.assert_array_equal(got["sm_std"].values, left["sm_std"].values)


def test_predict_another_cube_of_the_same_variables(run_command, tmp_path, plain):
    for seed in (0, 1):
        plain(days=80, seed=seed).to_netcdf(tmp_path / f"cube{seed}.nc")
    roles = ["data.target=sm", "data.dynamic=[rain]", "data.static=[clay]", "data.precipitation=rain"]
    code, out, err = run_command("train", *TINY_TREES, "data=netcdf", "data.path=cube0.nc", *roles, QUIET)
    assert code == 0, err
    run = run_folder(out)
    code, out, err = run_command("predict", f"run={run}", "data=netcdf", "data.path=cube1.nc", "output=f.nc", QUIET)
    assert code == 0, err
    with xr.open_dataset(tmp_path / "f.nc") as got:
        np.testing.assert_array_equal(got["sm"].values, plain(days=80, seed=1)["sm"].values)
    # from Python, with the names of the run or with others
    expected = sgdsm.fill(plain(days=80, seed=1), tmp_path / run)["sm_filled"].values
    np.testing.assert_array_equal(expected, xr.open_dataset(tmp_path / "f.nc")["sm_filled"].values)
    with pytest.raises(sgdsm.CubeError, match=r"lacks \['rain'\]"):
        sgdsm.fill(plain(days=80).drop_vars("rain"), tmp_path / run)


def test_blocks_are_scored_on_test_days_and_evaluate_repeats_it(run_command, tmp_path):
    code, out, err = run_command("train", *TINY_TREES, *SMALL_WORLD, *BLOCKS, QUIET)
    assert code == 0, err
    run = tmp_path / run_folder(out)
    before = json.loads((run / "metrics.json").read_text())
    assert before["split"] == "test"
    (run / "evaluation" / "filled.nc").unlink()
    code, out, err = run_command("evaluate", f"run={run}")
    assert code == 0, err
    after = json.loads((run / "metrics.json").read_text())
    assert after["classes"] == before["classes"]
    files = {"filled": "filled.nc", "truth": "hidden.nc", "visible": "visible.nc"}
    words = [f"{k}={run / 'evaluation' / v}" for k, v in files.items()]
    code, out, err = run_command("evaluate", *words)
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("all:"))
    assert f"RMSE {before['classes']['all']['rmse']:.6f}" in line
    for zone in ("dry_zone", "warm_zone"):
        assert f"{zone}: N {before['classes'][zone]['n']:.0f} RMSE" in out
    code, out, err = run_command("evaluate", *words, "temperature=air_temprature")
    assert (code, "(did you mean 'air_temperature'?)" in err) == (1, True)


def test_test_values_change_nothing_that_is_fitted(run_command, tmp_path):
    """The whole way through train.py: what test, validation and calibration hide is not learned from."""
    from sgdsm.sources.simulation.world import simulate
    from sgdsm.training.task import TrainingTask

    world = simulate(rows=10, columns=14, days=150)
    names = ["data.dynamic=[precipitation,air_temperature]", "data.static=[clay]", "data.land=land"]
    words = [*TINY_TREES, *BLOCKS, "data=netcdf", "data.target=sm", *names, "uncertainty=none", QUIET]
    world.drop_attrs().to_netcdf(tmp_path / "a.nc")
    code, out, err = run_command("train", *words, "data.path=a.nc")
    assert code == 0, err
    first = tmp_path / run_folder(out)
    from sgdsm.training.run import Run

    hidden = TrainingTask.from_config(Run(first).config()).split.scenarios["test"].all_hidden
    changed = world.copy(deep=True)
    changed["sm"].values[hidden] = np.random.default_rng(0).random(hidden.sum())
    changed.drop_attrs().to_netcdf(tmp_path / "b.nc")
    time.sleep(1.1)  # run folders are named by the second
    code, out, err = run_command("train", *words, "data.path=b.nc")
    assert code == 0, err
    a, b = (load_filler(folder / "model.ckpt") for folder in (first, tmp_path / run_folder(out)))
    assert a.inputs == b.inputs
    a, b = (filler.get_extra_state() for filler in (a, b))
    assert set(a) == set(b) == {"mean"}
    assert torch.equal(a["mean"], b["mean"])


@pytest.mark.figures
def test_compare_an_experiment_and_its_runs(run_command, tmp_path):
    experiment = [
        "experiment=demo",
        *SMALL_WORLD,
        "splits.block_days=20",
        "splits.separation_days=6",
        "~compare.models.climatology",
        "~compare.models.persistence",
        "~compare.models.pconv3d",
        "compare.models.xgboost='model=xgboost model.gap_draws=1 model.rounds=20'",
        "output=cmp",
        QUIET,
    ]
    code, out, err = run_command("compare", *experiment)
    assert code == 0, err
    table = (tmp_path / "cmp" / "comparison.txt").read_text()
    assert table.splitlines()[2].startswith("xgboost")
    assert "share of linear_time" in table
    assert max(map(len, table.splitlines())) <= 100
    with (tmp_path / "cmp" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["xgboost", "linear_time"]
    assert f"{float(rows[0]['rmse']):.4f} [" in (tmp_path / "cmp" / "comparison.md").read_text()
    assert "linear\\_time &" in (tmp_path / "cmp" / "comparison.tex").read_text()
    page = (tmp_path / "cmp" / "report.html").read_text()
    # the same page as that of `report`; without bokeh its maps are pictures
    assert all(word in page for word in ("The same as a table", "xgboost", "linear_time", "Configuration of xgboost"))
    assert page.count("data:image/png;base64") > 10
    stamp = (tmp_path / "cmp" / "xgboost" / "model.ckpt").stat().st_mtime_ns
    code, _, err = run_command("compare", *experiment)
    assert code == 0, err
    assert (tmp_path / "cmp" / "xgboost" / "model.ckpt").stat().st_mtime_ns == stamp
    assert "finished already" in err
    code, out, err = run_command("compare", "cmp/xgboost", "cmp/linear_time", "output=other")
    assert code == 0, err
    assert (tmp_path / "other" / "comparison.txt").read_text() == table
    code, out, err = run_command("compare", *[w.replace("gap_draws=1", "gap_draws=2") for w in experiment])
    assert code == 1
    assert "holds a run with other settings" in err
    _, out, _ = run_command("train", "model=linear_time", *SMALL_WORLD, QUIET)
    code, _, err = run_command("compare", "cmp/xgboost", str(run_folder(out)))
    assert code == 1
    assert "scored by different protocols: scored_split test and validation" in err


def test_sweep(run_command, tmp_path):
    code, out, err = run_command("train", "-m", "model=climatology,persistence", *SMALL_WORLD, QUIET)
    assert code == 0, err
    folders = sorted(next((tmp_path / "runs").iterdir()).iterdir())
    assert [f.name for f in folders if f.is_dir()] == ["0_climatology", "1_persistence"]
    code, out, err = run_command("compare", str(folders[0].parent))
    assert code == 0, err
    assert "0_climatology" in out


def test_a_network_that_was_interrupted_ends_as_if_it_had_not_been(run_command, tmp_path, monkeypatch):
    from sgdsm.training.callbacks import TrainingHistory

    words = [*TINY_PCONV, "model.epochs=4", "model.dropout=0.2", *SMALL_WORLD, QUIET]
    code, out, err = run_command("train", *words)
    assert code == 0, err
    whole = tmp_path / run_folder(out)
    ended = TrainingHistory.on_train_epoch_end

    def dying(self, trainer, module):
        ended(self, trainer, module)
        if trainer.current_epoch == 2:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingHistory, "on_train_epoch_end", dying)
        code, _, err = run_command("train", *words, "hydra.run.dir=cut")
    assert code == 1
    assert "power cut" in err
    assert not (tmp_path / "cut" / "model.ckpt").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "moved")
    for name in ("cut", "moved"):
        code, out, err = run_command("train", f"run={name}")
        assert code == 0, err
        assert out.strip().splitlines()[-1] == f"run: {name}"
        a, b = (torch.load(folder / "model.ckpt", weights_only=True)["state"] for folder in (whole, tmp_path / name))
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key
        assert (whole / "training.csv").read_text() == (tmp_path / name / "training.csv").read_text()
    code, out, err = run_command("train", "run=cut")
    assert code == 0
    assert "finished already" in err


def test_checkpoints_do_not_pass_through_the_folder_of_temporary_files(run_command, tmp_path, monkeypatch):
    """On another disk they would be copied, and a kill in the middle leave half of one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    code, _, err = run_command("train", *TINY_PCONV, *SMALL_WORLD, QUIET)
    assert code == 0, err


@pytest.mark.parametrize(("script", "suffix"), [("train.py", ""), ("predict.py", ".zarr"), ("predict.py", ".nc")])
def test_kill_and_start_again(run_command, tmp_path, script, suffix):
    """A real kill -9 of a real process, then the same words."""
    train = [*TINY_PCONV, "model.epochs=6", *SMALL_WORLD, QUIET]
    code, out, err = run_command("train", *train, "hydra.run.dir=whole")
    assert code == 0, err
    small = ["inference.memory_gib=0.0001"]
    if script == "train.py":
        words, again = [*train, "hydra.run.dir=cut"], ["run=cut"]
        begun = tmp_path / "cut" / "last.ckpt"
    else:
        words = again = ["run=whole", f"output=cut{suffix}", *small, QUIET]
        begun = tmp_path / ("cut.zarr" if suffix == ".zarr" else "cut.nc.parts/slab-00000.chunks")
    process = Forked(tmp_path, script, *words)
    deadline = time.monotonic() + 120
    while not begun.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert begun.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    command = script.removesuffix(".py")
    code, _, err = run_command(command, *again)
    assert code == 0, err
    if script == "train.py":
        a, b = (torch.load(tmp_path / f / "model.ckpt", weights_only=True)["state"] for f in ("whole", "cut"))
        assert all(torch.equal(a[name], b[name]) for name in a)
    else:
        run_command("predict", "run=whole", f"output=whole{suffix}", *small, QUIET)
        a, b = (open_dataset(tmp_path / f"{name}{suffix}") for name in ("whole", "cut"))
        xr.testing.assert_equal(a.load(), b.load())


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("train", ["modle=pconv3d"], "modle"),
        ("train", ["model=pconv4d"], "pconv4d"),
        ("train", ["model.widht=3"], "widht"),
        ("train", ["experiment=none_such"], "none_such"),
        ("train", ["data=netcdf", "data.target=sm"], "data.path is not given"),
        ("train", ["data=netcdf", "data.path=absent.nc", "data.target=sm"], "absent.nc: no such file"),
        ("train", ["run=absent"], "run=absent: no such folder"),
        ("train", ["run=.", "model=pconv3d"], "take away model=pconv3d"),
        ("train", ["splits=blocks", "data.days=60"], "holds 2 blocks"),
        ("predict", ["run=absent", "output=x.nc"], "run=absent: no such folder"),
        ("predict", ["run=absent"], "output is not given"),
        ("predict", ["run=a", "output=x.nc", "time=3"], "time=3: expected str"),
        ("evaluate", ["filled=x.nc"], "truth= and visible= not given"),
        ("evaluate", ["filled=x.nc", "truth=y.nc", "visible=z.nc"], "no such file"),
        ("evaluate", ["run=absent"], "no such folder"),
        ("compare", ["absent"], "absent: no such folder"),
        ("compare", [], "no run given"),
        ("compare", ["experiment=demo", "++hydra.run.dir=here"], "give output=FOLDER"),
        ("train", ["data.dynamic=[a"], "data.dynamic"),
    ],
)
def test_a_mistake_ends_in_one_clear_line(run_command, tmp_path, command, words, message):
    code, _, err = run_command(command, *words)
    assert code == 1
    lines = [line for line in err.strip().splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*")), "no empty folder is left"


def test_an_experiment_file_of_the_users_own(run_command, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    for name, line in {"good": "seed: 5", "bad": "sede: 5", "worse": "model: {widht: 3}"}.items():
        (tmp_path / "mine" / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{line}\n")
    words = ["--config-dir=mine", "model=climatology", *SMALL_WORLD, QUIET]
    code, out, err = run_command("train", *words, "experiment=good")
    assert code == 0, err
    assert "seed: 5" in (tmp_path / run_folder(out) / "config.yaml").read_text()
    for name, message in {"bad": "unknown key 'sede' (did you mean 'seed'?)", "worse": "unknown key 'widht'"}.items():
        code, _, err = run_command("train", *words, f"experiment={name}")
        assert code == 1
        assert message in err


def test_a_run_is_not_trained_over(run_command, tmp_path):
    words = ["model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine"]
    assert run_command("train", *words)[0] == 0
    before = (tmp_path / "mine" / "metrics.json").read_text()
    code, _, err = run_command("train", *words, "seed=9")
    assert code == 1
    assert "holds a run already" in err
    assert (tmp_path / "mine" / "metrics.json").read_text() == before


def test_a_checkpoint_from_something_else(run_command, tmp_path):
    assert run_command("train", "model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine")[0] == 0
    torch.save({"state_dict": {}}, tmp_path / "mine" / "model.ckpt")
    code, _, err = run_command("predict", "run=mine", "output=x.nc", QUIET)
    assert code == 1
    assert "mine/model.ckpt: expected a checkpoint of the format 'sgdsm filler 1'" in err
    assert not (tmp_path / "x.nc").exists()


def test_bad_data_end_in_one_clear_line(run_command, tmp_path, plain):
    good = plain(days=60)
    cases = {
        "gaps.nc": (good.assign(sm=good["sm"].where(False)), "no observed value on land"),
        "dims.nc": (good.rename(lat="row"), "expected time and lat, lon"),
        "twice.nc": (good.isel(time=[0, 1, 1, 2]), "1 duplicated days"),
        "holes.nc": (good.isel(time=[0, 1, 2, 7, 8]), "lacks 4 days"),
        "infinite.nc": (good.assign(rain=good["rain"].where(good["rain"] < 8, np.inf)), "infinite values, the first"),
        "calendar.nc": (good.convert_calendar("360_day", align_on="date"), "calendar '360_day'"),
    }
    for name, (dataset, message) in cases.items():
        dataset.to_netcdf(tmp_path / name)
        words = ["data=netcdf", f"data.path={name}", "data.target=sm", "data.dynamic=[rain]", QUIET]
        code, _, err = run_command("train", "model=linear_time", *words)
        lines = [line for line in err.strip().splitlines() if not line.startswith("note: ")]
        assert (code, len(lines)) == (1, 1), (name, err)
        assert message in lines[0], name


def test_a_covariate_that_is_missing_everywhere_is_dropped(run_command, tmp_path, plain):
    dataset = plain(days=60)
    dataset["rain"][:] = np.nan
    dataset.to_netcdf(tmp_path / "a.nc")
    words = ["data=netcdf", "data.path=a.nc", "data.target=sm", "data.dynamic=[rain]", "data.static=[clay]"]
    code, _, err = run_command("train", *TINY_TREES, *words, QUIET)
    assert code == 0, err
    assert "covariate 'rain' is missing everywhere on land: dropped" in err


def test_one_cell(run_command, tmp_path, plain):
    plain(days=120, rows=1, columns=1).to_netcdf(tmp_path / "cell.nc")
    for model in (TINY_PCONV, TINY_TREES, ["model=linear_time"]):
        words = ["data=netcdf", "data.path=cell.nc", "data.target=sm", "data.dynamic=[rain]"]
        name = model[0].removeprefix("model=")
        code, _, err = run_command("train", *model, *words, QUIET, f"hydra.run.dir={name}")
        assert code == 0, err
        code, _, err = run_command("predict", f"run={name}", f"output={name}.nc", QUIET)
        assert code == 0, err
        with xr.open_dataset(tmp_path / f"{name}.nc") as filled:
            assert np.isfinite(filled["sm_filled"].values).all()


def test_accessor(run_command, tmp_path):
    code, out, err = run_command("train", "model=linear_time", *SMALL_WORLD, QUIET)
    assert code == 0, err
    run = tmp_path / run_folder(out)
    world = _world_of(run)
    filled = world.sgdsm.fill(run)
    # a cube that has lost its land is a Dataset of the user's own: land is where there ever was a value
    assert np.isfinite(world.drop_vars("land").sgdsm.fill(run)["sm_filled"].values).any()
    twice = world.assign(other=world["sm"])
    with pytest.raises(sgdsm.CubeError, match="expected one variable with the attribute role='target'"):
        twice.sgdsm.fill(run)
    assert len(filled.sgdsm.plot_day("2015-05-05").axes) >= 3
    assert filled.sgdsm.plot_series(lat=45, lon=-120).axes
    folder = run / "evaluation"
    with xr.open_dataset(folder / "filled.nc") as scored:
        table = scored.sgdsm.scores(folder / "hidden.nc", folder / "visible.nc")
    expected = json.loads((run / "metrics.json").read_text())["classes"]["all"]["rmse"]
    assert table.loc["all", "rmse"] == pytest.approx(expected)
    with pytest.raises(sgdsm.CubeError, match="not a filled Dataset"):
        _world_of(run).sgdsm.plot_day("2015-05-05")
    with pytest.raises(sgdsm.CubeError, match="day=1999-01-01: not in the Dataset"):
        filled.sgdsm.plot_day("1999-01-01")


@pytest.mark.shared_data
def test_real_data_run_by_name(run_command, tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSM_SHARED_DATA", str(shared_data()))
    code, out, err = run_command("train", "model=linear_time", "data=smap_conus", "splits=blocks", QUIET)
    assert code == 0, err
    folder = tmp_path / run_folder(out) / "evaluation"
    table = score(folder / "filled.nc", folder / "hidden.nc", folder / "visible.nc").table()
    assert 0.035 < table["all"]["rmse"] < 0.05
    assert table["rain"]["n"] > 0
    assert table["swath"]["n"] > table["outage"]["n"] > 500


@pytest.mark.shared_data
def test_a_cube_without_covariates_and_with_missing_days(monkeypatch, caplog):
    monkeypatch.setenv("SGDSM_SHARED_DATA", str(shared_data()))
    settings = composed("train", *["data=india_swi"])
    with caplog.at_level("INFO", "sgdsm"):
        cube = build(settings["data"], xr.Dataset)
    assert cube.sizes == {"time": 1276, "lat": 121, "lon": 116}
    assert "inserted 114 missing days" in caplog.text
    assert not by_role(cube, "dynamic")


def test_absent_real_data_are_named(run_command, monkeypatch, tmp_path):
    monkeypatch.setenv("SGDSM_SHARED_DATA", str(tmp_path / "nowhere"))
    code, _, err = run_command("train", "data=smap_conus", QUIET)
    assert code == 1
    assert "SGDSM_SHARED_DATA" in err


def test_a_target_that_is_no_filler_is_not_called(run_command, tmp_path):
    assert run_command("train", "model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine")[0] == 0
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    attack = {
        "_target_": "sgdsm.core.io.hdf5.NetcdfWriter",
        "path": str(precious),
        "coords": {},
        "variables": {},
        "attrs": {},
    }
    config = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text())
    for group in ("gaps", "data", "model", "trainer", "splits", "uncertainty"):
        (tmp_path / "mine" / "config.yaml").write_text(yaml.safe_dump({**config, group: attack}))
        code, _, err = run_command("predict", "run=mine", f"output={group}.nc", QUIET)
        assert code == 1, group
        assert "expected a public name of sgdsm" in err
    (tmp_path / "mine" / "config.yaml").write_text(yaml.safe_dump(config))
    checkpoint = torch.load(tmp_path / "mine" / "model.ckpt", weights_only=True)
    nested = {**checkpoint["spec"], "filler": attack}
    for spec in (attack, nested):
        torch.save({**checkpoint, "spec": spec}, tmp_path / "mine" / "model.ckpt")
        code, _, err = run_command("predict", "run=mine", "output=x.nc", QUIET)
        assert code == 1
        assert "expected a public name of sgdsm" in err
    assert precious.read_text() == "mine"


def _replace(dataset: xr.Dataset, path: Path) -> None:
    path.unlink(missing_ok=True)
    dataset.to_netcdf(path)


def test_changed_data_are_not_taken_for_the_same(run_command, tmp_path, plain):
    words = ["model=linear_time", "data=netcdf", "data.path=a.nc", "data.target=sm", QUIET, "hydra.run.dir=mine"]
    dataset = plain(days=60)
    _replace(dataset, tmp_path / "a.nc")
    assert run_command("train", *words)[0] == 0
    assert run_command("predict", "run=mine", "output=x.nc", QUIET)[0] == 0
    code, _, err = run_command("predict", "run=mine", "output=x.nc", QUIET)
    assert code == 0
    assert "all 1 slabs are there already" in err
    dataset["sm"][30] = 0.111
    _replace(dataset, tmp_path / "a.nc")
    code, _, err = run_command("predict", "run=mine", "output=x.nc", QUIET)
    assert code == 1
    assert "of another run or of other data" in err
    (tmp_path / "mine" / "metrics.json").unlink()
    dataset["sm"][0] = 0.111
    _replace(dataset, tmp_path / "a.nc")
    code, _, err = run_command("train", "run=mine")
    assert code == 1
    assert "begun on other data" in err


def test_a_failed_prediction_does_not_stand_in_the_way(run_command, tmp_path, plain):
    words = ["model=linear_time", "data=netcdf", "data.path=a.nc", "data.target=sm", QUIET, "hydra.run.dir=mine"]
    dataset = plain(days=60)
    _replace(dataset, tmp_path / "a.nc")
    assert run_command("train", *words)[0] == 0
    for name in ("x.nc", "x.zarr"):
        _replace(dataset.assign(sm=dataset["sm"] * np.nan), tmp_path / "a.nc")
        code, _, err = run_command("predict", "run=mine", f"output={name}", QUIET)
        assert code == 1
        assert "no observed value" in err
        _replace(dataset, tmp_path / "a.nc")
        code, _, err = run_command("predict", "run=mine", f"output={name}", QUIET)
        assert code == 0, err


def test_what_works_but_is_unusual_is_told(run_command, tmp_path, plain):
    plain(days=60, rows=1, columns=1).to_netcdf(tmp_path / "cell.nc")
    words = [*TINY_PCONV, "model.window_days=400", "data=netcdf", "data.path=cell.nc", "data.target=sm", QUIET]
    code, _, err = run_command("train", *words, "hydra.run.dir=mine")
    assert code == 0, err
    for told in ("no dynamic covariates", "a single cell", "the record of 60 days is shorter than a window of 400"):
        assert told in err
    assert "values were hidden to score: the scores are rough" in err
    plain(days=1, rows=1, columns=1, seed=5).fillna(0.2).to_netcdf(tmp_path / "day.nc")
    code, _, err = run_command("predict", "run=mine", "data=netcdf", "data.path=day.nc", "output=x.nc", QUIET)
    assert code == 0, err
    assert "a single day" in err


def test_runs_of_one_name_are_told_apart(run_command, tmp_path):
    for folder in ("a/same", "b/same"):
        words = ["model=climatology", *SMALL_WORLD, QUIET, f"hydra.run.dir={folder}"]
        assert run_command("train", *words)[0] == 0
    code, out, err = run_command("compare", "a/same", "b/same", "reference=b/same")
    assert code == 0, err
    assert "share of b/same" in out
    assert "a/same" in out
    assert "of the validation split\n(kept out of the fit" in out
    assert "never seen" not in out
    code, _, err = run_command("compare", "a/same", "b/same", "reference=same")
    assert code == 1
    assert "reference=same: expected one of the runs, a/same, b/same; 2 fit" in err


def test_runs_with_and_without_covariates_are_comparable(run_command, tmp_path, plain):
    plain(days=60).to_netcdf(tmp_path / "a.nc")
    base = ["model=linear_time", "data=netcdf", "data.path=a.nc", "data.target=sm", QUIET]
    assert run_command("train", *base, "hydra.run.dir=without")[0] == 0
    assert run_command("train", *base, "data.dynamic=[rain]", "hydra.run.dir=with")[0] == 0
    code, _, err = run_command("compare", "with", "without")
    assert code == 0, err


def test_training_settings_are_no_settings_of_predict(run_command, tmp_path):
    assert run_command("train", "model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine")[0] == 0
    for word, message in {
        "trainer.max_epochs=3": "belongs to training",
        "inference.memory_gib=-5": "expected more than 0",
        "max_gap_days=0": "max_gap_days=0: expected whole days, 1 to 364",
        "max_gap_days=1.5": "max_gap_days=1.5: expected int",
        "trainer.devices=0": "expected how many",
        "trainer.memory_gib=1": "belongs to training",
        "trainer.accumulate=3": "belongs to training",
    }.items():
        code, _, err = run_command("predict", "run=mine", "output=x.nc", word)
        assert (code, message in err) == (1, True), err


def test_undeclared_fill_values_are_refused(run_command, tmp_path, plain):
    dataset = plain(days=60)
    words = ["model=linear_time", "data=netcdf", "data.path=a.nc", "data.target=sm", "data.dynamic=[rain]", QUIET]
    _replace(dataset, tmp_path / "a.nc")
    assert run_command("train", *words, "hydra.run.dir=mine")[0] == 0
    for name in ("sm", "rain"):
        _replace(
            dataset.assign({name: dataset[name].fillna(-9999).where(dataset["lat"] < 49, -9999)}), tmp_path / "a.nc"
        )
        for command, more in (("train", words), ("predict", ["run=mine", "output=x.nc", QUIET])):
            code, _, err = run_command(command, *more)
            assert code == 1
            assert f"a.nc: variable '{name}' holds -9999" in err
            assert "a fill value that the file does not declare" in err


def test_a_misspelt_setting_is_named_with_the_nearest(run_command):
    code, _, err = run_command("train", "data=netcdf", "data.dynamc=[rain]")
    assert code == 1
    assert "error: unknown setting 'data.dynamc' (did you mean 'data.dynamic'?)" in err
    code, _, err = run_command("train", "model=xgbost")
    assert code == 1
    assert "xgboost" in err
    assert "provider=" not in err


def test_a_file_for_each_year_by_the_words_of_the_readme(run_command, tmp_path):
    assert run_command("train", "model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine")[0] == 0
    code, _, err = run_command("predict", "run=mine", "output=filled_{year}.nc", QUIET)
    assert code == 0, err
    assert (tmp_path / "filled_2015.nc").exists()


def test_an_unfinished_run_says_how_to_go_on(run_command, tmp_path, monkeypatch):
    from sgdsm.training.callbacks import TrainingHistory

    ended = TrainingHistory.on_train_epoch_end

    def interrupted(self, trainer, module):
        ended(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    words = [*TINY_PCONV, "model.epochs=4", *SMALL_WORLD, QUIET, "hydra.run.dir=cut"]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingHistory, "on_train_epoch_end", interrupted)
        code, _, err = run_command("train", *words)
    assert code == 130
    assert "interrupted: go on with: sgdsm train run=cut" in err
    code, _, err = run_command("predict", "run=cut", "output=x.nc")
    assert code == 1
    assert "its training has not ended; go on with: sgdsm train run=cut" in err
    code, _, err = run_command("train", "run=cut", "model.epochs=5")
    assert code == 1
    assert "take away model.epochs=5" in err
    code, out, err = run_command("train", "run=cut", "trainer.progress=false")
    assert code == 0, err
    assert "resuming after epoch" in err


def test_a_place_outside_is_refused(run_command, tmp_path):
    code, out, err = run_command("train", "model=climatology", *SMALL_WORLD, QUIET)
    filled = _world_of(tmp_path / run_folder(out)).sgdsm.fill(tmp_path / run_folder(out))
    with pytest.raises(sgdsm.CubeError, match="lat=0 lies outside the Dataset"):
        filled.sgdsm.plot_series(lat=0, lon=-120)


def test_evaluate_takes_the_users_own_file(run_command, tmp_path, plain):
    dataset = plain(days=60)
    _replace(dataset, tmp_path / "a.nc")
    words = ["model=linear_time", "data=netcdf", "data.path=a.nc", "data.target=sm", QUIET, "hydra.run.dir=mine"]
    assert run_command("train", *words)[0] == 0
    files = {name: tmp_path / "mine" / "evaluation" / f"{name}.nc" for name in ("filled", "hidden", "visible")}
    with xr.open_dataset(files["visible"]) as shown:
        shown.load().rename(lat="latitude", lon="longitude").to_netcdf(tmp_path / "theirs.nc")
    tables = []
    for visible in (files["visible"], tmp_path / "theirs.nc"):
        code, out, err = run_command(
            "evaluate", f"filled={files['filled']}", f"truth={files['hidden']}", f"visible={visible}"
        )
        assert code == 0, err
        tables.append(out)
    assert tables[0] == tables[1]
    words = [
        f"{key}={files[name]}" for key, name in (("filled", "filled"), ("truth", "hidden"), ("visible", "visible"))
    ]
    more = ["details=true", "maps=new/maps.nc", "realism=new/realism.png", "changed=allow", "weights=area"]
    code, out, err = run_command("evaluate", *words, *more)
    assert code == 0, err
    for expected in (
        "month_0",
        "age_1_day",
        "NSE ",
        "visible values: N ",
        "changed 0.0%",
        "autocorrelation, lag of 1 d",
    ):
        assert expected in out
    assert (tmp_path / "new" / "realism.png").exists()
    with xr.open_dataset(tmp_path / "new" / "maps.nc") as maps:
        assert int(maps["n"].sum()) == int(re.search(r"^all: N (\d+)", out, re.M)[1])
        assert maps.attrs["truth"] == str(files["hidden"])
    code, again, err = run_command("evaluate", "run=mine", "details=true")
    assert code == 0, err
    assert "month_0" in again


def test_a_full_disk_ends_in_one_line_and_is_gone_on_from(run_command, tmp_path, monkeypatch):
    assert run_command("train", "model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine")[0] == 0
    usage = shutil.disk_usage(tmp_path)
    asked = []

    def nearly_full(path):
        asked.append(path)
        return usage._replace(free=2**30 if len(asked) < 3 else 2**20)

    words = ["run=mine", "output=x.nc", "inference.memory_gib=0.0001", QUIET]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", nearly_full)
        code, _, err = run_command("predict", *words)
    assert code == 1
    assert "error: x.nc.parts/slab-00002.chunks: No space left on device (1 MiB free, " in err
    assert len(list((tmp_path / "x.nc.parts").glob("slab-*.chunks"))) == 2
    code, _, err = run_command("predict", *words)
    assert code == 0, err
    assert "resuming: 2 of" in err


def test_a_stack_that_was_interrupted_goes_on_with_the_next_member(run_command, tmp_path, monkeypatch):
    import sgdsm.training.fit

    members = {
        "trees": {"_target_": "sgdsm.models.XGBoost", "gap_draws": 1, "rounds": 5},
        "net": {"_target_": "sgdsm.models.Seamless", "width": 8, "blocks": 1, "window_days": 60, "epochs": 2},
        "line": {"_target_": "sgdsm.models.LinearTime"},
    }
    (tmp_path / "mine" / "model").mkdir(parents=True)
    spec = {"_target_": "sgdsm.models.Stack", "members": members}
    (tmp_path / "mine" / "model" / "three.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    words = ["--config-dir=mine", "model=three", *SMALL_WORLD, QUIET]
    code, _, err = run_command("train", *words, "hydra.run.dir=whole")
    assert code == 0, err
    assert "weights: trees " in err
    saved = sgdsm.training.fit.save_filler

    def dying(filler, path):
        saved(filler, path)
        if path.parent.name == "net":
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(sgdsm.training.fit, "save_filler", dying)
        code, _, err = run_command("train", *words, "hydra.run.dir=cut")
    assert (code, "power cut" in err) == (1, True)
    code, _, err = run_command("train", "run=cut")
    assert code == 0, err
    assert "member 3 of 3: line" in err
    assert "member 1 of 3" not in err
    a, b = (torch.load(tmp_path / name / "model.ckpt", weights_only=True)["state"] for name in ("whole", "cut"))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not list(tmp_path.glob("whole/members/*/last.ckpt"))


def test_scores_of_a_random_split_say_that_it_leaks(run_command):
    code, out, err = run_command("train", "model=linear_time", "splits=random", *SMALL_WORLD, QUIET)
    assert code == 0, err
    assert "test split (single values at random: it leaks, values around them were learned from)" in out


def test_two_programs_do_not_write_at_once(run_command, tmp_path):
    from sgdsm.core.lock import exclusive

    words = ["model=climatology", *SMALL_WORLD, QUIET, "hydra.run.dir=mine"]
    with exclusive(tmp_path / "mine"):
        code, _, err = run_command("train", *words)
    assert code == 1
    assert "mine: another program is writing there" in err
    assert run_command("train", *words)[0] == 0
    with exclusive(tmp_path / "filled.nc"):
        code, _, err = run_command("predict", "run=mine", "output=filled.nc", QUIET)
    assert code == 1
    assert "filled.nc: another program is writing there" in err
    assert run_command("predict", "run=mine", "output=filled.nc", QUIET)[0] == 0
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize(
    "words", [["train", "-m", "model.width=4,8", "model=seamless"], ["compare", "experiment=demo"]]
)
def test_several_devices_are_for_single_runs(run_command, words):
    code, _, err = run_command(*words, "trainer.devices=2", "trainer.accelerator=cpu")
    assert code == 1
    assert "trainer.devices=2: for single runs" in err
