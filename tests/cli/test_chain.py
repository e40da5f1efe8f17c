from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from sgdsm.cli.commands import chain as chaining
from sgdsm.cli.commands import predict as predict_command
from sgdsm.cli.commands import train as train_command
from sgdsm.core.errors import CubeError
from sgdsm.evaluation.anomalies import score_file, score_run
from sgdsm.evaluation.protocol import FILLED, HIDDEN, VISIBLE
from sgdsm.training.compose import config_folder
from sgdsm.training.run import file_digest
from tests.conftest import in_process

pytestmark = pytest.mark.slow

DATES = (
    "data.sensors.amsr_e_until='2010-12-01' data.sensors.smos_from='2010-08-01' data.sensors.amsr2_from='2011-01-01'"
)
WORLD = f"data.rows=6 data.columns=8 data.days=900 data.start='2010-01-01' {DATES} data.sensors.smap_from='2011-06-01'"
TINY = "model.width=4 model.layers=1 model.samples=1 model.epochs=1"
OPEN = "data=netcdf data.path={here}/world.nc data.target=sm data.land=land"
CHAIN = f"""# @package _global_
defaults:
  - override /data: sensor_world
  - override /model: casm
  - override /splits: blocks
data: {{path: world.nc}}
trainer: {{progress: false}}
model: {{width: 8, layers: 2, samples: 2, epochs: 1}}
chain:
  world: data=sensor_world data.path={{here}}/world.nc {WORLD}
  steps:
    amsr: train {OPEN} data.dynamic=[tb_10h,tb_36v]
    smos: train {OPEN} data.dynamic=[tb_1h,tb_1v] splits=random
    teacher: predict run={{smos}} time='2010-08-01:' output={{here}}/teacher.nc
    pupil: >-
      train data=pseudo_labelled data.path={{here}}/world.nc data.filled={{here}}/teacher.nc data.where=tb_1h
      data.land=land
      data.dynamic=[tb_10h,tb_36v] model.start_from={{amsr}} model.frozen=1
    early: >-
      predict run={{pupil}} {OPEN} data.dynamic=[tb_10h,tb_36v] time=':2010-07-31' output={{here}}/early.nc
  scores:
    "AMSR, blocks": run={{amsr}}
    early: filled={{here}}/early.nc truth={{here}}/world.nc variable=sm_held_back where=tb_10h cycle={{amsr}}
"""


def experiment(tmp_path, text: str) -> list[str]:
    (tmp_path / "mine" / "experiment").mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    return ["--config-dir=mine", "experiment=mine", "output=some where"]


@pytest.fixture(scope="module")
def chained(tmp_path_factory) -> tuple[Path, str]:
    """A folder with a chain that was interrupted and has gone on; and what it then said."""
    folder, said = tmp_path_factory.mktemp("chain"), io.StringIO()
    words = experiment(folder, CHAIN)

    def stop(config):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as broken, contextlib.redirect_stderr(said):
        broken.setattr(predict_command, "run", stop)
        with pytest.raises(SystemExit) as ended:
            in_process(folder, "chain", *words)
    assert ended.value.code == 130
    assert "go on with the same words and output=some where" in said.getvalue()
    with pytest.MonkeyPatch.context() as patch:
        trained = trainings(patch)
        out = in_process(folder, "chain", *words)
    assert trained == ["pupil"], "what was finished is kept"
    return folder, out


