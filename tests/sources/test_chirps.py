from __future__ import annotations

import numpy as np

from sgdsm.sources.readers.files import find_files, open_product
from tests.sources import make_cov


def test_days_of_yearly_files(tmp_path):
    rain = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    rain[1, 2, 3] = np.nan
    make_cov.chirps(tmp_path, 2003, rain)
    make_cov.chirps(tmp_path, 2004, 2 * rain)
    cube = open_product("chirps", tmp_path)
    assert cube.sizes["time"] == 6
    np.testing.assert_array_equal(cube["precipitation"][:3], rain)
    np.testing.assert_array_equal(cube["precipitation"][3:], 2 * rain)
    assert str(cube["time"].values[3])[:10] == "2004-01-01"
    assert cube["precipitation"].attrs["kind"] == "amount"


def test_only_the_steps_asked_for(tmp_path):
    rain = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    make_cov.chirps(tmp_path, 2003, rain)
    found = find_files("chirps", tmp_path).load(np.array(["2003-01-02"], "datetime64[ns]"))
    np.testing.assert_array_equal(found["precipitation"], rain[1:2])
