"""What a user looks for first: the name of the run, the version, the RMSE with interval and units."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import sgdsm
from sgdsm.cli.overrides import with_default_model
from sgdsm.evaluation.metrics import bootstrap
from sgdsm.evaluation.protocol import SCORES
from sgdsm.evaluation.score import Scores
from sgdsm.training.run import Run
from tests.conftest import BLOCKS, SMALL_WORLD

QUICK = ["model=climatology", "trainer.progress=false"]


def test_the_shell_takes_model_auto_where_nothing_is_said_about_the_model():
    assert with_default_model(["data=netcdf", "data.path=model.nc"]) == [
        "data=netcdf",
        "data.path=model.nc",
        "model=auto",
    ]
    for word in (
        "model=pconv3d",
        "model.steps=5",
        "+model.few.rounds=5",
        "experiment=demo",
        "run=runs/a",
        "--help",
        "--cfg=job",
    ):
        assert with_default_model([word]) == [word]


@pytest.mark.slow
def test_runs_have_names_and_scores_have_intervals_and_units(run_command, tmp_path):
    code, out, err = run_command("train", *QUICK, *SMALL_WORLD, *BLOCKS, "name=first")
    assert code == 0, err
    assert out.strip().endswith("run: runs/first")
    code, again, err = run_command("train", *QUICK, *SMALL_WORLD, *BLOCKS, "model=linear_time", "output=my runs")
    assert code == 0, err
    assert again.strip().endswith("run: my runs")
    run = Run(tmp_path / "runs" / "first")
    rmse, lower, upper = bootstrap(Scores.load(run.evaluation / SCORES).units())
    line = f"RMSE {rmse:#.3g} m3 m-3, 95 % interval {lower:#.3g} to {upper:#.3g} (N {run.scores['all']['n']:.0f})"
    assert line in out
    assert lower < rmse < upper
    files = {key: run.evaluation / f"{name}.nc" for key, name in (("filled", "filled"), ("truth", "hidden"))}
    words = [f"{key}={path}" for key, path in files.items()]
    code, out, err = run_command("evaluate", *words, f"visible={run.evaluation / 'visible.nc'}")
    assert code == 0, err
    assert re.search(r"^RMSE 0\.\d+ m3 m-3", out, re.MULTILINE)
    # the names are those of the tables
    table = sgdsm.compare([run, tmp_path / "my runs"], reference="first")
    assert set(table.index) == {"first", "my runs"}
    assert not table.loc["first", "beyond_chance"]
    assert table.loc["my runs", "difference"] == pytest.approx(table["rmse"]["my runs"] - table["rmse"]["first"])
    named = sgdsm.compare({"mean": run, "line": tmp_path / "my runs"})
    outside = (named["lower"] > 0) | (named["upper"] < 0)
    assert named.loc["line", "beyond_chance"] == outside["line"]
    with pytest.raises(sgdsm.ConfigError, match="reference=other: expected one of the runs, first, my runs"):
        sgdsm.compare([run, tmp_path / "my runs"], reference="other")
    code, _, err = run_command("train", *QUICK, *SMALL_WORLD, "name=first")
    assert code == 1
    assert "runs/first holds a run already" in err


@pytest.mark.slow
def test_what_chose_nothing_is_not_said_to_have_chosen_the_epochs(run_command):
    _, out, err = run_command("train", *QUICK, *SMALL_WORLD, "name=plain")
    assert "kept out of the fit, but choices may rest on them: not a test" in out, err


@pytest.mark.parametrize("words", [["name=a/b"], ["name="], ["name=x", "output=y"], ["output=null"]])
def test_names_that_cannot_be(run_command, tmp_path, words):
    code, _, err = run_command("train", *QUICK, *words)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert words[0] in err
    assert not list(tmp_path.iterdir())


def test_the_version(run_command):
    assert run_command("train", "--version")[:2] == (0, f"sgdsm {sgdsm.__version__}\n")


def test_the_public_names_are_listed():
    assert {*sgdsm.__all__, "models", "__version__"} <= set(dir(sgdsm))
    assert all(hasattr(sgdsm, name) for name in sgdsm.__all__)


def test_a_filled_dataset_keeps_the_order_of_its_rows(plain, tmp_path, capsys):
    own = plain(days=60).rename(lat="latitude")
    turned = own.sortby("latitude")
    run = sgdsm.train(
        own, model="climatology", target="sm", folder=tmp_path / "run", overrides=["trainer.progress=false"]
    )
    there, back = sgdsm.fill(own, run), sgdsm.fill(turned, run)
    assert there["lat"].values[0] > there["lat"].values[-1]
    np.testing.assert_array_equal(back["lat"].values, turned["latitude"].values)
    np.testing.assert_array_equal(back["sm_filled"].values, there["sm_filled"].values[:, ::-1])
    np.testing.assert_array_equal(back["land"].values, there["land"].values[::-1])
    assert "Predicting" not in "".join(capsys.readouterr())
    sgdsm.fill(own, run, progress=True)
    assert "Predicting" in "".join(capsys.readouterr())
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["units"] == "m3 m-3"
