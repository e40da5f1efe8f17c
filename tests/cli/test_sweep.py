"""Sweeps: what a run ends with, which is best, and what becomes of those that fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from sgdsm.evaluation.protocol import HIDDEN, VISIBLE
from sgdsm.sources.simulation.world import simulate
from tests.conftest import BLOCKS, SMALL_WORLD, TINY_PCONV, TINY_TREES, run_folder

QUIET = "trainer.progress=false"
TUNE = ["-m", "hydra/sweeper=tune", "hydra.sweeper.n_trials=3", "model.max_depth=int(interval(2,8))"]


def objectives(folder: Path) -> list[float]:
    runs = sorted(folder.glob("*/metrics.json"), key=lambda path: int(path.parent.name.split("_")[0]))
    return [json.loads(path.read_text())["validation_rmse"] for path in runs]


def test_a_sweep_minimises_the_validation_score_and_tells_the_best(run_command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = [*TUNE, *TINY_TREES, *SMALL_WORLD, *BLOCKS, QUIET]
    code, out, err = run_command("train", *words, "hydra.sweep.dir=a")
    assert code == 0, err
    scores = objectives(tmp_path / "a")
    assert len(scores) == 3
    assert len(set(scores)) > 1
    found = yaml.safe_load((tmp_path / "a" / "optimization_results.yaml").read_text())
    assert found["best_value"] == min(scores)
    last = out.strip().splitlines()[-1]
    assert last.startswith(f"best of 3 runs: validation RMSE {min(scores):.6f}, a/{np.argmin(scores)}_xgboost: ")
    assert f"model.max_depth={found['best_params']['model.max_depth']} model=xgboost" in last
    # its seed draws the same runs again
    code, out, err = run_command("train", *words, "hydra.sweep.dir=b")
    assert code == 0, err
    assert objectives(tmp_path / "b") == scores


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


def test_a_sweep_can_leave_failing_runs_out(run_command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    choices = "splits.fraction=choice(0.05,2)"
    words = ["-m", "hydra/sweeper=tune", "hydra.sweeper.n_trials=5", "hydra.sweeper.max_failure_rate=1.0", choices]
    code, out, err = run_command("train", *words, "model=climatology", *SMALL_WORLD, QUIET, "hydra.sweep.dir=a")
    assert code == 0, err
    assert "splits.fraction=2: expected a share" in err
    scores = objectives(tmp_path / "a")
    assert 0 < len(scores) < 5
    assert out.strip().splitlines()[-1].startswith(f"best of {len(scores)} runs: validation RMSE {min(scores):.6f}")


@pytest.mark.parametrize("experiment", ["tune_xgboost", "tune_forest"])
def test_what_the_experiments_tune_is_there(experiment):
    from hydra import compose, initialize_config_dir

    from sgdsm.training.config import config_folder

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", [f"experiment={experiment}"], return_hydra_config=True)
    assert config.splits._target_ == "sgdsm.data.Blocks"
    assert all(f"{key}".split(".")[1] in config.model for key in config.hydra.sweeper.params)


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
