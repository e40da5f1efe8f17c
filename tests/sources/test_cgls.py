from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_sm

CODES = np.array([[0, 100, 200, 251], [252, 253, 255, 241]], np.uint8)


def test_codes_are_no_values(tmp_path):
    make_sm.cgls(tmp_path, "201706010000", {"ssm": CODES, "ssm_noise": CODES // 2})
    cube = open_product("cgls", tmp_path).load()
    np.testing.assert_array_equal(cube["sm"].values[0, 0], [0, 50, 100, np.nan])
    assert not np.isfinite(cube["sm"].values[0, 1]).any()
    assert cube["sm"].attrs["units"] == "percent"
    assert cube["sm_reason"].values[0].tolist() == [
        [Reason.OBSERVED, Reason.OBSERVED, Reason.OBSERVED, Reason.WATER],
        [Reason.NOT_RECOMMENDED, Reason.TERRAIN, Reason.NO_DATA, Reason.OUT_OF_RANGE],
    ]
    assert cube["flag"].values[0].tolist() == [[0, 0, 0, 251], [252, 253, 255, 241]]
    assert cube["sm_uncertainty"].values[0, 0, 1] == 25


def test_soil_water_index_and_surface_state(tmp_path):
    ssf = np.array([[1, 2, 0, 251], [252, 1, 255, 2]], np.uint8)
    make_sm.cgls(tmp_path, "201706011200", {"SSF": ssf, "SWI_005": CODES, "SWI_040": CODES // 2})
    make_sm.cgls(tmp_path, "201706010000", {"ssm": CODES})
    cube = open_product("cgls", tmp_path, variable="SWI_005").load()
    assert str(cube["time"].values[0])[:13] == "2017-06-01T12"
    assert cube.sizes["time"] == 1
    assert cube["sm_reason"].values[0, 0].tolist() == [0, Reason.FROZEN, 0, Reason.WATER]
    assert cube["sm"].values[0, 0, 1] == 50
    with pytest.raises(SourceError, match=r"SWI1km_201706011200.*no variable 'SWI_010', found \['SSF', 'SWI_005'"):
        open_product("cgls", tmp_path, variable="SWI_010")


def test_no_file_of_the_kind(tmp_path):
    make_sm.cgls(tmp_path, "201706010000", {"ssm": CODES})
    with pytest.raises(SourceError, match="no SWI1km file for variable 'SWI_005'"):
        open_product("cgls", tmp_path, variable="SWI_005")


@pytest.mark.shared_data
@pytest.mark.parametrize(("folder", "variable"), [("SSM1km_V1.1", "ssm"), ("SWI1km_V1.0", "SWI_040")])
def test_real_files(folder, variable):
    paths = shared_data() / "products" / "qa4sm_preprocessing" / f"CGLS_{folder}_img"
    cube = open_product("cgls", paths, variable=variable).load()
    for k, path in enumerate(sorted(paths.glob("*.nc"))):
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            stored = file[variable][0]
            assert cube["lat"].values[0] == file["lat"][0]
        expected = np.where(stored <= 200, stored * 0.5, np.nan)
        np.testing.assert_array_equal(cube["sm"].values[k], expected)
        reason = cube["sm_reason"].values[k]
        assert ((reason == Reason.WATER) == (stored == 251)).all()
        assert (reason == Reason.OBSERVED).sum() == np.isfinite(expected).sum()
