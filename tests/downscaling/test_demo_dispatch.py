"""DISPATCH on a small region beside the bilinear map."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.downscaling.demo_dispatch import ARCCOS, KNOWN, LINE, dispatch_scores
from sgdsm.downscaling.rows import rows_of
from sgdsm.downscaling.train import fitted
from sgdsm.sources.simulation.region import made_region, simulated_region


def test_dispatch_tells_more_than_the_coarse_map_where_the_ends_are_known():
    where = {"cells": 6, "seed": 3, "speckle": "none", "start": "2020-01-01", "days": 300}
    rows = rows_of(simulated_region(step_days=30, **where))
    label = np.where(np.arange(len(rows.truth)) % 2, "train", "validation")
    ridge = fitted({"_target_": "sgdsm.downscaling.RidgeRegressor"}, rows, label, 0, None, "cpu")[0]
    table, maps = dispatch_scores(made_region(**where), [15, 105, 225], ridge, "ridge", 3)
    assert set(table) == {"bilinear", LINE, ARCCOS, KNOWN, "ridge"}
    assert len({row["n"] for row in table.values()}) == 1
    assert table["bilinear"]["ratio"] == 1
    assert table[KNOWN]["ratio"] < 0.9
    assert table[KNOWN]["r"] > table["bilinear"]["r"]
    # the scene has neither dry nor wet soil: fitted edges are too near to each other, and contrasts too large
    assert table[LINE]["ratio"] > table[KNOWN]["ratio"]
    assert abs(np.nanmean(maps[KNOWN]) - maps["truth"].mean()) < 1e-3
    assert table[LINE]["md"] == pytest.approx(0, abs=0.01)
