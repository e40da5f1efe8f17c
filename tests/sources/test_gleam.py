from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.sources import make_cov

MAPS = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
MAPS[0, 1, 1] = np.nan


@pytest.mark.parametrize("turned", [True, False])
def test_both_orders_of_the_dimensions(tmp_path, turned):
    make_cov.gleam(tmp_path, "Ep", 2003, MAPS, turned)
    make_cov.gleam(tmp_path, "E", 2003, 2 * MAPS, turned)
    cube = open_product("gleam", tmp_path)
    assert list(cube) == ["potential_evaporation"]
    np.testing.assert_array_equal(cube["potential_evaporation"], MAPS)
    assert str(cube["time"].values[2])[:10] == "2003-01-03"
    np.testing.assert_array_equal(open_product("gleam", tmp_path, variable="E")["evaporation"], 2 * MAPS)
    assert cube["potential_evaporation"].attrs["units"] == "mm"


def test_no_file_of_the_variable(tmp_path):
    make_cov.gleam(tmp_path, "E", 2003, MAPS)
    with pytest.raises(SourceError, match="none of 1 files is of Ep"):
        open_product("gleam", tmp_path)
