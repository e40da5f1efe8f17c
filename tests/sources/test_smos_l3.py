from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.ease import M25
from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_sm

GRID = M25.dataset({}, np.datetime64("2020-01-01"))
LAT, LON = GRID["lat"].values[[101, 100]], GRID["lon"].values[[700, 701, 702]]  # from the south, as the files
MORNING = np.array([[0.1, 0.2, 0.3], [np.nan, 0.4, 0.5]])
DQX = np.array([[0.01, 0.02, 0.2], [np.nan, 0.03, 0.04]])
RFI = np.array([[0.0, 0.1, 0.0], [0.9, 0.5, 0.0]])
EVENING = np.array([[0.3, np.nan, 0.2], [0.1, np.nan, 0.7]])


def test_quality_decides(tmp_path):
    make_sm.smos_l3(tmp_path, "20150506", "A", LAT, LON, MORNING, DQX, RFI)
    cube = open_product("smos_l3", tmp_path).load()
    np.testing.assert_allclose(cube["sm"].values[0], MORNING[::-1], atol=2e-5)
    assert cube["sm_reason"].values[0].tolist() == [
        [Reason.INTERFERENCE, Reason.INTERFERENCE, Reason.OBSERVED],
        [Reason.OBSERVED, Reason.OBSERVED, Reason.NOT_RECOMMENDED],
    ]
    np.testing.assert_allclose(cube["sm_uncertainty"].values[0], DQX[::-1], atol=2e-5)
    np.testing.assert_allclose(cube["y"].values, M25.y[[100, 101]])
    loose = open_product("smos_l3", tmp_path, largest_rfi=0.6, largest_dqx=0.3)
    assert (loose["sm_reason"].values[0] == Reason.OBSERVED).sum() == 5


def test_overpasses(tmp_path):
    good = np.full((2, 3), 0.05)
    make_sm.smos_l3(tmp_path, "20150506", "A", LAT, LON, MORNING, DQX, RFI)
    make_sm.smos_l3(tmp_path, "20150506", "D", LAT, LON, EVENING, good, 0 * good)
    both = open_product("smos_l3", tmp_path).load()
    expected = [[0.1, 0.4, 0.6], [0.2, 0.2, 0.2]]
    np.testing.assert_allclose(both["sm"].values[0], expected, atol=2e-5)
    assert both["sm_reason"].values[0].tolist() == [[0, Reason.INTERFERENCE, 0], [0, 0, 0]]
    assert both["sm_uncertainty"].values[0, 1, 0] == pytest.approx(0.03, abs=2e-5)
    evening = open_product("smos_l3", tmp_path, overpass="pm")
    np.testing.assert_allclose(evening["sm"].values[0], EVENING[::-1], atol=2e-5)
    morning = open_product("smos_l3", tmp_path, overpass="am")
    np.testing.assert_allclose(morning["sm"].values[0], MORNING[::-1], atol=2e-5)


def test_other_grid(tmp_path):
    make_sm.smos_l3(tmp_path, "20150506", "A", LAT + 0.1, LON, MORNING)
    with pytest.raises(SourceError, match=r"CLF31A_20150506.*off the centres"):
        open_product("smos_l3", tmp_path)


@pytest.mark.shared_data
def test_real_files_without_quality():
    folder = shared_data() / "products" / "qa4sm_preprocessing" / "SMOS_L3"
    cube = open_product("smos_l3", folder).load()
    assert cube["time"].dt.strftime("%Y%m%d").values.tolist() == ["20150506", "20150507", "20150508"]
    for k, path in enumerate(sorted(folder.glob("*.nc"))):
        with netCDF4.Dataset(path) as file:
            expected = file["Soil_Moisture"][:].filled(np.nan)[::-1]
            lat = file["lat"][:][::-1]
            np.testing.assert_allclose(cube["lat"].values, lat, atol=1e-4)
            np.testing.assert_allclose(cube["lon"].values, file["lon"][:], atol=1e-4)
        np.testing.assert_allclose(cube["sm"].values[k], expected, atol=1e-6)
        assert (cube["sm_reason"].values[k] == Reason.OBSERVED).sum() == np.isfinite(expected).sum() > 3000
