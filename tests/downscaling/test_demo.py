"""The demonstration on a small region: 10 m scores, files, and which days are scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.downscaling.demo import chosen_days


def test_one_day_of_each_month_of_the_test():
    days = np.arange("2021-01-01", "2021-02-01", dtype="datetime64[D]")
    days = np.concatenate([days, np.arange("2021-07-01", "2021-08-01", dtype="datetime64[D]")])
    assert list(chosen_days(np.repeat(days, 3), 4).astype(str)) == ["2021-01-16", "2021-07-16"]
    assert list(chosen_days(days, 1).astype(str)) == ["2021-01-16"]
    with pytest.raises(ConfigError, match=r"demo\.fine_days=0"):
        chosen_days(days, 0)


def test_the_demonstration_scores_10_m_and_writes_its_files(run_command, tmp_path):
    words = (
        "experiment=downscale_demo",
        "demo.regressors=[ridge]",
        "demo.fine_days=1",
        "regressor.trees=10",
        "accelerator=cpu",
        "figures=false",
    )
    few = (
        "data.cells=2",
        "data.step_days=12",
        "splits.months=[1,3,5,7,9,11]",
        "splits.separation_days=0",
        "level=null",
    )
    code, out, err = run_command("downscale", "train", *words, *few, "output=run")
    assert code == 0, err
    assert "ubRMSE over that of the bilinear map" in out
    found = json.loads((tmp_path / "run" / "fine_scores.json").read_text())
    scores = found["scores"]
    assert scores["bilinear"]["ratio"] == 1
    # radar tells fields apart, and speckle alone does not
    assert scores["ridge"]["ratio"] < 0.75 < 1 < scores["random_forest, no speckle filter"]["ratio"]
    assert abs(scores["ridge, conserved"]["md"]) < 1e-5 < abs(scores["ridge"]["md"])
    spread = found["predictors"]
    assert spread["GRD, no speckle filter"]["spread_ratio"] > 1.5 * spread["GRD"]["spread_ratio"]
    fine, truth = (xr.open_zarr(tmp_path / "run" / name) for name in ("fine.zarr", "truth.zarr"))
    assert fine["GRD"].dims == ("time", "y", "x")
    assert fine["clay"].dims == ("y", "x")
    assert "SM" not in fine
    assert fine["GRD"].attrs["units"] == "dB"
    with xr.open_dataset(tmp_path / "run" / "coarse.nc") as coarse:
        means = truth["SM"].values.reshape(1, 2, 100, 2, 100).mean((2, 4))
        np.testing.assert_allclose(coarse["SM"].values, means, rtol=1e-5)
        assert float(coarse["x"][0]) == float(fine["x"][:100].mean())
    assert (tmp_path / "run" / "wells.csv").read_text().startswith("date,x,y,groundwater_level\n")
