from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.sources import make_cov

H = 150 + 5 * np.arange(14)[:, None, None] + np.random.default_rng(0).random((14, 4, 5))
H[9, 0, 0] = np.nan  # of 42.5 degrees


@pytest.mark.parametrize(("angle", "number"), [(42.5, 9), (40.0, 8), (53.0, 11), (2.5, 0)])
def test_the_nearest_angle(tmp_path, angle, number):
    make_cov.smos_tb(tmp_path, "20160610", H, H + 20)
    make_cov.smos_tb(tmp_path, "20160610", H + 50, H + 70, overpass="D")
    cube = open_product("smos_tb", tmp_path, incidence_angle=angle)
    np.testing.assert_allclose(cube["tb_1h"][0], H[number], atol=0.004)
    np.testing.assert_allclose(cube["tb_1v"][0], H[number] + 20, atol=0.004)
    assert cube["lat"].values.tolist() == make_cov.LAT.tolist()
    assert str(cube["time"].values[0])[:10] == "2016-06-10"
    assert cube["tb_1h"].attrs["incidence_angle_degrees"] == make_cov.SMOS_ANGLES[number]


def test_evening_and_no_such_angle(tmp_path):
    make_cov.smos_tb(tmp_path, "20160610", H, H + 20, overpass="D")
    assert open_product("smos_tb", tmp_path, overpass="D").sizes["time"] == 1
    with pytest.raises(SourceError, match="none of 1 files is of the overpass A"):
        open_product("smos_tb", tmp_path)
    with pytest.raises(SourceError, match="no bin near 70"):
        open_product("smos_tb", tmp_path, overpass="D", incidence_angle=70)
