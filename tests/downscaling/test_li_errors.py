"""Errors of the code that LI print (random-forest downscaling to 10 m), each beside what is done here.

Others are tested where they would happen: bias in ubRMSE and the sign of MD in tests/evaluation/test_rows.py, missing
values as zeros in test_training.py; days, files and sources in the tests of prepare and predict, axes in those of
krige.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sgdsm.core.errors import ConfigError
from sgdsm.downscaling.model import load
from sgdsm.downscaling.rows import Rows, rows_of
from sgdsm.downscaling.train import fitted
from tests.downscaling.test_training import table


class Planted:
    """What a pickle runs when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_model_from_a_stranger_runs_nothing(tmp_path, way):
    run, trace = tmp_path / "run", tmp_path / "trace"
    run.mkdir()
    content = {"format": "sgdsm downscaler 1", "spec": Planted(str(trace))}
    if way == "pickle":
        (run / "model.ckpt").write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, run / "model.ckpt")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        load(run)
    assert not trace.exists()


def test_settings_are_chosen_by_months_that_were_not_fitted():
    noisy = table()
    noisy["SM"].values += np.random.default_rng(1).normal(0, 0.05, noisy["SM"].size).astype(np.float32)
    rows: Rows = rows_of(noisy)
    year = rows.days.astype("datetime64[Y]").astype(int) + 1970
    label = np.select([year == 2019, year == 2020], ["train", "validation"], "")
    scores = {}
    for leaf in (1.0, 50.0):
        spec = {"_target_": "sgdsm.downscaling.ForestRegressor", "trees": 30, "min_child_weight": leaf, "threads": 1}
        downscaler, about = fitted(spec, rows, label, 0, None, "cpu")
        error = {
            name: np.sqrt(
                np.mean((downscaler.estimate(rows.values[label == name])["mean"] - rows.truth[label == name]) ** 2)
            )
            for name in ("train", "validation")
        }
        assert about["validation_rmse"] == pytest.approx(error["validation"], rel=1e-5)
        scores[leaf] = error["train"], about["validation_rmse"]
    # by the rows that it was fitted to the smallest leaf is the best, whatever the data
    assert scores[1.0][0] < 0.8 * scores[50.0][0]
    assert scores[50.0][1] < scores[1.0][1]
