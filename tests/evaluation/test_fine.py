"""Scores of maps beside those of the bilinear coarse map."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.evaluation.fine import fine_scores, fine_states


def test_the_ratio_of_ubrmse_leaves_out_bias_and_missing_pixels():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.4, (60, 80))
    maps = {"bilinear": truth + rng.normal(0, 0.04, truth.shape)}
    maps["ours"] = truth + 0.1 + rng.normal(0, 0.02, truth.shape)
    maps["ours"][:5] = np.nan
    table = fine_scores(fine_states(truth, maps))
    assert table["bilinear"]["ratio"] == 1
    assert table["ours"]["n"] == table["bilinear"]["n"] == 55 * 80
    expected = [(values - truth)[5:].std() for values in (maps["ours"], maps["bilinear"])]
    assert table["ours"]["ratio"] == pytest.approx(expected[0] / expected[1], rel=1e-6)
    assert table["ours"]["md"] == pytest.approx(0.1, abs=0.002)


def test_states_of_days_add_up():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.1, 0.4, (2, 30, 30))
    maps = truth + rng.normal(0, 0.03, truth.shape)
    apart = [fine_states(truth[k], {"bilinear": maps[k]})["bilinear"] for k in (0, 1)]
    together = fine_scores({"bilinear": apart[0] + apart[1]})["bilinear"]
    assert together["rmse"] == pytest.approx(np.sqrt(((maps - truth) ** 2).mean()), rel=1e-9)
