from __future__ import annotations

import numpy as np

from sgdsm.sources.readers.files import open_product
from sgdsm.sources.readers.names import Reason
from tests.sources import make_sm

NO = -32767
ORIGINAL = np.array([[10, NO, 30, NO], [NO, 20, NO, -2147483648]])
RECONSTRUCTED = np.array([[10, 15, 30, NO], [0, 20, 12, -2147483648]])


def test_original_and_filled_are_told_apart(tmp_path):
    make_sm.sgd_sm(tmp_path, "20130102", ORIGINAL, RECONSTRUCTED)
    make_sm.sgd_sm(tmp_path, "20130101", RECONSTRUCTED, RECONSTRUCTED)
    cube = open_product("sgd_sm", tmp_path).load()
    assert cube["time"].dt.day.values.tolist() == [1, 2]
    expected = [[0.1, 0.15, 0.3, np.nan], [0, 0.2, 0.12, np.nan]]
    np.testing.assert_allclose(cube["sm"].values, [expected, expected], rtol=1e-6)
    filled, none = Reason.GAP_FILLED, Reason.NO_DATA
    assert cube["sm_reason"].values[1].tolist() == [[0, filled, 0, none], [filled, 0, filled, none]]
    assert (cube["sm_reason"].values[0] == filled).sum() == 0
    assert cube["sm"].attrs["units"] == "m3 m-3"
    assert cube["lat"].values.tolist() == [45, -45]


def test_original_alone(tmp_path):
    make_sm.sgd_sm(tmp_path, "20130102", ORIGINAL, RECONSTRUCTED)
    cube = open_product("sgd_sm", tmp_path, filled=False).load()
    assert np.isfinite(cube["sm"].values).sum() == 3
    assert cube["sm_reason"].values[0].tolist() == [[0, 1, 0, 1], [1, 0, 1, 1]]