def trainings(patch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained from now on."""
    trained: list[str] = []
    train_in = train_command.train_in
    patch.setattr(train_command, "train_in", lambda c, f, **kw: trained.append(f.name) or train_in(c, f, **kw))
    return trained


def test_a_chain_runs_scores_and_goes_on(chained, run_command, tmp_path, monkeypatch):
    out = chained[1]
    shutil.copytree(chained[0], tmp_path, dirs_exist_ok=True)
    words, trained = experiment(tmp_path, CHAIN), trainings(monkeypatch)
    folder = tmp_path / "some where"
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    assert list(scores) == ["AMSR, blocks", "early"]
    assert all(np.isfinite(value) for row in scores.values() for value in row.values())
    assert (folder / "scores.txt").read_text().strip() in out
    # where the teacher did not look, the pupil has learned nothing
    with xr.open_dataset(folder / "pupil" / "evaluation" / HIDDEN) as hidden:
        assert not np.isfinite(hidden["truth"].sel(time=slice(None, "2010-07-25"))).any()
    again = run_command("chain", *words)
    assert again[0] == 0
    assert trained == []
    # a blocked score agrees with that of the run
    metrics = json.loads((folder / "amsr" / "metrics.json").read_text())["classes"]["all"]
    assert scores["AMSR, blocks"]["rmse"] == pytest.approx(metrics["rmse"], rel=1e-5)
    assert scores["AMSR, blocks"]["r"] == pytest.approx(metrics["r"], rel=1e-5)
    # weights and targets of the pupil come from other runs, which other splits bound
    kinds = {name: json.loads((folder / name / "metrics.json").read_text())["protocol"] for name in ("amsr", "pupil")}
    assert "learned_from" not in kinds["amsr"]
    assert kinds["pupil"]["learned_from"] == {
        "weights": file_digest(folder / "amsr" / "model.ckpt"),
        "targets": xr.open_dataset(folder / "teacher.nc").attrs["sgdsm_plan"],
    }
    assert "the test split (weights and targets came from another run, which may have seen them: not a test)" in out
    assert "never seen" not in out
    code, out, err = run_command("evaluate", f"run={folder / 'pupil'}")
    assert code == 0, err
    assert "never seen" not in out
    changed = experiment(tmp_path, CHAIN.replace("frozen=1", "frozen=2"))
    code, _, err = run_command("chain", *changed)
    assert code == 1
    assert "holds a run with other settings" in err


def test_a_training_that_began_with_other_files_is_not_finished(chained, run_command, tmp_path, monkeypatch):
    shutil.copytree(chained[0], tmp_path, dirs_exist_ok=True)
    words, folder, trained = experiment(tmp_path, CHAIN), tmp_path / "some where", trainings(monkeypatch)
    code, _, err = run_command("chain", *words, "data.seed=1")
    assert code == 1
    assert "world.nc: made with seed=0, expected 1" in err
    for old in ("smos", "teacher.nc"):
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, _, err = run_command("chain", *words)
    assert code == 0, err
    assert trained == ["smos"], "the same teacher as before"
    shutil.rmtree(folder / "smos")
    other = experiment(tmp_path, CHAIN.replace("splits=random", "splits=random splits.seed=1"))
    code, _, err = run_command("chain", *other)
    assert code == 1
    assert "teacher.nc exists and is of another run" in err
    (folder / "teacher.nc").unlink()
    code, _, err = run_command("chain", *other)
    assert code == 1
    assert f"{Path('some where', 'pupil')} was begun with other files than are there now: remove it" in err
    assert f"({Path('some where', 'teacher.nc')})" in err


ONE = f"""# @package _global_
defaults:
  - override /data: sensor_world
  - override /splits: blocks
data: {{path: world.nc}}
trainer: {{progress: false}}
chain:
  world: data=sensor_world data.path={{here}}/world.nc data.rows=6
  steps:
    flat: train {OPEN} model=climatology
    cells: train {OPEN} data.dynamic=[tb_10h] model=casm splits.hidden=0.6 {TINY}
"""


def test_words_of_the_data_change_the_world_and_others_every_training(run_command, tmp_path):
    words = experiment(tmp_path, ONE)
    small = ["data.columns=8", "data.days=900", "data.start='2013-01-01'"]
    code, _, err = run_command("chain", *words, *small, "data.seed=1", "seed=3", "splits.block_days=40")
    assert code == 0, err
    folder = tmp_path / "some where"
    with xr.open_dataset(folder / "world.nc") as world:
        made = json.loads(world.attrs["simulated_with"])
    assert (made["seed"], made["columns"], made["rows"], made["start"]) == (1, 8, 6, "2013-01-01")
    for name in ("flat", "cells"):
        config = yaml.safe_load((folder / name / "config.yaml").read_text())
        assert (config["seed"], config["splits"]["block_days"]) == (3, 40)
        assert config["data"]["_target_"] == "sgdsm.open_cube"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.path=mine.nc", "data.path=mine.nc: chain.world says data.path=some where/world.nc itself"),
        ("data.rows=7", "data.rows=7: chain.world says data.rows=6 itself"),
        ("splits.hidden=0.3", "splits.hidden=0.3: chain.steps.cells says splits.hidden=0.6 itself"),
        ("model.wdith=8", "unknown setting 'model.wdith'"),
        ("model.width=8", "chain.steps.flat: there is no setting 'model.width' here"),
        ("splits=all", "chain.steps.cells: there is no setting 'splits.hidden' here"),
    ],
)
def test_words_that_would_be_lost_or_cannot_work_are_refused(run_command, tmp_path, word, message):
    code, _, err = run_command("chain", *experiment(tmp_path, ONE), word)
    assert code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "some where").exists()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("run={flat}x", "expected a train step of the chain"),
        ("run={guess}", "expected a train step of the chain"),
        ("filled={here}/guess.nc truth=t variable=v where=w cycle={guess}", "guess: expected a train step"),
        ("filled={here}/gess.nc truth=t variable=v where=w cycle={flat}", "gess.nc: expected an output of the chain"),
    ],
)
def test_scores_are_checked_before_the_first_step(run_command, tmp_path, score, message):
    text = ONE + f"    guess: predict run={{flat}} output={{here}}/guess.nc\n  scores: {{x: '{score}'}}\n"
    code, _, err = run_command("chain", *experiment(tmp_path, text))
    assert code == 1
    assert "chain.scores.x: " in err
    assert message in err
    assert not (tmp_path / "some where").exists()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("{}", "chain.steps is empty"),
        ("{a: train model=casm data.path={b}}", "{b} is no earlier step"),
        ("{a: paint it}", "'paint' is no step; expected train, predict, correct fit, correct apply"),
        ("{a: train model.widht=3}", "widht"),
    ],
)
def test_a_chain_that_cannot_work_is_refused_before_it_begins(run_command, tmp_path, steps, message):
    steps = steps if steps == "{}" else "{a: '" + steps[4:-1] + "'}"
    code, _, err = run_command("chain", *experiment(tmp_path, f"# @package _global_\nchain:\n  steps: {steps}\n"))
    assert code == 1
    assert message in err
    assert not (tmp_path / "some where").exists()


def test_a_score_names_what_it_needs(run_command, tmp_path):
    text = "# @package _global_\nchain:\n  steps: {a: train model=climatology}\n  scores: {x: filled=y.nc}\n"
    code, _, err = run_command("chain", *experiment(tmp_path, text))
    assert code == 1
    assert "expected run=, or cycle=, filled=" in err
    code, _, err = run_command("chain")
    assert code == 1
    assert "give experiment=NAME" in err


def test_the_residual_is_what_the_cycle_does_not_explain(tmp_path):
    """An estimate that is nothing but the cycle is good in the full signal and worthless in the residual."""
    rng = np.random.default_rng(0)
    days = np.arange(730)
    cycle = 0.1 * np.sin(2 * np.pi * days / 365.2425)[:, None, None] * np.ones((1, 3, 4))
    truth = 0.3 + cycle + 0.02 * rng.standard_normal(cycle.shape)
    coords = {"time": xr.date_range("2015-01-01", periods=730), "lat": [3.0, 2.0, 1.0], "lon": np.arange(4.0)}
    dims = ("time", "lat", "lon")
    test = np.zeros(truth.shape, bool)
    test[300:420] = True
    xr.Dataset({"truth": (dims, truth), "swath": (dims, test)}, coords).to_netcdf(tmp_path / HIDDEN)
    xr.Dataset({"learned": (dims, ~test)}, coords).to_netcdf(tmp_path / VISIBLE)
    noise = 0.002 * rng.standard_normal(truth.shape)
    for share, low, high in ((0.0, -0.1, 0.1), (1.0, 0.98, 1.0)):
        estimate = 0.3 + cycle + share * (truth - 0.3 - cycle) + noise
        xr.Dataset({"sm_filled": (dims, estimate)}, coords).to_netcdf(tmp_path / FILLED)
        found = score_run(tmp_path)
        assert found["r"] > 0.8
        assert low < found["r_residual"] < high
        assert found["n"] == test.sum()
    xr.Dataset({"sm_filled": (dims, estimate)}, coords).isel(time=slice(100)).to_netcdf(tmp_path / "part.nc")
    seen = np.where(rng.random(truth.shape) < 0.5, 250.0, np.nan)
    xr.Dataset({"sm": (dims, truth), "tb": (dims, seen)}, coords).to_netcdf(tmp_path / "world.nc")
    found = score_file(tmp_path / "part.nc", tmp_path / "world.nc", "sm", "tb", tmp_path)
    assert found["n"] == np.isfinite(seen[:100]).sum()
    assert found["r_residual"] > 0.98
    # a value that is due and missing is an error, not one value less
    holes = estimate[:100].copy()
    holes[tuple(np.argwhere(np.isfinite(seen[:100]))[:3].T)] = np.nan
    part = xr.Dataset({"sm_filled": (dims, estimate)}, coords).isel(time=slice(100))
    part.assign(sm_filled=(dims, holes)).to_netcdf(tmp_path / "holes.nc")
    with pytest.raises(CubeError, match=f"no value at 3 of the {found['n']:.0f} values"):
        score_file(tmp_path / "holes.nc", tmp_path / "world.nc", "sm", "tb", tmp_path)
    estimate[310, 1, 1] = np.nan
    xr.Dataset({"sm_filled": (dims, estimate)}, coords).to_netcdf(tmp_path / FILLED)
    with pytest.raises(CubeError, match=f"no value at 1 of the {test.sum()} values"):
        score_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.sel(lat=d["lat"][::-1]), "'lat' differs"),
        (lambda d: d.assign_coords(lon=d["lon"] + 40), "'lon' differs"),
        (lambda d: d.rename(lat="y", lon="x"), "expected .*'lat', 'lon'"),
    ],
)
def test_scores_are_taken_on_one_grid(tmp_path, change, message):
    rng = np.random.default_rng(0)
    shape, dims = (400, 3, 4), ("time", "lat", "lon")
    coords = {"time": xr.date_range("2015-01-01", periods=400), "lat": [3.0, 2.0, 1.0], "lon": np.arange(4.0)}
    truth, learned = rng.random(shape), rng.random(shape) < 0.5
    own = xr.Dataset({"sm_filled": (dims, truth + 0.1)}, coords)
    hidden = xr.Dataset({"truth": (dims, truth), "swath": (dims, ~learned)}, coords)
    (tmp_path / "run").mkdir()
    hidden.to_netcdf(tmp_path / "run" / HIDDEN)
    xr.Dataset({"learned": (dims, learned)}, coords).to_netcdf(tmp_path / "run" / VISIBLE)
    xr.Dataset({"sm": (dims, truth), "tb": (dims, truth)}, coords).to_netcdf(tmp_path / "world.nc")
    own.to_netcdf(tmp_path / "good.nc")
    assert score_file(tmp_path / "good.nc", tmp_path / "world.nc", "sm", "tb", tmp_path / "run")["n"] == truth.size
    change(own).to_netcdf(tmp_path / "other.nc")
    change(own).to_netcdf(tmp_path / "run" / FILLED)
    with pytest.raises(CubeError, match=message):
        score_file(tmp_path / "other.nc", tmp_path / "world.nc", "sm", "tb", tmp_path / "run")
    with pytest.raises(CubeError, match=message):
        score_run(tmp_path / "run")
    # and the cycle that is taken off
    change(hidden).to_netcdf(tmp_path / "run" / HIDDEN)
    with pytest.raises(CubeError, match=message):
        score_file(tmp_path / "good.nc", tmp_path / "world.nc", "sm", "tb", tmp_path / "run")


SMALL = ["data.path=world.nc", "splits=blocks", "splits.block_days=20", "splits.separation_days=6"]
SMALL += [
    "model=casm",
    "model.width=4",
    "model.layers=1",
    "model.samples=1",
    "model.epochs=1",
    "trainer.progress=false",
]


def test_a_start_from_another_run_is_another_protocol(run_command, tmp_path, plain):
    plain(200, 6, 7).to_netcdf(tmp_path / "world.nc")
    words = [*SMALL, "data=netcdf", "data.target=sm", "data.dynamic=[rain]"]
    for name, more in {"first": ["splits.seed=1"], "fresh": [], "taken": ["model.start_from=first"]}.items():
        code, out, err = run_command("train", *words, *more, f"hydra.run.dir={name}")
        assert code == 0, err
        assert ("never seen in training" in out) == (name != "taken")
    code, out, err = run_command("compare", "fresh", "taken", "output=both")
    assert code == 1
    assert f"learned_from None and {{'weights': '{file_digest(tmp_path / 'first' / 'model.ckpt')}'}}" in err
    code, out, err = run_command("compare", "taken", "output=one")
    assert code == 0, err
    assert "(weights came from another run, which may have seen them: not a test)" in out
    # scored again when the run that it started from is gone
    (tmp_path / "first").rename(tmp_path / "away")
    code, out, err = run_command("evaluate", "run=taken")
    assert code == 0, err
    assert "weights came from another run" in out


@pytest.mark.parametrize("name", ["sensor_world", "simulate_store"])
def test_the_data_of_a_run_are_opened_and_never_made(run_command, tmp_path, plain, name):
    """A run may be a stranger's: what its configuration names is not written."""
    plain(200, 6, 7).to_netcdf(tmp_path / "world.nc")
    words = [*SMALL, "data=netcdf", "data.target=sm", "data.dynamic=[rain]", "hydra.run.dir=run"]
    code, _, err = run_command("train", *words)
    assert code == 0, err
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"] = yaml.safe_load((config_folder() / "data" / f"{name}.yaml").read_text())
    file = f"made{'.nc' if name == 'sensor_world' else '.zarr'}"
    config["data"] |= {"path": file, "rows": 4, "columns": 5, "days": 40, "start": "2015-04-01"}
    path.write_text(yaml.safe_dump(config))
    (tmp_path / "run" / "metrics.json").rename(tmp_path / "metrics.json")
    resumed = run_command("train", "run=run")
    (tmp_path / "metrics.json").rename(tmp_path / "run" / "metrics.json")
    for code, _, err in (
        resumed,
        run_command("evaluate", "run=run"),
        run_command("predict", "run=run", "output=filled.nc"),
    ):
        assert code == 1
        assert f"data.path={file}: no such file; the data of a run are opened, never made" in err
    assert not list(tmp_path.glob("made*"))


def test_the_shipped_chain_is_planned_with_another_world(run_command, monkeypatch):
    made = []

    def stop(settings, kind):
        made.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(chaining, "build", stop)
    code, _, err = run_command("chain", "experiment=casm_chain", "output=casm", "data.seed=1", "trainer.progress=false")
    assert code == 130, err
    assert (made[0]["seed"], made[0]["path"]) == (1, "casm/world.nc")
    code, _, err = run_command("chain", "experiment=casm_chain", "output=casm", "splits.hidden=0.3")
    assert code == 1
    assert "splits.hidden=0.3: chain.steps.smos says splits.hidden=0.8 itself" in err
