"""Moving blocks keep neighbouring days together and every day is as likely as another inside the series."""

import numpy as np

from sgdsm.evaluation.blocks import moving_blocks


def test_blocks_are_runs_of_neighbouring_days():
    drawn = moving_blocks(100, 20, 50, np.random.default_rng(0))
    assert drawn.shape == (50, 100)
    assert drawn.min() >= 0
    assert drawn.max() <= 99
    assert (np.diff(drawn.reshape(50, 5, 20), axis=2) == 1).all()


def test_a_short_series_gets_short_blocks():
    assert moving_blocks(1, 60, 3, np.random.default_rng(0)).tolist() == [[0]] * 3
    drawn = moving_blocks(7, 60, 200, np.random.default_rng(0))
    assert (np.diff(drawn[:, :2]) == 1).all()
    assert len(np.unique(drawn[:, 0])) == 6
