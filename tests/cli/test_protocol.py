"""Questions from `sgdsm protocol` to scores, and hold-outs that are repeated."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import open_dataset
from tests.conftest import SMALL_WORLD

pytestmark = pytest.mark.slow

QUIET = "trainer.progress=false"
ASKED = ["protocol", *SMALL_WORLD, "scenarios=[swath,unseen_cells]"]


@pytest.fixture
def asked(run_command, tmp_path):
    """A folder with two questions."""
    code, out, err = run_command(*ASKED, "output=q")
    assert code == 0, err
    assert "swath" in out
    return tmp_path / "q"


def test_questions_are_files_that_anybody_can_fill(run_command, asked, tmp_path):
    record = json.loads((asked / "protocol.json").read_text())
    assert sorted(path.name for path in asked.iterdir()) == ["README.txt", "protocol.json", "swath", "unseen_cells"]
    with open_dataset(asked / "swath/hidden.nc") as hidden, open_dataset(asked / "swath/visible.nc") as visible:
        masks, truth, shown = hidden["swath"].values, hidden["truth"].values, visible["sm"].values
        assert hidden.attrs["digest"] == visible.attrs["digest"] == record["scenarios"]["swath"]["digest"]
        assert hidden.attrs["seed"] == 0
        assert hidden["truth"].attrs["units"] == "m3 m-3"
        assert {"precipitation", "elevation", "land"} <= set(visible)
    assert masks.sum() == record["scenarios"]["swath"]["hidden"]
    assert np.isnan(shown[masks]).all()
    assert np.isfinite(truth[masks]).all()
    # again: nothing is done; with another seed: nothing is lost
    stamp = (asked / "swath/hidden.nc").stat().st_mtime_ns
    code, out, err = run_command(*ASKED, "output=q")
    assert code == 0
    assert "finished already" in err
    code, _, err = run_command(*ASKED, "output=q", "seed=1")
    assert code == 1
    assert f"output=q: holds the questions {record['digest']}, of other data or settings than" in err
    assert (asked / "swath/hidden.nc").stat().st_mtime_ns == stamp


def test_a_run_learns_from_what_is_visible_alone(run_command, asked, tmp_path):
    train = ["train", "model=xgboost", "model.gap_draws=1", "model.rounds=10", "splits=protocol", QUIET]
    code, _, err = run_command(*train, *SMALL_WORLD, "splits.path=q/swath", "hydra.run.dir=run")
    assert code == 0, err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    record = json.loads((asked / "protocol.json").read_text())["scenarios"]["swath"]
    assert metrics["protocol"]["scored_split"] == "test"
    assert metrics["protocol"]["hidden"] == {"swath": record["hidden"]}
    assert metrics["protocol"]["masks"] == record["digest"]
    # anybody's file is scored by the same numbers: here the run's own, made of the visible file
    words = ["predict", "run=run", "data=prepared", "data.path=q/swath/visible.nc", "output=filled.nc", QUIET]
    code, _, err = run_command(*words)
    assert code == 0, err
    files = ["filled=filled.nc", "truth=q/swath/hidden.nc", "visible=q/swath/visible.nc"]
    code, out, err = run_command("evaluate", *files)
    assert code == 0, err
    assert f"RMSE {metrics['classes']['all']['rmse']:.6f}" in out
    # other values where they are hidden change nothing that is learned or filled; a moved question is the same
    shutil.move(asked / "swath", tmp_path / "moved")
    from sgdsm.sources.simulation.world import simulate

    cube = simulate(rows=10, columns=14, days=150)
    with open_dataset(tmp_path / "moved/hidden.nc") as hidden:
        masks = hidden["swath"].values
    cube["sm"] = cube["sm"].copy(data=np.where(masks, 0.5 - 0.5 * cube["sm"].values, cube["sm"].values))
    cube.to_netcdf(tmp_path / "changed.nc")
    more = ["data=prepared", "data.path=changed.nc", "splits.path=moved", "hydra.run.dir=other"]
    code, _, err = run_command(*train, *more)
    assert code == 0, err
    a, b = (xr.load_dataset(tmp_path / run / "evaluation/filled.nc")["sm_filled"].values for run in ("run", "other"))
    np.testing.assert_array_equal(a[masks], b[masks])
    assert json.loads((tmp_path / "other/metrics.json").read_text())["protocol"]["masks"] == record["digest"]


def test_a_question_that_does_not_fit_is_one_line(run_command, asked, tmp_path):
    train = ["train", "model=climatology", "splits=protocol", QUIET, "hydra.run.dir=run"]
    shutil.copytree(asked / "swath", tmp_path / "changed")
    with xr.load_dataset(asked / "swath/hidden.nc") as hidden:
        hidden["swath"][:50] = False
        hidden.to_netcdf(tmp_path / "changed/hidden.nc")
    for words, said in {
        ("splits.path=q", *SMALL_WORLD): "holds the questions swath, unseen_cells: name one, like splits.path=q/swath",
        ("splits.path=nowhere", *SMALL_WORLD): "splits.path=nowhere: no file hidden.nc: expected a folder that",
        ("splits.path=q/swath", *SMALL_WORLD[:2]): "at other places: give the data that the question was made from",
        ("splits.path=q/swath", *SMALL_WORLD, "data.seed=1"): "at other places: give the data",
        ("splits.path=changed", *SMALL_WORLD): "what it shows or hides was changed since",
        ("splits.path=https://x.org/q", *SMALL_WORLD): "splits.path=https://x.org/q: expected a file on this machine",
    }.items():
        code, _, err = run_command(*train, *words)
        assert code == 1
        assert said in err, err
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_hold_outs_are_repeated_beside_blocks(run_command, tmp_path):
    words = [
        "compare", "experiment=liu_holdout", *SMALL_WORLD, QUIET, "output=liu", "compare.repeats=3",
        "~compare.models.window_forest", "~compare.models.xgboost", "+compare.models.climatology='model=climatology'",
        "compare.beside='splits=blocks splits.block_days=20 splits.separation_days=6'",
    ]  # fmt: skip
    code, out, err = run_command(*words)
    assert code == 0, err
    scores = {
        (model, run): json.loads((tmp_path / "liu" / run / model / "metrics.json").read_text())["classes"]["all"]
        for model in ("linear_time", "climatology")
        for run in ("random_0", "random_1", "random_2", "blocks")
    }
    lines = out.splitlines()
    for name, expected in {
        "random (leaks), hold-out 2": [scores[m, "random_1"]["rmse"] for m in ("linear_time", "climatology")],
        "random (leaks), median of 3": [
            sorted(scores[m, f"random_{k}"]["rmse"] for k in range(3))[1] for m in ("linear_time", "climatology")
        ],
        "blocks  ": [scores[m, "blocks"]["rmse"] for m in ("linear_time", "climatology")],
    }.items():
        line = next(line for line in lines if line.startswith(name))
        assert line.split()[-2:] == [f"{value:.4f}" for value in expected]
    assert "random: N " in out
    assert "it leaks, values around them were learned from" in out
    assert "never seen in training" in out
    assert "share of linear_time" in out
    assert (tmp_path / "liu" / "holdouts.png").stat().st_size > 1000
    with (tmp_path / "liu" / "holdouts.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "rmse"]
    assert len(rows) == 8
    assert {(row["splits"], row["seed"]) for row in rows} == {*(("random", str(k)) for k in range(3)), ("blocks", "0")}
    for row in rows:
        run = row["splits"] if row["splits"] == "blocks" else f"random_{row['seed']}"
        assert float(row["value"]) == pytest.approx(scores[row["model"], run]["rmse"], rel=1e-12)
    # runs of different draws are never in one table
    code, _, err = run_command("compare", "liu/random_0/linear_time", "liu/random_1/linear_time")
    assert code == 1
    assert "were scored by different protocols: splits.seed 0 and 1" in err
    code, _, err = run_command("compare", "liu/random_0", "liu/blocks")
    assert code == 1
    assert "splits._target_ sgdsm.data.Random and sgdsm.data.Blocks" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare.repeats=1"], "compare.repeats=1: expected 2 to 1000"),
        (["compare.beside=null"], "compare.beside=None: expected words for splits, such as 'splits=blocks'"),
        (["compare.repeated='model=xgboost'"], "compare.repeated='model=xgboost': expected words for splits"),
    ],
)
def test_hold_outs_that_cannot_be_are_one_line(run_command, tmp_path, words, message):
    code, _, err = run_command("compare", "experiment=liu_holdout", *SMALL_WORLD, QUIET, "output=new", *words)
    assert code == 1
    assert message in err
    assert not (tmp_path / "new").exists()
