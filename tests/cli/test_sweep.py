"""Sweeps: what a run ends with, which is best, and what becomes of those that fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from sgdsm.cli.commands import load
from sgdsm.core.settings import made
from sgdsm.evaluation.protocol import HIDDEN, VISIBLE
from sgdsm.sources.simulation.world import simulate
from tests.conftest import BLOCKS, SMALL_WORLD, TINY_PCONV, TINY_TREES, composed, run_folder

pytestmark = pytest.mark.slow

QUIET = "trainer.progress=false"


def objectives(folder: Path) -> list[float]:
    runs = sorted(folder.glob("*/metrics.json"), key=lambda path: int(path.parent.name.split("_")[0]))
    return [json.loads(path.read_text())["validation_rmse"] for path in runs]


def test_tune_finds_the_smallest_validation_score_and_goes_on(run_command, tmp_path):
    pytest.importorskip("optuna")
    words = ["trials=3", "startup_trials=2", *TINY_TREES, *SMALL_WORLD, *BLOCKS, QUIET, "model.max_depth=int(2,8)"]
    code, out, err = run_command("tune", *words, "output=a")
    assert code == 0, err
    scores = {
        path.parent.name: json.loads(path.read_text())["validation_rmse"] for path in tmp_path.glob("a/*/metrics.json")
    }
    assert len(scores) == 3
    assert len(set(scores.values())) > 1
    best = min(scores, key=scores.get)
    depth = yaml.safe_load((tmp_path / "a" / best / "config.yaml").read_text())["model"]["max_depth"]
    assert f"best of 3: validation RMSE {scores[best]:.6f}, {Path('a', best)}\nmodel.max_depth={depth}" in out
    rows = (tmp_path / "a" / "trials.csv").read_text().splitlines()
    assert rows[0] == "trial,validation_rmse,model.max_depth"
    assert len(rows) == 4
    # what is finished is kept, and proposes the same again
    shutil.rmtree(tmp_path / "a" / "trial_002")
    code, _, err = run_command("tune", *words, "output=a")
    assert code == 0, err
    assert err.count("finished already") == 2
    assert (tmp_path / "a" / "trials.csv").read_text().splitlines() == rows


def test_tune_leaves_out_what_fails_where_it_is_told_to(run_command, tmp_path):
    pytest.importorskip("optuna")
    words = ["trials=4", "model=climatology", "splits.fraction=choice(0.05,2)", *SMALL_WORLD, QUIET]
    code, _, err = run_command("tune", *words, "output=a")
    assert code == 1
    assert "splits.fraction=2: expected a share" in err.splitlines()[-1]
    code, out, err = run_command("tune", *words, "output=b", "on_failure=skip")
    assert code == 0, err
    assert "splits.fraction=2: expected a share" in err
    assert 0 < len(list(tmp_path.glob("b/*/metrics.json"))) < 4
    assert "splits.fraction=0.05" in out.splitlines()[-1]


@pytest.mark.parametrize("word", ["model.max_depth=int(8,2)", "model.max_depth=int(a,b)", "model.max_depth=int(2)"])
def test_a_range_that_is_none_is_refused(run_command, word):
    code, _, err = run_command("tune", *TINY_TREES, word, "output=a")
    assert code == 1
    assert f"{word}: expected int(a,b), float(a,b), logint(a,b), log(a,b) or choice(a,b)" in err


def test_test_values_do_not_change_what_is_minimised(run_command, tmp_path):
    world = simulate(rows=10, columns=14, days=150)
    names = ["data.dynamic=[precipitation,air_temperature]", "data.static=[clay]", "data.land=land"]
    words = [*TINY_TREES, *BLOCKS, "data=netcdf", "data.target=sm", *names, QUIET]
    world.drop_attrs().to_netcdf(tmp_path / "a.nc")
    sweep = ["-m", "model.max_depth=2,6"]
    code, out, err = run_command("train", *sweep, *words, "data.path=a.nc", "hydra.sweep.dir=a")
    assert code == 0, err
    import xarray as xr

    evaluation = tmp_path / "a" / "0_xgboost" / "evaluation"
    with xr.open_dataset(evaluation / HIDDEN) as question, xr.open_dataset(evaluation / VISIBLE) as shown:
        masks = [question[name].values.astype(bool) for name in ("swath", "outage")]
        test = np.logical_or.reduce([*masks, np.zeros_like(masks[0])])
        assert not np.isfinite(shown["sm"].values[test]).any()
    changed = world.copy(deep=True)
    changed["sm"].values[test] = np.random.default_rng(0).random(test.sum())
    changed.drop_attrs().to_netcdf(tmp_path / "b.nc")
    code, out, err = run_command("train", *sweep, *words, "data.path=b.nc", "hydra.sweep.dir=b")
    assert code == 0, err
    assert objectives(tmp_path / "a") == objectives(tmp_path / "b")
    results = [json.loads((tmp_path / s / "0_xgboost" / "metrics.json").read_text())["classes"]["all"] for s in "ab"]
    assert results[0]["rmse"] != results[1]["rmse"]


def test_a_run_that_fails_ends_the_sweep_in_one_line(run_command, tmp_path):
    words = ["-m", "model=climatology", "splits.fraction=0.05,2", *SMALL_WORLD, QUIET, "hydra.sweep.dir=a"]
    code, out, err = run_command("train", *words)
    assert code == 1
    told = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(told) == 1
    assert told[0].startswith("error: run 1 (model=climatology splits.fraction=2 ")
    assert told[0].endswith("splits.fraction=2: expected a share between 0 and 0.5")
    assert objectives(tmp_path / "a")
    assert not (tmp_path / "a" / "1_climatology").exists()


@pytest.mark.parametrize("experiment", ["tune_xgboost", "tune_forest"])
def test_what_the_experiments_tune_is_there(experiment):
    values = composed("tune", f"experiment={experiment}")
    assert values["splits"]["_target_"] == "sgdsm.data.Blocks"
    assert all(key.split(".")[1] in values["model"] for key in made(load("tune").Settings, values).ranges())


MEMBERS = {"line": "sgdsm.models.LinearTime", "cycle": "sgdsm.models.Climatology"}
TINY_STACK = ["--config-dir=mine", "model=two"]


@pytest.mark.parametrize("model", [["model=linear_time"], TINY_TREES, TINY_STACK, TINY_PCONV], ids=lambda m: m[-1])
def test_every_run_ends_with_its_score_at_the_validation_values(run_command, tmp_path, model):
    """Under splits=all these are the values that a run is scored at, so the two must agree."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    stack = {"_target_": "sgdsm.models.Stack", "members": {k: {"_target_": v} for k, v in MEMBERS.items()}}
    (tmp_path / "mine" / "model" / "two.yaml").write_text(yaml.safe_dump(stack))
    code, out, err = run_command("train", *model, *SMALL_WORLD, QUIET, "uncertainty=none")
    assert code == 0, err
    run = tmp_path / run_folder(out)
    metrics = json.loads((run / "metrics.json").read_text())
    # the windows of a network with an endless reach overlap, and are blended in filling only
    near = 0.05 if model is TINY_PCONV else 1e-4
    assert metrics["validation_rmse"] == pytest.approx(metrics["classes"]["all"]["rmse"], rel=near)
    if model is TINY_PCONV:
        epochs = np.genfromtxt(run / "training.csv", delimiter=",", names=True)["validation_rmse"]
        assert metrics["validation_rmse"] == pytest.approx(epochs.min(), rel=1e-5)
