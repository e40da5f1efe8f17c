from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make

SM = np.array([[0.1, np.nan, 0.3, np.nan], [np.nan, 0.2, np.nan, 0.4]], np.float32)


def test_values_units_days_and_grid(tmp_path):
    for day in ("20160102", "20160101"):
        make.esa_cci(tmp_path, day, sm=SM)
    cube = open_product("esa_cci", tmp_path)
    assert list(cube["time"].dt.strftime("%Y%m%d").values) == ["20160101", "20160102"]
    np.testing.assert_array_equal(cube["sm"][0], SM)
    np.testing.assert_allclose(cube["sm_uncertainty"][0], 0.1 * SM, rtol=1e-6)
    assert cube["sm"].attrs["units"] == "m3 m-3"
    assert cube["lat"].values.tolist() == [45, -45]
    assert cube["sm"].chunks is not None


@pytest.mark.parametrize("version", ["02.2", "05.2", "09.1"])
def test_flags_are_bits(tmp_path, version):
    flag = np.array([[0, 1, 0, 3], [2, 0, 127, 0]], np.int8)  # 3: snow and dense vegetation
    make.esa_cci(tmp_path, "20160101", version=version, sm=SM, flag=flag)
    cube = open_product("esa_cci", tmp_path)
    expected = [
        [Reason.OBSERVED, Reason.SNOW, Reason.OBSERVED, Reason.SNOW],
        [Reason.DENSE_VEGETATION, Reason.OBSERVED, Reason.NO_DATA, Reason.OBSERVED],
    ]
    assert cube["sm_reason"][0].values.tolist() == expected
    np.testing.assert_allclose(cube["sm"][0], SM, atol=1e-6)


def test_a_flagged_value_is_rejected_and_kept(tmp_path):
    flag = np.array([[16, 127, 0, 127], [127, 64, 127, 0]], np.int8)
    make.esa_cci(tmp_path, "20160101", sm=SM, flag=flag)
    cube = open_product("esa_cci", tmp_path)
    assert cube["sm_reason"].values[0, 0, 0] == Reason.NOT_RECOMMENDED
    assert cube["sm_reason"].values[0, 1, 1] == Reason.BARREN
    assert cube["sm"].values[0, 0, 0] == np.float32(0.1)


def test_gap_filled_product_tells_what_it_filled(tmp_path):
    path = make.esa_cci(tmp_path, "20160101", version="09.1", sm=SM, gapfilled=True)
    with netCDF4.Dataset(path, "a") as file:
        file["gapmask"][0] = [[1, 0, 0, 0], [0, 1, 0, 1]]  # 0 = filled
        file["sm"][0, 0, 2] = 0.3
        file["frozenmask"][0, 1, 3] = 1
    reason = open_product("esa_cci", tmp_path)["sm_reason"].values[0]
    assert reason[0, 0] == Reason.OBSERVED
    assert reason[0, 2] == Reason.GAP_FILLED
    assert reason[1, 3] == Reason.FROZEN


def test_active_is_percent(tmp_path):
    make.esa_cci(tmp_path, "20160101", kind="ACTIVE", sm=100 * SM)
    cube = open_product("esa_cci", tmp_path)
    assert cube["sm"].attrs["units"] == "percent"
    assert (cube["sm_reason"].values[0][np.isfinite(SM)] == Reason.OBSERVED).all()


@pytest.mark.shared_data
@pytest.mark.parametrize("pattern", ["*COMBINED*fv05.2.nc", "*COMBINED*fv02.2.nc", "*PASSIVE*", "*ACTIVE*"])
def test_real_files(pattern):
    folder = shared_data() / "products" / "esa_cci_sm"
    cube = open_product("esa_cci", folder / pattern)
    path = sorted(folder.glob(pattern))[0]
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)  # it takes the valid_range of v02 for one of packed values
        raw, scale = file["sm"][0], getattr(file["sm"], "scale_factor", 1.0)
    sm = np.where(raw == -9999, np.nan, raw * np.float32(scale))
    np.testing.assert_allclose(cube["sm"][0], sm, atol=1e-6)
    assert np.isfinite(sm).sum() > 5e4
    assert cube["sm_reason"][0].values[np.isfinite(sm)].max() == Reason.OBSERVED
    assert str(cube["time"].values[0])[:10].replace("-", "") in path.name
    assert cube["lat"].values[0] == 89.875
    assert cube["lon"].values[0] == -179.875
