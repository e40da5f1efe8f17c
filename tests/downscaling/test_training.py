"""Regressors, the model file, and what may be learned from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.data.months import Months
from sgdsm.downscaling.model import load, save
from sgdsm.downscaling.rows import Rows, rows_of
from sgdsm.downscaling.train import fitted, labelled

NAMES = ["GRD", "clay", "EVI"]
SPECS = {
    "ridge": {"_target_": "sgdsm.downscaling.RidgeRegressor"},
    "random_forest": {"_target_": "sgdsm.downscaling.ForestRegressor", "trees": 20, "threads": 1},
    "xgboost": {"_target_": "sgdsm.downscaling.BoostedRegressor", "rounds": 40, "threads": 1},
    "mlp": {"_target_": "sgdsm.downscaling.MlpRegressor", "epochs": 15, "batch_size": 64, "width": 16},
}


def table(seed: int = 0, slope: float = 0.02) -> xr.Dataset:
    """Rows of a linear world with little noise, four places a day, every second day of three years."""
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange("2019-01-01", "2022-01-01", 2, dtype="datetime64[D]"), 4)
    values = {"GRD": rng.normal(-12, 1.5, days.size), "clay": rng.uniform(10, 40, days.size)}
    values["EVI"] = rng.uniform(0.1, 0.6, days.size)
    truth = 0.25 + slope * (values["GRD"] + 12) + 0.002 * (values["clay"] - 25) + rng.normal(0, 0.005, days.size)
    arrays = {name: ("row", v.astype(np.float32)) for name, v in {**values, "SM": truth}.items()}
    made = xr.Dataset(arrays, {"time": ("row", days.astype("datetime64[ns]"))})
    for name in made.data_vars:
        made[name].attrs = {"role": "target" if name == "SM" else "dynamic", "units": "1"}
    made["GRD"].attrs |= {"units": "dB", "source": "Sentinel-1"}
    return made


@pytest.fixture(scope="module")
def rows() -> Rows:
    return rows_of(table())


@pytest.mark.parametrize("name", SPECS)
def test_a_regressor_learns_and_its_file_gives_the_same(rows, name, tmp_path):
    label = labelled(rows, Months())
    level = 0.9 if name == "ridge" else None
    downscaler, about = fitted(SPECS[name], rows, label, 0, level, "cpu")
    assert about["validation_rmse"] < {"ridge": 0.006, "mlp": 0.01}.get(name, 0.015)
    test = rows.values[label == "test"]
    found = downscaler.estimate(test, intervals=True)
    save(downscaler, tmp_path)
    # weights_only: no code is run from a file
    assert torch.load(tmp_path / "model.ckpt", weights_only=True)["format"].startswith("sgdsm downscaler")
    again = load(tmp_path)
    assert (again.predictors, again.units["GRD"], again.sources["GRD"]) == (rows.predictors, "dB", "Sentinel-1")
    assert again.digest == downscaler.digest != ""
    for key, values in again.estimate(test, intervals=True).items():
        np.testing.assert_array_equal(values, found[key])
    if level is not None:
        truth = rows.truth[label == "test"]
        assert 0.8 < ((truth >= found["lower"]) & (truth <= found["upper"])).mean() <= 1
        far = test + np.float32(30)
        assert (again.estimate(far, intervals=True)["distance"] > 1).all()
        assert np.median(found["distance"]) < 1


def test_a_forest_stays_in_the_range_that_it_has_seen_and_ridge_goes_on(rows):
    label = labelled(rows, Months())
    wet = np.array([[5.0, 25.0, 0.3]], np.float32)
    forest = fitted(SPECS["random_forest"], rows, label, 0, None, "cpu")[0].estimate(wet)["mean"]
    ridge = fitted(SPECS["ridge"], rows, label, 0, None, "cpu")[0].estimate(wet)["mean"]
    assert forest[0] <= rows.truth[label == "train"].max() < ridge[0]
    assert ridge[0] == pytest.approx(0.25 + 0.02 * 17, abs=0.02)


@pytest.mark.parametrize("name", ["ridge", "random_forest"])
def test_nothing_fitted_sees_the_test_months(rows, name):
    label = labelled(rows, Months())
    other = rows_of(table())
    # another truth, and other predictors, in the test months and near them
    other.truth[(label == "test") | (label == "")] = 0.9
    other.values[(label == "test") | (label == "")] = 99
    probe = rows.values[label == "validation"]
    first, second = (fitted(SPECS[name], one, label, 0, 0.9, "cpu") for one in (rows, other))
    for key, values in first[0].estimate(probe, intervals=True).items():
        np.testing.assert_array_equal(values, second[0].estimate(probe, intervals=True)[key])
    assert first[1]["validation_rmse"] == second[1]["validation_rmse"]
    np.testing.assert_array_equal(first[0].low, second[0].low)


def test_incomplete_rows_are_left_out_and_never_zero():
    data = table()
    data["clay"][::3] = np.nan
    found = rows_of(data)
    assert len(found.truth) == data.sizes["row"] - len(data["clay"][::3])
    assert np.isfinite(found.values).all()
    assert found.values[:, 1].min() > 9


def test_rows_of_a_cube_take_static_maps_to_all_days():
    days = np.arange("2019-01-01", "2019-01-04", dtype="datetime64[D]").astype("datetime64[ns]")
    rng = np.random.default_rng(0)
    dims = ("time", "y", "x")
    cube = xr.Dataset(
        {
            "SM": (dims, rng.random((3, 2, 4)), {"role": "target", "units": "m3 m-3"}),
            "GRD": (dims, -rng.random((3, 2, 4)), {"role": "dynamic", "units": "dB"}),
            "clay": (dims[1:], rng.random((2, 4)), {"role": "static", "units": "%"}),
            "land": (dims[1:], np.ones((2, 4), bool), {"role": "land"}),
        },
        {"time": days, "y": [2.0, 1.0], "x": [1.0, 2.0, 3.0, 4.0]},
    )
    found = rows_of(cube)
    assert found.values.shape == (24, 2)
    np.testing.assert_array_equal(found.values[:8, 1], cube["clay"].values.ravel().astype(np.float32))
    np.testing.assert_array_equal(found.values[8:16, 0], cube["GRD"].values[1].ravel().astype(np.float32))
    assert list(found.days[[0, 8, 16]].astype(str)) == ["2019-01-01", "2019-01-02", "2019-01-03"]


def test_power_in_place_of_db_and_empty_predictors_are_refused():
    data = table()
    data["GRD"].values[:] = 10 ** (data["GRD"].values / 10)
    with pytest.raises(ConfigError, match="'GRD' has no value below 0 dB: is it power"):
        rows_of(data)
    data = table()
    data["EVI"][:] = np.nan
    with pytest.raises(CubeError, match=r"no row has the target and all of .*: 'EVI' has no values"):
        rows_of(data)


def test_a_damaged_or_strange_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no model.ckpt there"):
        load(tmp_path)
    torch.save({"format": "sgdsm filler 3"}, tmp_path / "model.ckpt")
    with pytest.raises(ConfigError, match="a gap-filler, for `sgdsm predict`"):
        load(tmp_path)
    (tmp_path / "model.ckpt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        load(tmp_path)


def write_csv(folder, **changes) -> str:
    data = table().assign(**changes)
    frame = data.to_dataframe().reset_index(drop=True).rename(columns={"time": "date"})
    path = folder / "rows.csv"
    frame.to_csv(path, index=False)
    return str(path)


WORDS = (
    "data=table",
    "data.target=SM",
    "data.predictors=[GRD,clay,EVI]",
    "data.units={SM: m3 m-3, GRD: dB, clay: '%', EVI: '1'}",
    "hydra.run.dir=run",
)


def test_the_command_trains_on_a_table(run_command, tmp_path):
    path = write_csv(tmp_path)
    words = (*WORDS, f"data.path={path}", "regressor.trees=10", "accelerator=cpu")
    code, out, err = run_command("downscale", "train", *words)
    assert code == 0, err
    assert "scores at 1 km on" in out
    assert "run: run" in out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["units"] == "m3 m-3"
    assert metrics["split"] == "test"
    row = metrics["classes"]["all"]
    assert row["rmse"] < 0.015
    assert row["ubrmse"] ** 2 == pytest.approx(row["rmse"] ** 2 - row["md"] ** 2, rel=1e-6)
    assert {path.name for path in (tmp_path / "run" / "figures").iterdir()} == {
        "scatter.png",
        "series.png",
        "importances.png",
        "dependence.png",
    }
    ranked = (tmp_path / "run" / "importances.csv").read_text().splitlines()[1:]
    growth = {line.split(",")[1]: float(line.split(",")[5]) for line in ranked}
    assert growth["GRD"] > growth["clay"] > 10 * abs(growth["EVI"])
    code, _, err = run_command("downscale", "train", *words)
    assert code == 1
    assert "holds a run already" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.predictors=[GRD,sand]", "data.units={SM: m3 m-3, GRD: dB, sand: '%'}"), "no column 'sand'"),
        (("splits.year=2021",), "splits.year=2021: no day for test"),
        (("splits=blocks",), "splits: sgdsm.data.Blocks is for gap-fillers, expected splits=months"),
        (("regressor.trees=0",), "trees=0"),
        (("level=2",), "level=2: expected 0.5 to 0.99"),
        (("experiment=downscale_demo", "data=table"), "the truth at 10 m is known of data=region only"),
    ],
)
def test_bad_words_end_in_one_line(run_command, tmp_path, words, said):
    given = dict(word.split("=", 1) for word in (*WORDS, f"data.path={write_csv(tmp_path)}", *words))
    code, _, err = run_command("downscale", "train", *(f"{k}={v}" for k, v in given.items()))
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (code, len(lines)) == (1, 1), err
    assert said in lines[0]
